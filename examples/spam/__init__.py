"""Is a text message spam? A classifier and its assertions."""
