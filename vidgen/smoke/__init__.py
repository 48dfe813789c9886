"""The smoke test: a fixed handful of clips, made by the story itself and judged by what they show."""
