"""Tests of the room vidgen/media: real files, the real ffmpeg."""
