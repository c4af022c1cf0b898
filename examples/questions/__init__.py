"""What is a question after? A text classifier and its assertions."""
