"""Small moving pictures for these tests: smooth, so that codecs keep them, and different in every frame."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vidgen.media import clip


def moving(width: int, height: int, frames: int) -> Iterator[np.ndarray[Any, Any]]:
    across, down = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 200, height))
    for number in range(frames):
        yield np.stack([across, down, np.full_like(across, 20 + 200 * number / frames)], -1).astype(np.uint8)


def plain(colour: tuple[int, int, int], width: int, height: int, frames: int) -> Iterator[np.ndarray[Any, Any]]:
    for _ in range(frames):
        yield np.full((height, width, 3), colour, np.uint8)


def shape(width: int = 64, height: int = 48, frames: int = 9, fps: Fraction = Fraction(24)) -> clip.Shape:
    return clip.Shape(width=width, height=height, frames=frames, fps=fps)


def write(path: Path, asked: clip.Shape, codec: str = "auto", comment: str = "", sound: Path | None = None) -> Path:
    frames = moving(asked.width, asked.height, asked.frames)
    clip.write(
        frames,
        path,
        shape=asked,
        style=clip.Style(codec=codec),
        comment=comment,
        sound=sound,
        progress=lambda done: None,
    )
    return path


def noisy(path: Path) -> None:
    """A clip that no codec makes small: some 100 KB."""
    frames = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8)
    clip.write(frames, path, shape=shape(frames=20), style=clip.Style(), progress=lambda done: None)
