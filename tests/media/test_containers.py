"""What can be refused or said of a file before anything runs."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.media.drawn import shape
from vidgen.core.errors import UsageRefused
from vidgen.media import containers
from vidgen.media.containers import Style


@pytest.mark.parametrize(
    ("name", "style", "words"),
    [
        ("x.avi", Style(), "x.avi does not say"),
        ("x", Style(), "x does not say"),
        ("x.webm", Style(codec="h264"), r"\.webm file cannot hold h264"),
        ("x.mp4", Style(codec="nonsense"), "cannot hold nonsense"),
        ("x.mp4", Style(crf=52), "crf 52 is out of range for h264"),
        ("x.webm", Style(crf=-1), "crf -1 is out of range for vp9"),
        ("x.gif", Style(crf=20), "gif has no crf"),
        ("x.mkv", Style(codec="ffv1", crf=20), "ffv1 has no crf"),
    ],
)
def test_refused(name: str, style: Style, words: str) -> None:
    with pytest.raises(UsageRefused, match=words):
        containers.refuse(Path(name), shape(), style)


@pytest.mark.parametrize("name", ["x.MP4", "a.b.mov", "x.mkv", "x.webm", "x.gif", "x.webp", "x.png"])
def test_taken(name: str) -> None:
    containers.refuse(Path(name), shape(), Style())


def test_the_remedy_names_what_is_possible() -> None:
    with pytest.raises(UsageRefused) as refused:
        containers.refuse(Path("x.webm"), shape(), Style(codec="h264"))
    assert refused.value.remedy == "take --codec vp9 or av1"


@pytest.mark.parametrize(
    ("name", "asked", "style", "sound", "said"),
    [
        ("x.mp4", shape(), Style(), True, []),
        ("x.mp4", shape(65), Style(), False, ["65x48 has an odd side"]),
        ("x.mp4", shape(65), Style(codec="av1"), False, []),
        ("x.gif", shape(65), Style(), False, ["last 4 or 5 of them, 24 a second on average"]),
        ("x.gif", shape(fps=Fraction(25)), Style(), False, []),
        ("x.gif", shape(fps=Fraction(100)), Style(), True, ["slow down", "has no sound"]),
        ("x.webp", shape(), Style(), False, ["milliseconds: its frames last 41 or 42"]),
        ("x.png", shape(), Style(), True, ["has no sound"]),
    ],
)
def test_said_beforehand(name: str, asked: containers.Shape, style: Style, sound: bool, said: list[str]) -> None:
    notes = containers.notes(Path(name), asked, style, sound=sound)
    assert len(notes) == len(said)
    assert all(words in note for words, note in zip(said, notes, strict=True))
