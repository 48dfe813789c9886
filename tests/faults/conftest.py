"""What every test with a fault has: the card on which its rounds are written down, and folders to disturb a run in."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from tests.faults.children import begin, warm
from tests.faults.invariants import FRAMES, STEPS, Asked, Place
from tests.faults.score import Scorecard, scorecard
from vidgen.media.inspect import digest

PLACES = Callable[..., Place]


@pytest.fixture(scope="session")
def card() -> Scorecard:
    """The scores of this process."""
    return scorecard()


@pytest.fixture(scope="session")
def tiny(twin: Path) -> list[str]:
    """The words of a command that is quickly done: a few steps of a tiny LTX-Video."""
    size = ["--size", "32x32", "--frames", str(FRAMES), "--steps", str(STEPS), "--seed", "3", "--codec", "ffv1"]
    return ["t2v", "a red circle moving right", "--model", str(twin), *size]


@pytest.fixture(scope="session")
def asked(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """That command with a checkpoint after each step, and the frames of its undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        warm(folder, tiny)
        words = [*tiny, "--checkpoint-every", "1", "-o", "x.mkv"]
        ended = begin(words, said=folder / "said").wait()
    assert ended.code == 0, ended.err
    return Asked(words=words, calls=ended.tally, whole=digest(folder / "x.mkv"))


@pytest.fixture
def places(asked: Asked, tmp_path: Path) -> PLACES:
    """Gives a new folder at every call, with the command that is to be disturbed in it; words change what is asked."""
    numbers = count()
    return lambda **words: Place(tmp_path / "places" / str(next(numbers)), replace(asked, **words))
