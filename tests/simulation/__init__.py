"""Whole pipelines over the pure core: a virtual log, virtual processes, virtual time, and an independent checker."""
