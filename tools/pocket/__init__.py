"""What made the built-in model: its data, its training, its examination. Nothing here is shipped."""
