"""The programming model: stages, tracing, and the plan that the runtime carries out."""
