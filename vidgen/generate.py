"""The story: words become jobs (`prepare`), jobs become clips (`run`). Read this first.

    words -> settle -> Request -> check -> plan -> Job -> encode -> denoise -> decode -> write -> record -> Result

`prepare` decides everything and loads nothing: no torch, well under a second. `run` decides nothing. Several clips
run phase by phase (all prompts, then all latents, then all frames), so that each phase's weights are loaded once.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import groupby

from vidgen import probe
from vidgen.backends.port import Backend, opened
from vidgen.core.errors import WeightsRefused
from vidgen.core.plan import Job
from vidgen.core.result import Event, Result
from vidgen.hub import command
from vidgen.media import clip, pictures, record, sound
from vidgen.media.account import account
from vidgen.prepare import prepare
from vidgen.studio.checkpoints import Checkpoints
from vidgen.studio.part import CHECKPOINT, CONDITIONING, LATENTS, Part, part

__all__ = ["prepare", "run"]

Listener = Callable[[Event], None]
"""Told of every moment of progress; it stops the work by raising."""


@dataclass(slots=True)
class _Shot:
    """One job on its way to a clip."""

    job: Job
    part: Part
    seconds: dict[str, float] = field(default_factory=dict)
    peak_gib: dict[str, float] = field(default_factory=dict)


def run(jobs: Iterable[Job], listener: Listener = lambda event: None) -> Iterator[Result]:
    """Make every clip, and give each result as soon as its file stands at its place.

    Raises a `Refusal` (see `vidgen.core.errors`) with nothing half-written: what was finished stays, and the same
    request goes on from the last artefact: a step that was kept, or finished latents.
    """
    jobs = list(jobs)
    for job in jobs:
        if job.weights.missing and not job.skip:
            raise _absent(job)
    for skip, group in groupby(jobs, key=lambda job: (job.skip, job.card, job.plan.rung)):
        if skip[0]:
            yield from (_skipped(job) for job in group)
        else:
            yield from _film(list(group), listener)


def _film(jobs: Sequence[Job], listener: Listener) -> Iterator[Result]:
    """All clips of one model on one rung: encode all, denoise all, then decode and deliver one after the other."""
    with ExitStack() as claims:
        shots = [_Shot(job=job, part=claims.enter_context(part(job, _waiting(job, listener)))) for job in jobs]
        listener(Event(phase="load", clips=len(shots)))
        with opened(jobs[0]) as backend:
            undone = [shot for shot in shots if not shot.part.has(LATENTS)]
            _encode(backend, [shot for shot in undone if not shot.part.has(CONDITIONING)], listener)
            for number, shot in enumerate(undone):
                _denoise(backend, shot, _numbered(listener, number, len(undone)))
            for number, shot in enumerate(shots):
                yield _deliver(backend, shot, _numbered(listener, number, len(shots)))


def _encode(backend: Backend, shots: Sequence[_Shot], listener: Listener) -> None:
    if not shots:
        return
    listener(Event(phase="encode", total=len(shots)))
    with _measured("encode", shots):
        for shot, conditioning in zip(shots, backend.encode([shot.job for shot in shots]), strict=True):
            shot.part.save(CONDITIONING, conditioning)
    listener(Event(phase="encode", done=len(shots), total=len(shots)))


def _denoise(backend: Backend, shot: _Shot, listener: Listener) -> None:
    request, canvas, kept = shot.job.request, shot.job.canvas, Checkpoints(shot.part.folder, shot.job.checkpoint_every)
    since = kept.latest()
    listener(Event(phase="denoise", done=int(since["step"]) if since else 0, total=request.steps))
    with _measured("denoise", [shot]):
        images = [
            pictures.fitted(
                keyframe.picture,
                width=request.width,
                height=request.height,
                canvas=canvas,
                fit=request.fit,
                background=request.background,
                crf=shot.job.card.schedule.picture_crf,
            )
            for keyframe in request.keyframes
        ]
        latents = backend.denoise(
            shot.job,
            shot.part.load(CONDITIONING),
            images,
            kept.stepping(lambda done, total: listener(Event(phase="denoise", done=done, total=total))),
            since,
        )
        shot.part.save(LATENTS, latents)
        shot.part.forget(CHECKPOINT)


def _deliver(backend: Backend, shot: _Shot, listener: Listener) -> Result:
    """Latents to a verified file at its place, with its record inside and beside it."""
    job, request, made = shot.job, shot.job.request, shot.part
    listener(Event(phase="decode", total=request.frames))
    shape = clip.Shape(width=request.width, height=request.height, frames=request.frames, fps=request.fps)
    style, found = clip.Style(codec=request.codec, crf=request.crf), list[str]()
    with _measured("decode", [shot]):
        film = backend.decode(job, made.load(LATENTS))
        rate = film.rate if request.sound else 0
        if film.samples is not None and rate:
            sound.write(film.samples, film.rate, made.sound, seconds=request.seconds)
            found += sound.remarks(film.samples)
        clip.write(
            film.frames,
            made.film,
            shape=shape,
            style=style,
            sound=made.sound if made.sound.is_file() else None,
            progress=lambda done: listener(Event(phase="decode", done=done, total=request.frames)),
        )
    listener(Event(phase="check"))
    found += clip.check(made.film, shape, style, sound=made.sound.is_file())
    for sentence in found:
        listener(Event(phase="check", note=f"{request.output}: {sentence}"))
    shot.job = job = replace(job, adjustments=(*job.adjustments, *found))
    text = account(job, seconds=shot.seconds, peak_gib=shot.peak_gib, sound_rate=rate)
    record.embed(made.film, text)
    listener(Event(phase="deliver"))
    made.deliver(overwrite=job.overwrite, keep=job.keep_latents)
    record.write_sidecar(request.output, text)
    return _result(shot)


class _measured:  # noqa: N801 - reads as `with _measured("decode", shots)`
    """Writes a phase's seconds and peak memory into its shots."""

    def __init__(self, phase: str, shots: Sequence[_Shot]) -> None:
        self._phase, self._shots = phase, shots

    def __enter__(self) -> None:
        probe.forget_peak()
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        seconds = time.perf_counter() - self._began
        for shot in self._shots:
            shot.seconds[self._phase] = round(seconds / len(self._shots), 3)
            shot.peak_gib[self._phase] = round(probe.peak_gib(shot.job.plan.machine.device), 3)


def _waiting(job: Job, listener: Listener) -> Callable[[], None]:
    return lambda: listener(
        Event(phase="load", note=f"waiting for another vidgen, which is making {job.request.output}")
    )


def _numbered(listener: Listener, number: int, total: int) -> Listener:
    return lambda event: listener(replace(event, clip=number, clips=total))


def _result(shot: _Shot) -> Result:
    return replace(_skipped(shot.job), seconds=shot.seconds, peak_gib=shot.peak_gib, skipped=False)


def _skipped(job: Job) -> Result:
    request = job.request
    return Result(
        path=request.output,
        frames=request.frames,
        width=request.width,
        height=request.height,
        fps=str(request.fps),
        seed=request.seed,
        seconds={},
        peak_gib={},
        adjustments=job.adjustments,
        skipped=True,
    )


def _absent(job: Job) -> WeightsRefused:
    names = ", ".join(job.weights.missing[:3]) + (" ..." if len(job.weights.missing) > 3 else "")
    if fetch := command(job.card, job.weights.missing):
        return WeightsRefused(f"{job.card.name} is not on this machine ({names})", f"fetch it: {fetch}")
    return WeightsRefused(f"{job.weights.folder} is not complete ({names})", "fetch those files again")
