"""The detector on pictures of the world's own drawing: it sees what is there, through a film's compression too."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidgen.media import clip, inspect
from vidgen.media.seen import detect
from vidgen.media.world import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, Subject, picture


def drawn(subject: Subject, width: int = 64, height: int = 64) -> np.ndarray[Any, Any]:
    """Nine frames of `subject`, moving through the middle as its motion says."""
    x, y = DIRECTIONS.get(subject.motion, (0, 0))
    growth = {"growing": 1.5, "shrinking": -1.5}.get(subject.motion, 0.0)
    return np.stack(
        [
            picture(
                subject,
                width=width,
                height=height,
                centre=(width / 2 + 2.5 * x * time, height / 2 + 2.5 * y * time),
                radius=12 + growth * time,
            )
            for time in range(-4, 5)
        ]
    )


def every() -> list[Subject]:
    """Each shape on each background in each motion; each colour where it is not the background."""
    subjects = []
    for number, background in enumerate(BACKGROUNDS):
        for step, motion in enumerate([*DIRECTIONS, "still", "growing", "shrinking"]):
            colour = [name for name in COLOURS if name != background][(number + step) % 5]
            shape = SHAPES[(number + step) % 3]
            subjects.append(Subject(shape=shape, colour=colour, background=background, motion=motion))
    return subjects


def test_it_sees_what_was_drawn() -> None:
    for subject in every():
        assert detect(drawn(subject)).subject == subject


@pytest.mark.parametrize("number", range(0, 88, 11))
def test_it_sees_it_in_a_film_of_another_size_too(number: int) -> None:
    subject = every()[number]
    frames = drawn(subject, 100, 70)
    shape = clip.Shape(width=100, height=70, frames=9, fps=Fraction(8))
    clip.write(
        list(frames), Path("x.mp4"), shape=shape, style=clip.Style(codec="auto", crf=None), progress=lambda done: None
    )
    assert detect(np.stack(list(inspect.frames(Path("x.mp4"))))).subject == subject


def test_it_knows_where_the_object_is() -> None:
    seen = detect(drawn(Subject(shape="circle", colour="red", background="white", motion="right")))
    np.testing.assert_allclose(seen.centres[[0, 4, 8]], [[22, 32], [32, 32], [42, 32]], atol=0.3)


def test_nothing_is_none_and_nowhere() -> None:
    seen = detect(np.full((9, 64, 64, 3), 128, np.uint8))
    assert seen.subject == Subject(shape="none", colour="none", background="gray", motion="none")
    assert np.isnan(seen.centres).all()


def test_no_shape_has_another_name() -> None:
    with pytest.raises(ValueError, match="no shape called star"):
        picture(
            Subject(shape="star", colour="red", background="white", motion="still"),
            width=9,
            height=9,
            centre=(4, 4),
            radius=2,
        )
