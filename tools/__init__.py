"""What made the generated documents, the figures and the built-in model; not shipped."""
