"""Windows that slide along a clip which is longer than its model sees at once."""

from vidgen.core.card import ModelCard


def windows(card: ModelCard, frames: int) -> int:
    """How many a clip of `frames` frames is drawn in; 1 by a card that does not say how long they are and overlap."""
    if not {"window", "overlap"} <= card.settings.keys():
        return 1
    size, overlap = (int(str(card.settings[name])) // card.grid.frames for name in ("window", "overlap"))
    latents = (frames - 1) // card.grid.frames + 1
    return 1 + max(0, -(-(latents - size) // max(1, size - overlap)))
