"""The score counts what happened, and nothing that fails is counted as survived."""

from pathlib import Path

import pytest

from tests.faults import score
from tests.faults.score import Fault, NotSurvived, Score, Scorecard

TRIED = Fault("disk", 8, "a fault of this test's own", "it holds")


def test_every_round_is_written_down_as_it_went(tmp_path: Path) -> None:
    path = tmp_path / "scores"
    card = Scorecard(path)
    with card.round(TRIED) as trial:
        trial.stopped(0.5)
        trial.stopped(0.25)
    with pytest.raises(NotSurvived, match="two frames"), card.round(TRIED) as trial:
        trial.silent("two frames")
    with pytest.raises(NotSurvived), card.round(TRIED) as trial:
        trial.lost()
    with pytest.raises(NotSurvived), card.round(TRIED) as trial:
        trial.ran()
    with pytest.raises(ZeroDivisionError), card.round(TRIED):
        raise ZeroDivisionError("by zero\nand more")
    assert score.read(path) == card.scores
    assert card.scores == [
        Score(TRIED, survived=True, seconds=0.5),
        Score(TRIED, survived=False, silent=True, why="silently wrong: two frames"),
        Score(TRIED, survived=False, lost=True, why="work lost:"),
        Score(TRIED, survived=False, ran=True, why="code ran:"),
        Score(TRIED, survived=False, why="by zero"),
    ]


def test_a_fault_has_a_kind_and_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "FAULTS", {})
    assert score.fault("disk", 8, "full", "it holds") == Fault("disk", 8, "full", "it holds")
    with pytest.raises(ValueError, match="two faults"):
        score.fault("hub", 8, "full", "it holds")
    with pytest.raises(ValueError, match="not one of"):
        score.fault("bad luck", 8, "other", "it holds")


def test_an_ordinary_run_plays_a_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(score.MANY, raising=False)
    assert score.some(3, range(1, 10)) == [1, 5, 9]
    assert score.some(9, [1, 2]) == [1, 2]
    assert (score.some(1, [1, 2, 3]), score.some(0, [1, 2])) == ([2], [])
    assert len(score.rounds(2, 50)) == 2
    monkeypatch.setenv(score.MANY, "1")
    assert list(score.some(3, range(1, 10))) == list(range(1, 10))
    assert len(score.rounds(2, 50)) == 50
