"""Each module is a process: `python -m benchmarks.hop.candidates.NAME BOOTSTRAP SOURCE TARGET`, in the peers' environment."""
