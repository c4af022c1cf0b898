"""Kafka at the edge of the core: consumers, producers, slots, ingress, closer."""
