"""What happens while a job runs, and what came out of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One moment of progress: `done` of `total` in `phase` (count, load, encode, denoise, decode, check, deliver).

    `clip` counts the clips of this run from 0 and `clips` says how many there are. `note` is a sentence for the user.
    """

    phase: str
    done: int = 0
    total: int = 0
    clip: int = 0
    clips: int = 1
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What came out: the file, its shape, seconds and peak memory by phase, and every adjustment made.

    `enhanced` is what an enhancer made of the prompt, empty where none did.
    `standing_gib` is what the peaks held before any weights.
    """

    path: Path
    frames: int
    width: int
    height: int
    fps: str
    seed: int
    seconds: Mapping[str, float]
    peak_gib: Mapping[str, float]
    standing_gib: float = 0.0
    adjustments: tuple[str, ...] = ()
    skipped: bool = False
    enhanced: str = ""
