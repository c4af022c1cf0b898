"""Tracks of pedestrians: do a tracker's identities flicker, appear for a moment, or share one person?"""
