"""Is a clip what was asked? Says so of each thing that can be measured, from the file alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vidgen.media import inspect, seen
from vidgen.smoke.asked import Trial

NEAR = 0.1
"""How far from a picture's place the object may be seen, as a share of the smaller side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing looked at: what was asked, what was seen, and whether that will do."""

    name: str
    asked: str
    seen: str
    well: bool

    @property
    def sentence(self) -> str:
        """What was wrong, for a person."""
        return f"{self.name}: asked for {self.asked}, saw {self.seen}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What came of one trial. `fault` says why there is no clip to look at; then there are no checks."""

    trial: Trial
    model: str
    path: Path
    seconds: float = 0.0
    checks: tuple[Check, ...] = ()
    fault: str = ""

    @property
    def name(self) -> str:
        """What the clip is called."""
        return self.path.stem

    @property
    def well(self) -> bool:
        """Whether the clip is as asked."""
        return not self.wrong

    @property
    def wrong(self) -> tuple[str, ...]:
        """A sentence for each thing that is not as asked."""
        return (self.fault,) if self.fault else tuple(check.sentence for check in self.checks if not check.well)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a whole smoke test found. `subject` names what was tested, `remedy` what to do when a clip is wrong."""

    subject: str
    remedy: str
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def failed(self) -> int:
        """How many clips are not as asked."""
        return sum(not verdict.well for verdict in self.verdicts)


def judge(trial: Trial, path: Path, *, sound: bool, repeated: Path | None = None) -> Iterator[Check]:
    """Look at the clip at `path`: its form, and its frames where the trial says what they show.

    `sound`: it must have sound, else it must have none. `repeated` is the clip whose frames it must have.
    """
    facts = inspect.inspect(path)
    yield _same("size", f"{trial.width}x{trial.height}", f"{facts.width}x{facts.height}")
    yield _same("frames", str(trial.frames), str(facts.frames))
    yield _same("fps", str(trial.fps), str(facts.fps))
    yield _same("sound", "sound" if sound else "no sound", "sound" if facts.sound else "no sound")
    if trial.shows:
        yield from _looks(trial, path)
    if repeated is not None:
        found = "the same frames" if inspect.digest(path) == inspect.digest(repeated) else "other frames"
        yield _same("seed", "the same frames", found)


def _same(name: str, asked: str, seen: str) -> Check:
    return Check(name=name, asked=asked, seen=seen, well=asked == seen)


def _looks(trial: Trial, path: Path) -> Iterator[Check]:
    """The four things that can be said of a clip, and where the object is at each picture's frame."""
    import numpy as np

    sighting = seen.detect(np.stack(list(inspect.frames(path))))
    for name in ("shape", "colour", "background", "motion"):
        yield _same(name, getattr(trial.subject, name), getattr(sighting.subject, name))
    near = NEAR * min(trial.width, trial.height)
    for mark in trial.marks:
        wanted = seen.detect(trial.picture(mark)[None]).centres[0]
        away = float(np.hypot(*(sighting.centres[mark.frame] - wanted)))
        yield Check(
            name=f"place in frame {mark.frame}",
            asked=f"at most {near:.1f} px from the picture's",
            seen=f"{away:.1f} px" if np.isfinite(away) else "no object",
            well=away <= near,
        )
