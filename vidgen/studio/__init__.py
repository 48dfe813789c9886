"""The studio: names of outputs, and the folder in which a clip is made. Knows no model and no picture."""
