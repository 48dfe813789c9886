"""Paper and ink: pictures in, clips, sound and records out. Knows no model."""
