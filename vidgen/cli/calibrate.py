"""doctor --calibrate: a few small clips, and what each phase took beside what was predicted."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from vidgen.catalog.cards import BUILT_IN
from vidgen.cli import screen
from vidgen.core.plan import Job
from vidgen.core.result import Result
from vidgen.prepare import prepare
from vidgen.shots import SMALL_GIB

CLIPS = (("64x64", 17), ("96x64", 17), ("128x96", 9))
STEPS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One phase of one clip: GiB and seconds, predicted and measured; 0 seconds were predicted where nobody knew."""

    clip: str
    phase: str
    predicted_gib: float
    measured_gib: float
    predicted_seconds: float
    measured_seconds: float


def calibrate(*, as_json: bool) -> None:
    """Make the clips, show every phase, and remember how long they took for the plans to come."""
    with tempfile.TemporaryDirectory(prefix="vidgen-") as folder:
        measures = [measure for made in _made(Path(folder)) for measure in made]
    if as_json:
        screen.data({"measures": [asdict(measure) for measure in measures]})
        return
    rows = [["CLIP", "PHASE", "PREDICTED", "MEASURED", "PREDICTED", "MEASURED"]]
    rows += [
        [
            one.clip,
            one.phase,
            f"{one.predicted_gib:.2f} GiB",
            f"{one.measured_gib:.2f} GiB",
            f"{one.predicted_seconds:.1f} s" if one.predicted_seconds else "-",
            f"{one.measured_seconds:.1f} s",
        ]
        for one in measures
    ]
    screen.table(rows)
    screen.result(f"Differences below {SMALL_GIB:g} GiB are the process's own.")
    screen.result("The times are remembered for plans; the first encode starts the libraries too.")


def _made(folder: Path) -> Iterator[list[Measure]]:
    from vidgen.generate import run

    for number, (size, frames) in enumerate(CLIPS):
        [job] = prepare(
            "t2v",
            prompt="a red circle moving right",
            model=BUILT_IN,
            size=size,
            frames=frames,
            steps=STEPS,
            seed=1,
            precision="auto",
            offload="auto",
            tiling="auto",
            vram="auto",
            enhance=False,
            enhancer="",
            output=str(folder / f"{number}.mkv"),
        )
        [result] = run([job])
        yield list(_measures(f"{size}, {frames} frames", job, result))


def _measures(clip: str, job: Job, result: Result) -> Iterator[Measure]:
    for phase in job.plan.phases:
        yield Measure(
            clip=clip,
            phase=phase.phase,
            predicted_gib=round(phase.gib, 3),
            measured_gib=round(max(0.0, result.peak_gib[phase.phase] - result.standing_gib), 3),
            predicted_seconds=round(phase.seconds, 3),
            measured_seconds=result.seconds[phase.phase],
        )
