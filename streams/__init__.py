"""Pipelines of typed stages that stream to each other through Kafka."""
