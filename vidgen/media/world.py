"""What the built-in model's world holds: one shape of one colour that moves over one background. Knows no model."""

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Colour: TypeAlias = tuple[float, float, float]
"""Red, green and blue, 0 to 1."""

Point: TypeAlias = tuple[float, float]

SHAPES = ("circle", "square", "triangle")
COLOURS: dict[str, Colour] = {
    "red": (0.90, 0.08, 0.10),
    "green": (0.10, 0.70, 0.15),
    "blue": (0.12, 0.25, 0.92),
    "yellow": (0.98, 0.88, 0.10),
    "purple": (0.60, 0.12, 0.75),
    "orange": (1.00, 0.50, 0.03),
}
BACKGROUNDS: dict[str, Colour] = {
    "black": (0.04, 0.04, 0.04),
    "white": (0.96, 0.96, 0.96),
    "gray": (0.50, 0.50, 0.50),
    "pink": (1.00, 0.62, 0.76),
    "cyan": (0.35, 0.85, 0.90),
    "brown": (0.36, 0.20, 0.09),
    "blue": COLOURS["blue"],
    "green": COLOURS["green"],
}
DIRECTIONS: dict[str, Point] = {
    "right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1),
    "down-right": (0.8, 0.8), "down-left": (-0.8, 0.8), "up-right": (0.8, -0.8), "up-left": (-0.8, -0.8),
}  # fmt: skip
MOTIONS = (*DIRECTIONS, "still", "growing", "shrinking")


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What can be said of a clip, each in one word of the vocabulary."""

    shape: str
    colour: str
    background: str
    motion: str


def picture(subject: Subject, *, width: int, height: int, centre: Point, radius: float) -> "NDArray[np.uint8]":
    """One picture (height, width, 3) of `subject`, its middle at `centre`; lengths in pixels."""
    import numpy as np

    x = np.arange(width, dtype=np.float32)[None] + np.float32(0.5 - centre[0])
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - centre[1])
    cover = np.clip(0.5 - distance(subject.shape, x, y, np.float32(radius)), 0, 1)[..., None]
    ink, paper = (np.asarray(c, np.float32) for c in (COLOURS[subject.colour], BACKGROUNDS[subject.background]))
    return np.asarray(np.rint(255 * (paper + cover * (ink - paper))), np.uint8)


def distance(
    shape: str, x: "NDArray[np.float32]", y: "NDArray[np.float32]", radius: "NDArray[np.float32] | np.float32"
) -> "NDArray[np.float32]":
    """Signed distance to the outline, negative inside. All three shapes are 2 x radius wide."""
    import numpy as np

    match shape:
        case "circle":
            return np.asarray(np.hypot(x, y) - radius, np.float32)
        case "square":
            return np.asarray(np.maximum(np.abs(x), np.abs(y)) - radius, np.float32)
        case "triangle":
            half = np.float32(sqrt(0.75)) * radius
            slope = np.float32(sqrt(0.75)) * np.abs(x) - 0.5 * (y + half)
            return np.asarray(np.maximum(slope, y - half), np.float32)
    raise ValueError(f"no shape called {shape}")
