"""The smoke test itself: trials become jobs, the story makes clips of them, and each clip gets its verdict."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vidgen.catalog.cards import BUILT_IN, card, cards
from vidgen.catalog.twins import twin
from vidgen.core.card import ModelCard, Twin
from vidgen.core.errors import ChecksFailed, OutputRefused, UsageRefused
from vidgen.core.plan import Job
from vidgen.core.request import Keyframe
from vidgen.core.result import Result
from vidgen.generate import Listener, prepare, run
from vidgen.smoke.asked import POCKET, Mark, Trial, of_twin
from vidgen.smoke.judged import Report, Verdict, judge

REINSTALL = "its weights may be damaged: pip install --force-reinstall vidgen"
LOOK = "these weights do not draw what they are asked: look at the clips with --keep FOLDER"
REPORT = "report this: it is a fault of the family, or of a library that it stands on"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Take:
    """A trial on its way to a verdict."""

    trial: Trial
    job: Job


def built_in(
    model: str = BUILT_IN,
    *,
    trials: Sequence[Trial] = POCKET,
    keep: Path | None = None,
    listener: Listener = lambda event: None,
) -> Report:
    """Test the built-in model, or other weights that know what it knows. `keep`: a new or empty folder for the clips.

    Raises the refusals of `prepare` and `run`; what fails their checks (exit 7) is a verdict and no refusal.
    """
    began, known = time.monotonic(), card(model)
    if not known.knows:
        said = f"{known.name} was not trained on what the smoke test looks for"
        raise UsageRefused(said, f"test the code of its family instead: vidgen smoke --family {known.family}")
    with _clips(keep) as clips, _scratch() as scratch:
        takes = [_take(trial, known, model, clips / f"{trial.name}.mp4", scratch) for trial in trials]
        remedy = REINSTALL if model == BUILT_IN else LOOK
        return _report(known.name, remedy, takes, began, listener)


def family(name: str, *, keep: Path | None = None, listener: Listener = lambda event: None) -> Report:
    """Test a family's code on its tiny random twin, as each model that is known by its pipeline; refuses as above."""
    began, described = time.monotonic(), twin(name)
    served = [
        known for known in cards().values() if known.family == name and (known.serves or known.name in described.own)
    ]
    if not served:
        raise UsageRefused(f"no card of family {name} says which pipeline it serves", "say it there: weights.serves")
    with _clips(keep) as clips, _scratch() as scratch:
        takes = [take for known in served for take in _twin_takes(described, known, clips, scratch)]
        return _report(f"the twin of {name}", REPORT, takes, began, listener)


def _twin_takes(described: Twin, known: ModelCard, clips: Path, scratch: Path) -> Iterator[_Take]:
    from vidgen.backends.twin import build

    pipeline = known.serves[0] if known.serves else next(iter(known.ways.values())).pipeline
    folder = build(described, scratch / f"tiny-{known.name}", pipeline=pipeline, says=described.index(known))
    for trial in of_twin(known):
        yield _take(trial, known, str(folder), clips / f"{folder.name}-{trial.name}.mp4", scratch)


def _report(subject: str, remedy: str, takes: Sequence[_Take], began: float, listener: Listener) -> Report:
    made = dict(_made([take.job for take in takes], listener))
    verdicts = tuple(_verdict(take, made, takes) for take in takes)
    return Report(subject=subject, remedy=remedy, verdicts=verdicts, seconds=round(time.monotonic() - began, 3))


def _take(trial: Trial, known: ModelCard, model: str, path: Path, scratch: Path) -> _Take:
    """The trial as a job of the story. Everything is said, so that nobody's own settings change it."""
    [job] = prepare(
        trial.mode,
        prompt=trial.prompt,
        at=[_keyframe(trial, mark, scratch / f"{path.stem}-{mark.frame}.png") for mark in trial.marks],
        model=model,
        preset="",
        negative=known.defaults["negative"],
        size=f"{trial.width}x{trial.height}",
        frames=trial.frames,
        fps=str(trial.fps),
        steps=trial.steps,
        guidance_scale=trial.guidance_scale,
        true_cfg_scale=1.0,
        seed=trial.seed,
        fit="crop",
        background="black",
        sound=True,
        strict=False,
        force=False,
        precision="auto",
        offload="auto",
        tiling="auto",
        vram="auto",
        crf="auto",
        codec="auto",
        enhance=False,
        enhancer="",
        output=str(path).replace("{", "{{").replace("}", "}}"),
        fallback=False,
    )
    return _Take(trial=trial, job=job)


def _keyframe(trial: Trial, mark: Mark, path: Path) -> Keyframe:
    from PIL import Image

    try:
        Image.fromarray(trial.picture(mark)).save(path)
    except OSError as error:
        said = f"cannot write a picture in {path.parent}: {error.strerror or error}"
        raise OutputRefused(said, "make room there, or name another folder in TMPDIR") from error
    return Keyframe(picture=path, frame=mark.frame)


def _made(jobs: Sequence[Job], listener: Listener) -> Iterator[tuple[Path, Result | str]]:
    """Each clip's result, or what failed its checks. After a failure the others are made one by one."""
    done = set()
    try:
        for result in run(jobs, listener):
            done.add(result.path)
            yield result.path, result
    except ChecksFailed as failed:
        if len(jobs) == 1:
            yield jobs[0].request.output, failed.message
            return
    for job in jobs:
        if job.request.output not in done:
            yield from _made([job], listener)


def _verdict(take: _Take, made: "dict[Path, Result | str]", takes: Sequence[_Take]) -> Verdict:
    trial, path, model = take.trial, take.job.request.output, take.job.card.name
    outcome = made[path]
    if isinstance(outcome, str):
        return Verdict(trial=trial, model=model, path=path, fault=outcome)
    same = (other for other in takes if other.job.card == take.job.card and other.trial.name == trial.repeats)
    repeated = next((other.job.request.output for other in same), None)
    return Verdict(
        trial=trial,
        model=model,
        path=path,
        seconds=round(sum(outcome.seconds.values()), 3),
        checks=tuple(judge(trial, path, sound=take.job.card.sound, repeated=repeated)),
    )


@contextmanager
def _clips(keep: Path | None) -> Iterator[Path]:
    """The folder for the clips: `keep`, new or empty, or one that goes at the end."""
    if keep is None:
        with _scratch() as folder:
            yield folder
        return
    try:
        keep.mkdir(exist_ok=True)
        if any(keep.iterdir()):
            raise OutputRefused(f"{keep} is not empty", "name a new folder, or empty that one")
    except OSError as error:
        said = f"cannot keep clips in {keep}: {error.strerror}"
        raise OutputRefused(said, "name a folder in another place") from error
    yield keep


@contextmanager
def _scratch() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="vidgen-smoke-")
    except OSError as error:
        said = f"there is no place for temporary files: {error.strerror}"
        raise OutputRefused(said, "name a folder that can be written in TMPDIR") from error
    with folder as name:
        yield Path(name)
