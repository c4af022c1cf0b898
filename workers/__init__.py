"""Model serving: engines, the worker service, lanes and prompt-aware routing."""
