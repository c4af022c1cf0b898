"""ALTO's experiment: a fact-checking pipeline on several engines, with and without streaming and prompt-aware routing."""
