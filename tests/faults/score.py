"""The score of the faults: which there are, and how every round with one of them went.

A test file registers what it tries at its top, and plays rounds:

    KILLED = fault("signals", 1, "killed at a step", "the same command goes on and makes the same frames")

    def test_killed(card: Scorecard) -> None:
        for step in some(4, range(1, 13)):  # four of them in an ordinary run, all of them under `make faults`
            with card.round(KILLED) as trial:
                ...  # an assertion that fails here makes the round one that was not survived
                if digest(path) != whole:
                    trial.silent("other frames, and exit code 0")

A promise is one plain sentence that holds in every round; the page docs/reliability.md prints it. The score itself
goes to the file that SCORES names, a line of JSON for each round; without one the rounds are only played.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

KINDS = (
    "signals",
    "disk",
    "memory",
    "weights",
    "hub",
    "pictures",
    "words",
    "paths",
    "concurrency",
    "engine",
    "machine",
)
SCORES = "FAULTS_SCORES"
"""The environment variable that names the file of scores. Not of VIDGEN's: tests run without those."""

MANY = "FAULTS_MANY"
"""The environment variable that asks for every round."""

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. `number` is its row in the list of faults that vidgen began with, 0 for none."""

    kind: str
    number: int
    name: str
    promise: str


@dataclass(frozen=True)
class Score:
    """How one round went."""

    fault: Fault
    survived: bool
    silent: bool = False
    lost: bool = False
    ran: bool = False
    seconds: float = 0.0
    why: str = ""


class NotSurvived(AssertionError):  # noqa: N818
    """What vidgen promises did not hold in this round."""


FAULTS: dict[str, Fault] = {}
"""Every fault of the files that were imported, by its name."""


def fault(kind: str, number: int, name: str, promise: str) -> Fault:
    """Register a fault, at import. Its name is its own over all kinds."""
    if kind not in KINDS:
        raise ValueError(f"{kind} is not one of {', '.join(KINDS)}")
    if name in FAULTS:
        raise ValueError(f"two faults are called {name!r}")
    FAULTS[name] = Fault(kind, number, name, promise)
    return FAULTS[name]


def many() -> bool:
    """Whether every round is asked for."""
    return bool(os.environ.get(MANY))


def rounds(few: int, more: int) -> range:
    """Numbers of rounds from 0: `few` in an ordinary run of the tests, `more` under `make faults`."""
    return range(more if many() else few)


def some(few: int, things: Sequence[Thing]) -> Sequence[Thing]:
    """`few` of the things from the first to the last, one from the middle; all of them under `make faults`."""
    if many() or len(things) <= few:
        return things
    if few == 1:
        return [things[len(things) // 2]]
    return [things[round(number * (len(things) - 1) / (few - 1))] for number in range(few)]


def slow_but(things: Iterable[Thing], *quick: Thing) -> list[Any]:
    """Parameters of a test of which only the `quick` ones are played in an ordinary run."""
    return [pytest.param(*_words(thing), marks=() if thing in quick else pytest.mark.slow) for thing in things]


def _words(thing: Any) -> tuple[Any, ...]:
    return thing if isinstance(thing, tuple) else (thing,)


class Trial:
    """One round. `silent`, `lost` and `ran` end it as one that was not survived."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.marks: dict[str, bool] = {}

    def silent(self, why: str = "") -> NoReturn:
        """Something wrong came out, and nothing was said."""
        self._end("silent", f"silently wrong: {why}")

    def lost(self, why: str = "") -> NoReturn:
        """Work that was said to be saved, or a file that was there, is gone."""
        self._end("lost", f"work lost: {why}")

    def ran(self, why: str = "") -> NoReturn:
        """Code of a hostile file ran, or a secret came out."""
        self._end("ran", f"code ran: {why}")

    def stopped(self, seconds: float) -> None:
        """It took `seconds` from the wish to stop to the end; the longest counts."""
        self.seconds = max(self.seconds, seconds)

    def _end(self, mark: str, why: str) -> NoReturn:
        self.marks[mark] = True
        raise NotSurvived(why)


class Scorecard:
    """Writes down every round."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.scores: list[Score] = []

    @contextmanager
    def round(self, tried: Fault) -> Iterator[Trial]:
        """One round with the fault `tried`; whatever is raised in it is written down, and goes on upward."""
        trial = Trial()
        try:
            yield trial
        except BaseException as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._write(Score(tried, survived=False, seconds=trial.seconds, why=said[:300], **trial.marks))
            raise
        self._write(Score(tried, survived=True, seconds=trial.seconds))

    def _write(self, score: Score) -> None:
        self.scores.append(score)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:  # one short write: workers do not mix their lines
                file.write(json.dumps(asdict(score)) + "\n")


def scorecard() -> Scorecard:
    """The card of this process."""
    path = os.environ.get(SCORES)
    return Scorecard(Path(path) if path else None)


def read(path: Path) -> list[Score]:
    """Every round that was written down."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Score(**{**line, "fault": Fault(**line["fault"])}) for line in lines]
