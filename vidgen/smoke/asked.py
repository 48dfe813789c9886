"""What the smoke test asks for: for the built-in model by what it knows, for a twin by what its card says."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from vidgen.core.card import ModelCard
from vidgen.core.request import Mode
from vidgen.media import world
from vidgen.media.world import Point, Subject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


STEPS, GUIDANCE = 12, 3.0
"""Fewer steps than the card's: it draws as well with them."""
FEWEST = 5
"""Frames of a twin's clip at the least: fewer could look frozen."""
KEYFRAME_GUIDANCE = 1.0
"""Guidance overdoes the motion that the words ask for, and so drives the object past a later keyframe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """A picture that the clip should pass through at `frame`: the object with its middle at `centre`, in pixels."""

    frame: int
    centre: Point
    radius: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One clip that is asked for.

    `shows`: its looks are judged too, as the subject's; else nothing is known of them, and `subject` is for its
    pictures only. `repeats` names the trial whose frames it must repeat, bit for bit.
    """

    name: str
    prompt: str
    subject: Subject
    shows: bool = True
    mode: Mode = Mode.T2V
    seed: int = 1
    width: int = 64
    height: int = 64
    frames: int = 9
    fps: Fraction = Fraction(8)
    steps: int = STEPS
    guidance_scale: float = GUIDANCE
    marks: tuple[Mark, ...] = ()
    repeats: str = ""

    def picture(self, mark: Mark) -> "NDArray[np.uint8]":
        """The picture (height, width, 3) of a mark."""
        size = {"width": self.width, "height": self.height}
        return world.picture(self.subject, **size, centre=mark.centre, radius=mark.radius)


def _of(words: str) -> Subject:
    """A subject in four words: colour, shape, motion, background."""
    colour, shape, motion, background = words.split()
    return Subject(shape=shape, colour=colour, background=background, motion=motion)


POCKET = (
    Trial(
        name="circle",
        prompt="a red circle moves right on a white background",
        subject=_of("red circle right white"),
    ),
    Trial(
        name="square",
        prompt="a purple square, moving up, on a gray background",
        subject=_of("purple square up gray"),
        width=60,
        height=52,
        frames=7,
    ),
    Trial(
        name="triangle",
        prompt="an orange triangle moves down on a cyan background",
        subject=_of("orange triangle down cyan"),
        seed=2,
        fps=Fraction(8000, 1001),
    ),
    Trial(
        name="growing",
        prompt="a green square grows on a black background",
        subject=_of("green square growing black"),
    ),
    Trial(
        name="picture",
        mode=Mode.I2V,
        prompt="a yellow circle moves left on a brown background",
        subject=_of("yellow circle left brown"),
        marks=(Mark(frame=0, centre=(46, 22), radius=11),),
    ),
    Trial(
        name="between",
        mode=Mode.KEYFRAME,
        prompt="a blue circle moves down and to the right on a white background",
        subject=_of("blue circle down-right white"),
        guidance_scale=KEYFRAME_GUIDANCE,
        marks=(Mark(frame=0, centre=(20, 20), radius=11), Mark(frame=8, centre=(44, 44), radius=11)),
    ),
)
"""What `pocket` is asked. Chosen to pass with room: a trained model gets a detail wrong by chance now and then."""


def of_twin(card: ModelCard) -> Iterator[Trial]:
    """What the twin of a model is asked: a small clip off its grid in each of its modes, and the first one again."""
    subject = _of("red circle right white")
    for mode in card.ways:
        yield _small(card, Mode(mode), str(mode), subject)
    first = next(iter(card.ways))
    yield _small(card, first, f"{first}-again", subject, repeats=str(first))


def _small(card: ModelCard, mode: Mode, name: str, subject: Subject, repeats: str = "") -> Trial:
    side, way = max(64, 2 * card.grid.size), card.ways[mode]
    frames = card.grid.frames * -(-FEWEST // card.grid.frames) + way.ends
    mark = Mark(frame=0, centre=(side / 2, side / 2), radius=side / 5)
    ends = (mark, replace(mark, frame=frames - 1, radius=side / 8))
    return Trial(
        name=name,
        mode=mode,
        prompt="a red circle moves right on a white background",
        subject=subject,
        shows=False,
        seed=1,
        width=side - 4,
        height=side - 10,
        frames=frames,
        fps=Fraction(24000, 1001),
        steps=min(card.schedule.fixed, default=2),
        guidance_scale=float(str(card.defaults["guidance_scale"])),
        marks=ends if way.ends else (mark,) if way.keyframes else (),
        repeats=repeats,
    )
