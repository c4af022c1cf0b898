"""Assertions over live pipelines: the intake, the Faust agents, and where they keep what."""
