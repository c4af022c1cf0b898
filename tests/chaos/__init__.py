"""Kills processes and brokers under load, then reads the raw log to see whether every promise was kept."""
