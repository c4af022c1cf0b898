"""`descant top`: what runs on a Kafka, live, in a terminal."""
