"""What a clip shows: one shape of one colour moving over one background, drawn from its signed distance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vidgen.media.world import BACKGROUNDS, COLOURS, DIRECTIONS, MOTIONS, SHAPES, Colour, Point, Subject, distance

Frames = NDArray[np.uint8]

SHARED = ("blue", "green")
"""Words for an object and for a background: which is meant is hard to learn, so they are shown more often."""

HELD_OUT, HELD_OUT_SHARED = 144, 33
COLOUR_JITTER = 0.02
MARGIN = 1.3
"""Pixels kept between the object and the edge of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Pixels and frames of a clip."""

    width: int = 64
    height: int = 64
    frames: int = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A subject with every number needed to draw it; lengths in pixels, colours in 0..1."""

    subject: Subject
    colour: Colour
    background: Colour
    start: Point
    end: Point
    radius: float
    last_radius: float


def subjects() -> list[Subject]:
    """Every combination the vocabulary can say, in an order that never changes: those on `SHARED` grounds last."""
    every = product(SHAPES, COLOURS, BACKGROUNDS, MOTIONS)
    said = [Subject(shape=s, colour=c, background=b, motion=m) for s, c, b, m in every if c != b]
    return sorted(said, key=lambda subject: subject.background in SHARED)


def split() -> tuple[list[Subject], list[Subject]]:
    """The combinations shown in training, and those held back to ask for what was never seen."""
    shown, held_out = [], []
    for shared, count, seed in ((False, HELD_OUT, 2026), (True, HELD_OUT_SHARED, 2027)):
        group = [subject for subject in subjects() if (subject.background in SHARED) == shared]
        order = np.random.default_rng(seed).permutation(len(group))
        shown += [group[i] for i in order[count:]]
        held_out += [group[i] for i in order[:count]]
    return shown, held_out


def lessons() -> list[Subject]:
    """The combinations shown in training, twice on a `SHARED` ground and four times if the colour is shared too."""
    return [s for s in split()[0] for _ in range((1 + (s.colour in SHARED)) * 2 if s.background in SHARED else 1)]


def imagine(rng: np.random.Generator, subject: Subject, size: Size, *, anywhere: bool = False) -> Scene:
    """Draw the numbers of one scene. The path's middle is near the centre of the picture, or anywhere it fits."""
    radius, last_radius = _radii(rng, subject.motion)
    reach = max(radius, last_radius) + MARGIN
    room = (size.width / 2 - reach, size.height / 2 - reach)
    step = _travel(rng, subject.motion, room)
    spare = [max(0.0, r - abs(s)) for r, s in zip(room, step, strict=True)]
    spread = [rng.uniform(-s, s) if anywhere else np.clip(rng.normal(0, 3), -s, s) for s in spare]
    middle = (size.width / 2 + float(spread[0]), size.height / 2 + float(spread[1]))
    return Scene(
        subject=subject,
        colour=_jitter(rng, COLOURS[subject.colour]),
        background=_jitter(rng, BACKGROUNDS[subject.background]),
        start=(middle[0] - step[0], middle[1] - step[1]),
        end=(middle[0] + step[0], middle[1] + step[1]),
        radius=radius,
        last_radius=last_radius,
    )


def recolour(rng: np.random.Generator, scene: Scene) -> Scene:
    """The same scene in colours no word names, so that the VAE does not know six colours only."""
    colour, background = rng.random(3), rng.random(3)
    return replace(scene, colour=_triple(colour), background=_triple(background))


def draw(scene: Scene, size: Size, *, corner: tuple[int, int] = (0, 0)) -> Frames:
    """Frames of a scene, (frames, height, width, 3); `corner` is the left top of the window that is looked at."""
    time = np.linspace(0, 1, size.frames, dtype=np.float32)[:, None, None]
    x = np.arange(size.width, dtype=np.float32)[None, None] + (0.5 + corner[0])
    y = np.arange(size.height, dtype=np.float32)[None, :, None] + (0.5 + corner[1])
    x = x - (scene.start[0] + (scene.end[0] - scene.start[0]) * time)
    y = y - (scene.start[1] + (scene.end[1] - scene.start[1]) * time)
    radius = scene.radius + (scene.last_radius - scene.radius) * time
    cover = np.clip(0.5 - distance(scene.subject.shape, x, y, radius), 0, 1)[..., None]
    colour, background = (np.asarray(c, np.float32) for c in (scene.colour, scene.background))
    picture: NDArray[np.float32] = background + cover * (colour - background)
    return np.rint(255 * picture).astype(np.uint8)


def _radii(rng: np.random.Generator, motion: str) -> tuple[float, float]:
    small, large, same = rng.uniform(6, 8.7), rng.uniform(16, 21), rng.uniform(9, 15)
    match motion:
        case "growing":
            return small, large
        case "shrinking":
            return large, small
    return same, same


def _travel(rng: np.random.Generator, motion: str, room: Point) -> Point:
    """Half the way from start to end, cut where the picture ends."""
    direction = DIRECTIONS.get(motion, (0, 0))
    half = rng.uniform(11, 16)
    fit = min((r / abs(d) for r, d in zip(room, direction, strict=True) if d), default=half)
    return direction[0] * min(half, fit), direction[1] * min(half, fit)


def _jitter(rng: np.random.Generator, colour: Colour) -> Colour:
    return _triple(np.clip(np.asarray(colour) + rng.normal(0, COLOUR_JITTER, 3), 0, 1))


def _triple(values: NDArray[np.float64]) -> Colour:
    return float(values[0]), float(values[1]), float(values[2])
