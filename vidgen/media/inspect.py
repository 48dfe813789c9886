"""What a clip really holds, found by decoding all of it. Believes neither its name nor its header."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidgen.core.errors import InputRefused
from vidgen.media import animations, films
from vidgen.media.facts import ClipFacts as ClipFacts

if TYPE_CHECKING:
    import numpy as np


def inspect(path: Path) -> ClipFacts:
    """Decode a whole clip and say what it holds; refuses (exit 3) what is missing, damaged or no clip."""
    return animations.facts(path) if _pictures(path) else films.facts(path)


def frames(path: Path) -> "Iterator[np.ndarray[Any, Any]]":
    """The clip's frames, one at a time: uint8, height x width x 3, sRGB."""
    yield from animations.frames(path) if _pictures(path) else films.frames(path)


def digest(path: Path) -> str:
    """The sha256 of the decoded frames and their shape: equal when the pictures are, whatever the file's bytes."""
    total = hashlib.sha256()
    for frame in frames(path):
        total.update(repr(frame.shape).encode())
        total.update(frame.tobytes())
    return total.hexdigest()


def _pictures(path: Path) -> bool:
    """Whether this is a .gif, a .webp or a folder of .png, by its first bytes."""
    if path.is_dir():
        return True
    if not path.is_file():
        raise InputRefused(f"there is no clip {path}", "look at the spelling, and at the folder you are in")
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise InputRefused(f"{path} cannot be read: {error.strerror}", "look at its rights: ls -l") from error
    if not head:
        raise InputRefused(f"{path} is empty", "make the clip again")
    return head[:3] == b"GIF" or head[8:] == b"WEBP"
