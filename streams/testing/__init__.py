"""Fixtures that give tests a real Kafka."""
