"""Verdicts: each thing that is wrong with a clip is found, and said in a sentence."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidgen.core.request import Mode
from vidgen.media import clip
from vidgen.media.world import Subject
from vidgen.smoke.asked import Mark, Trial
from vidgen.smoke.judged import judge

RED = Subject(shape="circle", colour="red", background="white", motion="right")
TRIAL = Trial(
    name="red", mode=Mode.T2V, prompt="a red circle", subject=RED, seed=1, steps=1, guidance_scale=1.0, frames=5
)
PATH = [(20 + 6 * number, 32) for number in range(5)]


def filmed(subject: Subject = RED, path: Sequence[tuple[float, float]] = PATH, name: str = "x.mp4") -> Path:
    """A drawn clip of `subject` whose middle goes along `path`."""
    drawn = replace(TRIAL, subject=subject)
    pictures: list[np.ndarray[Any, Any]] = [drawn.picture(Mark(frame=0, centre=place, radius=11)) for place in path]
    shape = clip.Shape(width=64, height=64, frames=len(pictures), fps=Fraction(8))
    style = clip.Style(codec="auto", crf=None)
    clip.write(pictures, Path(name), shape=shape, style=style, progress=lambda done: None)
    return Path(name)


def wrong(trial: Trial, path: Path, **given: Any) -> list[str]:
    return [check.sentence for check in judge(trial, path, **{"sound": False, **given}) if not check.well]


def test_a_clip_that_is_as_asked_has_nothing_wrong() -> None:
    marks = (Mark(frame=0, centre=PATH[0], radius=11), Mark(frame=4, centre=PATH[4], radius=11))
    assert wrong(replace(TRIAL, marks=marks), filmed()) == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"shape": "square"}, "shape: asked for circle, saw square"),
        ({"colour": "blue"}, "colour: asked for red, saw blue"),
        ({"background": "green"}, "background: asked for white, saw green"),
    ],
)
def test_other_looks_are_named(changed: dict[str, str], sentence: str) -> None:
    assert wrong(TRIAL, filmed(replace(RED, **changed))) == [sentence]


def test_another_motion_is_named() -> None:
    assert wrong(TRIAL, filmed(path=PATH[::-1])) == ["motion: asked for right, saw left"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"width": 60}, "size: asked for 60x64, saw 64x64"),
        ({"frames": 9}, "frames: asked for 9, saw 5"),
        ({"fps": Fraction(8000, 1001)}, "fps: asked for 8000/1001, saw 8"),
    ],
)
def test_another_form_is_named(changed: dict[str, Any], sentence: str) -> None:
    assert wrong(replace(TRIAL, **changed), filmed()) == [sentence]


def test_sound_that_is_missing_is_named() -> None:
    assert wrong(TRIAL, filmed(), sound=True) == ["sound: asked for sound, saw no sound"]


def test_an_object_that_is_not_where_its_picture_has_it_is_named() -> None:
    marked = replace(TRIAL, marks=(Mark(frame=0, centre=(20, 48), radius=11),))
    [sentence] = wrong(marked, filmed())
    assert sentence.startswith("place in frame 0: asked for at most 6.4 px from the picture's, saw 16.")


def test_no_object_is_nowhere() -> None:
    marked = replace(TRIAL, marks=(Mark(frame=4, centre=PATH[4], radius=11),))
    gone = [*PATH[:4], (-90.0, 32.0)]
    assert "place in frame 4: asked for at most 6.4 px from the picture's, saw no object" in wrong(
        marked, filmed(path=gone)
    )


def test_a_seed_must_repeat_its_frames() -> None:
    again = replace(TRIAL, repeats="first")
    first, same, other = filmed(name="a.mp4"), filmed(name="b.mp4"), filmed(path=PATH[::-1], name="c.mp4")
    assert wrong(again, same, repeated=first) == []
    assert wrong(replace(again, shows=False), other, repeated=first) == [
        "seed: asked for the same frames, saw other frames"
    ]
