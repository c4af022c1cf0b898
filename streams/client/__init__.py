"""Ask a pipeline and watch its partial output."""
