"""Every number that README quotes, each by one command: `python -m benchmarks.<name> --json`."""
