"""What the console knows, folded from the topics; the modules without `read` in their name have no I/O."""
