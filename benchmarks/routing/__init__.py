"""Routing policies against each other: a discrete-event model of vLLM-like engines, seeded workloads, a
trace format."""
