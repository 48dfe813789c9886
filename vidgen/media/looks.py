"""How a finished clip looks: whether it is black, of one colour, or does not move. Reads it back to find out."""

from pathlib import Path

from vidgen.core.errors import ChecksFailed
from vidgen.media import inspect

NOISE = 8
"""Of 255 levels: what compression leaves of black, of one colour and of one picture."""


def remarks(path: Path) -> list[str]:
    """Sentences about what may not have been meant so; ChecksFailed (exit 7) for a clip that is black all through.

    Nobody asks a model for nothing but black: that is what weights give that broke down. A picture that stands still
    or is of one colour can be asked for.
    """
    count, black, plain, frozen, moved = 0, 0, 0, 0, 0
    for frame in (frame.astype("int16") for frame in inspect.frames(path)):
        if not count:
            first = before = frame
        darkest, brightest = frame.min(axis=(0, 1)), frame.max(axis=(0, 1))
        black += int(brightest.max() <= NOISE)
        plain += int((brightest - darkest).max() <= NOISE < brightest.max())
        frozen += int(count > 0 and abs(frame - before).max() <= 1)
        moved = max(moved, int(abs(frame - first).max()))
        before, count = frame, count + 1
    if black == count:
        raise ChecksFailed(f"{path.name} is black from its first frame to its last", "try another seed")
    return [*_counted(black, count, "black"), *_counted(plain, count, "of one colour"), *_still(frozen, moved, count)]


def _counted(number: int, count: int, what: str) -> list[str]:
    return [f"{number} of {count} frames are {what}"] if number else []


def _still(frozen: int, moved: int, count: int) -> list[str]:
    if count > 1 and moved <= NOISE:
        return [f"the picture does not move: all {count} frames show the same"]
    return [f"{frozen} of {count} frames are the same as the one before"] if frozen * 2 > count else []
