"""A server that speaks S3, for tests of what artefacts need."""
