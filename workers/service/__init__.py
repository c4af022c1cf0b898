"""The process that owns lanes and feeds an engine."""
