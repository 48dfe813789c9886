"""How near two clips are, frame by frame, and whether that is near enough. Knows no screen."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from math import inf, isnan, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from vidgen.core.errors import ChecksFailed, InputRefused, UsageRefused
from vidgen.media import inspect, vmaf
from vidgen.media.facts import ClipFacts
from vidgen.media.measures import psnr, ssim

if TYPE_CHECKING:
    import numpy as np

Scores: TypeAlias = Mapping[str, float]
"""By measure: `psnr` in dB (infinite for equal frames), `ssim`, and `vmaf` where it was asked for."""

_HIGHEST = {"psnr": inf, "ssim": 1.0}
_HINTS = {"psnr": "give decibels, 0 or more: --min-psnr 40", "ssim": "give a number from 0 to 1: --min-ssim 0.98"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two clips of one size and length, and the scores of each pair of frames, in order."""

    paths: tuple[Path, Path]
    facts: tuple[ClipFacts, ClipFacts]
    frames: tuple[Scores, ...]

    @property
    def identical(self) -> bool:
        """Whether every sample of every frame is equal, as decoded to 8 bits a channel."""
        return all(scores["psnr"] == inf for scores in self.frames)

    @property
    def measures(self) -> tuple[str, ...]:
        """What was measured."""
        return tuple(self.frames[0])

    @property
    def notes(self) -> tuple[str, ...]:
        """What else differs or was not looked at: a sentence each."""
        return tuple(_notes(self.paths, self.facts))

    def mean(self, measure: str) -> float:
        """The mean over all frames; for `psnr` that of the mean squared error, as an equal frame's is infinite."""
        values = [scores[measure] for scores in self.frames]
        if measure != "psnr":
            return sum(values) / len(values)
        error = sum(10 ** (-value / 10) for value in values) / len(values)
        return -10 * log10(error) if error else inf

    def worst(self, measure: str) -> int:
        """The index of the frame that scores lowest, the first of them where there are several."""
        return min(range(len(self.frames)), key=lambda index: self.frames[index][measure])

    def below(self, measure: str, floor: float) -> int:
        """How many frames score less than `floor`."""
        return sum(scores[measure] < floor for scores in self.frames)

    def seconds(self, index: int) -> float | None:
        """When a frame is shown, in the first clip that has a clock; None where neither has."""
        fps = self.facts[0].fps or self.facts[1].fps
        return float(index / fps) if fps else None


def refuse(floors: Mapping[str, float]) -> None:
    """Refuse (exit 2) a threshold that makes no sense: below 0, above what the measure can reach, or no number."""
    for measure, floor in floors.items():
        if isnan(floor) or not 0 <= floor <= _HIGHEST[measure]:
            raise UsageRefused(f"--min-{measure} {floor:.15g} makes no sense as a threshold", _HINTS[measure])


def compare(a: Path, b: Path, *, with_vmaf: bool = False, progress: Callable[[int, int], None]) -> Comparison:
    """Decode both clips side by side, a frame of each at a time, and score each pair; `a` is the reference.

    `progress` hears how many frames are done, of how many. Refuses (exit 3) what is missing or damaged, and clips that
    differ in size or in their number of frames.
    """
    facts = inspect.inspect(a), inspect.inspect(b)
    _comparable((a, b), facts)
    pairs: vmaf.Pairs = zip(_frames(a, facts[0]), _frames(b, facts[1]), strict=True)
    judged: list[float] = []
    if with_vmaf:
        pairs = vmaf.judged(pairs, facts[0].width, facts[0].height, judged)
    scored: list[dict[str, float]] = []
    for one, other in pairs:
        scored.append(_scores(one, other))
        progress(len(scored), facts[0].frames)
    for scores, score in zip(scored, judged, strict=with_vmaf):
        scores["vmaf"] = score
    return Comparison(paths=(a, b), facts=facts, frames=tuple(scored))


def check(found: Comparison, floors: Mapping[str, float]) -> None:
    """Refuse (exit 7) clips of which a frame scores less than the floor of its measure."""
    failed = [_failure(found, measure, floor) for measure, floor in floors.items() if found.below(measure, floor)]
    if failed:
        a, b = found.paths
        raise ChecksFailed(
            f"{b} is too far from {a}: {'; '.join(failed)}",
            f"look at both clips there; if the change is meant, put {b} in the place of {a}",
        )


def shown(measure: str, value: float) -> str:
    """A score for reading, its digits cut off and not rounded: 1.0000 is 1, and what is below 40 reads below 40."""
    if value == inf:
        return "identical"
    digits, unit = {"psnr": ("0.01", " dB"), "ssim": ("0.0001", ""), "vmaf": ("0.01", "")}[measure]
    return f"{Decimal(value).quantize(Decimal(digits), ROUND_FLOOR)}{unit}"


def _comparable(paths: tuple[Path, Path], facts: tuple[ClipFacts, ClipFacts]) -> None:
    both = list(zip(paths, facts, strict=True))
    sizes, lengths = {(clip.width, clip.height) for clip in facts}, {clip.frames for clip in facts}
    if len(sizes) == len(lengths) == 1:
        return
    a, b = (f"{path} has {clip.frames} frames of {clip.width}x{clip.height}" for path, clip in both)
    raise InputRefused(f"{a}, and {b}: they cannot be compared", "give two clips of one size and one number of frames")


def _frames(path: Path, facts: ClipFacts) -> "Iterator[np.ndarray[Any, Any]]":
    """The clip's frames, as long as all are of its size: a folder may hold anything."""
    for index, frame in enumerate(inspect.frames(path)):
        height, width, _ = frame.shape
        if (width, height) != (facts.width, facts.height):
            raise InputRefused(
                f"frame {index} of {path} is {width}x{height}, and its first is {facts.width}x{facts.height}",
                "give a clip whose frames are of one size",
            )
        yield frame


def _scores(one: "np.ndarray[Any, Any]", other: "np.ndarray[Any, Any]") -> dict[str, float]:
    near = psnr(one, other)
    return {"psnr": near, "ssim": 1.0 if near == inf else ssim(one, other)}


def _failure(found: Comparison, measure: str, floor: float) -> str:
    index = found.worst(measure)
    seconds, score = found.seconds(index), shown(measure, found.frames[index][measure])
    time = "" if seconds is None else f" ({seconds:.3f} s)"
    return f"{measure.upper()} {score} at frame {index}{time}, below {floor:.15g}"


def _notes(paths: tuple[Path, Path], facts: tuple[ClipFacts, ClipFacts]) -> Iterator[str]:
    a, b = facts
    coarse, fine = (a, b) if a.tick >= b.tick else (b, a)
    if a.fps and b.fps and not coarse.plays(coarse.frames, fine.fps):
        rates = f"{paths[0]} plays {_rate(a.fps)} frames a second and {paths[1]} {_rate(b.fps)}"
        yield f"{rates}: compared frame by frame all the same"
    if bool(a.sound) != bool(b.sound):
        with_sound, without = paths if a.sound else paths[::-1]
        yield f"{with_sound} has sound and {without} has none: only pictures are compared"
    elif a.sound:
        yield "both clips have sound: only their pictures are compared"
    if min(a.width, a.height) < 11:
        yield f"{a.width}x{a.height} is less than the 11x11 window of SSIM: a smaller one was used"


def _rate(fps: Fraction) -> str:
    return f"{float(fps):.6g}"
