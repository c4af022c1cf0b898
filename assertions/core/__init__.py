"""The evaluation core: observations in, flags out; no Kafka, no clock, no event loop."""
