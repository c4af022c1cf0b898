"""Drills: one thing at a time, in place of a round's many at once."""
