"""Says what a clip shows by measuring its pixels. It knows the palette, and nothing of any model."""

from dataclasses import dataclass
from math import pi, sqrt
from typing import TYPE_CHECKING, TypeAlias

from vidgen.media.world import BACKGROUNDS, COLOURS, DIRECTIONS, Colour, Subject, distance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Picture: TypeAlias = "NDArray[np.float32]"
Mask: TypeAlias = "NDArray[np.bool_]"

RING = 3
"""Pixels at the border that are taken for background."""
AREAS = {"circle": pi, "square": 4.0, "triangle": sqrt(3)}
"""Area of a shape of radius 1."""
RISE = {"circle": 0.0, "square": 0.0, "triangle": sqrt(1 / 12)}
"""How far the middle of a shape of radius 1 lies above its centre of mass."""
STILL = 0.07
"""Share of the smaller side; what moves less stands still."""
GROWTH = 1.8
"""Area at the end over area at the beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """What was seen, with the measures behind it."""

    subject: Subject
    centres: "NDArray[np.float64]"
    """(frames, 2): x, y in pixels; NaN where no object was seen"""
    likeness: dict[str, float]
    """Overlap with each shape, 0..1, mean over the frames"""
    growth: float


def detect(frames: "NDArray[np.uint8]") -> Sighting:
    """See what frames (frames, height, width, 3) in 0..255 show. Unseen attributes are called `none`."""
    import numpy as np

    picture = np.asarray(frames / np.float32(255), np.float32)
    ground = np.asarray(np.median(_ring(picture), axis=0), np.float32)
    masks = _masks(picture, ground)
    centres = np.array([_centre(mask) for mask in masks])
    areas = masks.sum((1, 2)).astype(float)
    seen = areas > 8
    overlaps = np.mean([_likeness(mask) for mask in masks[seen]], axis=0) if seen.any() else np.zeros(len(AREAS))
    likeness = dict(zip(AREAS, overlaps.tolist(), strict=True))
    growth = _growth(areas[seen])
    subject = Subject(
        shape=max(likeness, key=lambda name: likeness[name]) if seen.any() else "none",
        colour=_nearest(_inside(picture, masks), COLOURS),
        background=_nearest(ground, BACKGROUNDS),
        motion=_motion(centres[seen], growth, min(frames.shape[1:3])),
    )
    return Sighting(subject=subject, centres=centres, likeness=likeness, growth=growth)


def _ring(picture: Picture) -> Picture:
    import numpy as np

    border = np.ones(picture.shape[1:3], bool)
    border[RING:-RING, RING:-RING] = False
    return np.asarray(picture[:, border].reshape(-1, 3))


def _masks(picture: Picture, ground: Picture) -> Mask:
    import numpy as np

    contrast = np.linalg.norm(picture - ground, axis=-1)
    return np.asarray(contrast > max(0.2, 0.5 * float(np.percentile(contrast, 99))))


def _centre(mask: Mask) -> tuple[float, float]:
    import numpy as np

    rows, columns = np.nonzero(mask)
    return (float(columns.mean() + 0.5), float(rows.mean() + 0.5)) if len(rows) > 8 else (np.nan, np.nan)


def _likeness(mask: Mask) -> list[float]:
    """Overlap with each shape of the same area and centre of mass, as intersection over union."""
    import numpy as np

    rows, columns = np.nonzero(mask)
    x = np.arange(mask.shape[1], dtype=np.float32)[None] - np.float32(columns.mean())
    y = np.arange(mask.shape[0], dtype=np.float32)[:, None] - np.float32(rows.mean())
    overlaps = []
    for shape, area in AREAS.items():
        radius = np.float32(np.sqrt(len(rows) / area))
        template = distance(shape, x, y + np.float32(RISE[shape]) * radius, radius) < 0
        overlaps.append(float((mask & template).sum() / (mask | template).sum()))
    return overlaps


def _inside(picture: Picture, masks: Mask) -> "Picture | None":
    """The object's colour away from its outline."""
    import numpy as np

    core = masks.copy()
    for axis in (1, 2):
        core &= np.roll(masks, 1, axis) & np.roll(masks, -1, axis)
    chosen = core if core.sum() > 8 else masks
    return np.asarray(np.median(picture[chosen], axis=0), np.float32) if chosen.any() else None


def _growth(areas: "NDArray[np.float64]") -> float:
    return float(areas[-3:].mean() / areas[:3].mean()) if len(areas) > 1 else 1.0


def _motion(centres: "NDArray[np.float64]", growth: float, side: int) -> str:
    import numpy as np

    if len(centres) < 2:
        return "none"
    if not 1 / GROWTH < growth < GROWTH:
        return "growing" if growth > 1 else "shrinking"
    shift = centres[-3:].mean(0) - centres[:3].mean(0)
    if np.hypot(*shift) < STILL * side:
        return "still"
    return max(DIRECTIONS, key=lambda name: float(shift @ np.array(DIRECTIONS[name]) / np.hypot(*DIRECTIONS[name])))


def _nearest(colour: "Picture | None", palette: dict[str, Colour]) -> str:
    import numpy as np

    if colour is None:
        return "none"
    return min(palette, key=lambda name: float(np.linalg.norm(colour - np.asarray(palette[name]))))
