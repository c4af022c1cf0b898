"""Assistants with instructions that nobody should see: do their answers give them away?"""
