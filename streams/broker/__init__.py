"""A real single-node Apache Kafka as a child process."""
