"""A finished clip that is black all through is refused; what may have been meant so is said."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.media.drawn import moving, plain, shape
from vidgen.core.errors import ChecksFailed
from vidgen.media import clip, looks

BLACK, GREEN = list(plain((0, 0, 0), 64, 48, 9)), list(plain((90, 120, 60), 64, 48, 9))
MOVING = list(moving(64, 48, 9))


def film(folder: Path, frames: "Iterable[np.ndarray[Any, Any]]") -> Path:
    path = folder / "x.mp4"
    clip.write(frames, path, shape=shape(), style=clip.Style(), progress=lambda done: None)
    return path


def test_a_clip_that_is_black_all_through_is_refused(folder: Path) -> None:
    with pytest.raises(ChecksFailed, match="is black from its first frame to its last"):
        looks.remarks(film(folder, BLACK))


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (MOVING, []),
        (BLACK[:3] + MOVING[3:], ["3 of 9 frames are black"]),
        (GREEN[:2] + MOVING[2:], ["2 of 9 frames are of one colour"]),
        ([MOVING[0]] * 9, ["the picture does not move: all 9 frames show the same"]),
        (
            MOVING[:3] + list(plain((200, 60, 10), 64, 48, 6)),
            ["6 of 9 frames are of one colour", "5 of 9 frames are the same as the one before"],
        ),
        (MOVING[:6] + [MOVING[5]] * 3, []),
        (GREEN, ["9 of 9 frames are of one colour", "the picture does not move: all 9 frames show the same"]),
    ],
)
def test_what_may_have_been_meant_so_is_said(
    folder: Path, frames: "list[np.ndarray[Any, Any]]", said: list[str]
) -> None:
    path = film(folder, frames)
    assert looks.remarks(path) == said
    assert clip.check(path, shape(), clip.Style()) == said
