"""Reads .gif, .webp and folders of .png back, by Pillow, which keeps the clock that they were written with."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidgen.core.errors import InputRefused
from vidgen.media.facts import ClipFacts

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

_TICKS = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000)}


def facts(path: Path) -> ClipFacts:
    """What the animation holds, every picture of it decoded. A folder of pictures has no clock."""
    shown = [(kind, image.size, lasting) for kind, image, lasting in _pictures(path)]
    if not shown:
        raise InputRefused(f"{path} holds no .png pictures", "name a clip, or a folder 0001.png, 0002.png and so on")
    kind, (width, height), _ = shown[0]
    lasting = [milliseconds for _, _, milliseconds in shown]
    tick, number, seconds = _TICKS.get(kind, Fraction(0)), sum(_repeats(kind, lasting)), Fraction(sum(lasting), 1000)
    fps = _rate(number, seconds, tick) if seconds else Fraction(0)
    return ClipFacts(
        frames=number,
        width=width,
        height=height,
        fps=fps,
        seconds=float(seconds),
        codec=kind,
        tick=tick if fps else Fraction(0),
    )


def frames(path: Path) -> "Iterator[np.ndarray[Any, Any]]":
    """The animation's frames: uint8, height x width x 3, sRGB."""
    import numpy as np

    again: Iterator[int] = iter(())
    if path.is_file():
        kinds, lasting = zip(*((kind, lasting) for kind, _, lasting in _pictures(path)), strict=True)
        again = iter(_repeats(kinds[0], list(lasting)))
    for _, image, _ in _pictures(path):
        frame = np.asarray(image.convert("RGB"))
        for _ in range(next(again, 1)):
            yield frame


def _pictures(path: Path) -> "Iterator[tuple[str, Image, int]]":
    """Each picture, decoded, with its kind and the milliseconds that it is shown."""
    from PIL import ImageSequence

    files = sorted(path.glob("[0-9]*.png"), key=lambda file: (len(file.name), file.name)) if path.is_dir() else [path]
    for file in files:
        with _opened(file) as image:
            kind = str(image.format).lower()
            for picture in ImageSequence.Iterator(image):
                picture.load()
                yield kind, picture, int(picture.info.get("duration", 0))


@contextmanager
def _opened(file: Path) -> "Iterator[Image]":
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=["GIF", "WEBP", "PNG"]) as image:
                yield image
        except GeneratorExit:
            raise
        except Exception as error:  # decoders raise all sorts of things on damaged or hostile files
            raise InputRefused(f"{file} cannot be decoded: {error}", "make the clip again") from error


def _repeats(kind: str, lasting: list[int]) -> list[int]:
    """How many frames each picture stands for: the WebP encoder keeps equal frames as one that is shown longer."""
    shortest = min(lasting)
    if kind != "webp" or not shortest:
        return [1] * len(lasting)
    single = [milliseconds for milliseconds in lasting if milliseconds <= shortest + 1]
    return [round(milliseconds * len(single) / sum(single)) for milliseconds in lasting]


def _rate(number: int, seconds: Fraction, tick: Fraction) -> Fraction:
    """The simplest rate at which `number` frames last `seconds`, give or take two ticks."""
    slowest, measured = number / (seconds + 2 * tick), number / seconds
    fastest = number / (seconds - 2 * tick) if seconds > 2 * tick else measured
    rates = (Fraction(round(measured * below), below) for below in count(1))
    return next(rate for rate in rates if slowest <= rate <= fastest)
