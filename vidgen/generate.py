"""The story: words become jobs (`prepare`), jobs become clips (`run`). Read this first.

    words -> settle -> Request -> check -> plan -> Job -> encode -> denoise -> decode -> write -> record -> Result

`prepare` decides everything and loads nothing: no torch, well under a second. `run` decides nothing. Several clips
run phase by phase (all prompts, then all latents, then all frames), so that each phase's weights are loaded once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from vidgen import history
from vidgen.core.card import Phase
from vidgen.core.plan import Job, Rung
from vidgen.core.result import Event, Result
from vidgen.enhance import enhanced, recalled
from vidgen.media import clip, pictures, record, sound
from vidgen.media.account import account
from vidgen.planning.cost import arithmetic
from vidgen.planning.detours import detour
from vidgen.prepare import prepare
from vidgen.shots import Failed, Hands, Shot, absent, at_work
from vidgen.studio.checkpoints import Checkpoints
from vidgen.studio.fingerprint import hashes
from vidgen.studio.part import CHECKPOINT, CONDITIONING, LATENTS, part

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["prepare", "run"]

Listener = Callable[[Event], None]
"""Told of every moment of progress; it stops the work by raising."""


def run(jobs: Iterable[Job], listener: Listener = lambda event: None) -> Iterator[Result]:
    """Make every clip, and give each result as soon as its file stands at its place.

    Raises a `Refusal` (see `vidgen.core.errors`) with nothing half-written: what was finished stays, and the same
    request goes on from the last artefact: a step that was kept, or finished latents.
    """
    jobs = list(jobs)
    for job in jobs:
        if job.weights.missing and not job.skip:
            raise absent(job)
    for skip, group in groupby(jobs, key=lambda job: (job.skip, job.card, job.plan.rung)):
        if skip[0]:
            yield from (_skipped(job) for job in group)
        else:
            yield from _film(list(group), listener)


def _film(jobs: Sequence[Job], listener: Listener) -> Iterator[Result]:
    """All clips of one model on one rung; where a phase fails, those that are left go on from there on another rung."""
    with ExitStack() as claims:
        parts = [claims.enter_context(part(job, _waiting(job, listener), _damaged(job, listener))) for job in jobs]
        shots = [
            Shot(job=recalled(job, own.folder), part=own, hashes={} if own.skip else hashes(job.request))
            for job, own in zip(jobs, parts, strict=True)
        ]
        yield from (_skipped(shot.job) for shot in shots if shot.part.skip)
        tried: set[Rung] = set()
        while left := _left(shots):
            tried.add(left[0].job.plan.rung)
            try:
                yield from _phases(left, listener)
            except Failed as failed:
                _detour(_left(shots), failed, frozenset(tried), listener)


def _left(shots: Sequence[Shot]) -> list[Shot]:
    return [shot for shot in shots if not (shot.part.delivered or shot.part.skip)]


def _phases(shots: Sequence[Shot], listener: Listener) -> Iterator[Result]:
    """Encode all, denoise all, then decode and deliver one after the other."""
    listener(Event(phase="load", clips=len(shots)))
    with Hands(shots[0].job) as hands:
        undone = [shot for shot in shots if not shot.part.has(LATENTS)]
        _encode(hands, [shot for shot in undone if not shot.part.has(CONDITIONING)], listener)
        for number, shot in enumerate(undone):
            _denoise(hands, shot, _numbered(listener, number, len(undone)))
        for number, shot in enumerate(shots):
            yield _deliver(hands, shot, _numbered(listener, number, len(shots)))


def _detour(shots: Sequence[Shot], failed: Failed, tried: frozenset[Rung], listener: Listener) -> None:
    """Send `shots` on another way, and write down that they take it; raises what failed where there is none."""
    jobs = [detour(shot.job, failed.phase, failed.fault, tried) for shot in shots]
    for shot, job in zip(shots, jobs, strict=True):
        if job is None or not job.fallback:
            raise failed.fault from failed
        shot.job = job
        shot.part.discard_film()
        shot.part.note(job)
    listener(Event(phase=failed.phase, note=shots[0].job.detours[-1]))


def _encode(hands: Hands, shots: Sequence[Shot], listener: Listener) -> None:
    if not shots:
        return
    listener(Event(phase="encode", total=len(shots)))
    enhanced(hands, shots, listener)
    backend = hands.at(Phase.ENCODE)
    with at_work(Phase.ENCODE, shots, hands.standing_gib):
        for shot, conditioning in zip(shots, backend.encode([shot.job.read for shot in shots], _pictures), strict=True):
            shot.part.save(CONDITIONING, conditioning)
    listener(Event(phase="encode", done=len(shots), total=len(shots)))


def _denoise(hands: Hands, shot: Shot, listener: Listener) -> None:
    draft = shot.job.whole is not None
    kept = Checkpoints(shot.part.folder, shot.job.checkpoint_every, last=draft)
    since = kept.latest()
    shot.partly = since is not None
    listener(Event(phase="denoise", done=int(since["step"]) if since else 0, total=shot.job.steps))
    backend = hands.at(Phase.DENOISE)
    with at_work(Phase.DENOISE, [shot], hands.standing_gib):
        latents = backend.denoise(
            shot.job,
            shot.part.load(CONDITIONING),
            _pictures(shot.job),
            kept.stepping(lambda done, total: listener(Event(phase="denoise", done=done, total=total))),
            since,
        )
        shot.part.save(LATENTS, latents)
        if not draft:  # a second stage goes on from its last step
            shot.part.forget(CHECKPOINT)


def _pictures(job: Job) -> "list[Image]":
    """The pictures of a job, fitted to its canvas; those of a draft to that of the whole, which is to be the same."""
    request, shown = job.request, job.whole or job.request
    return [
        pictures.fitted(
            keyframe.picture,
            width=shown.width,
            height=shown.height,
            canvas=job.whole.canvas if job.whole else job.canvas,
            fit=request.fit,
            background=request.background,
            crf=job.card.schedule.picture_crf,
        )
        for keyframe in request.keyframes
    ]


def _deliver(hands: Hands, shot: Shot, listener: Listener) -> Result:
    """Latents to a verified file at its place, with its record inside and beside it."""
    job, request, made = shot.job, shot.job.request, shot.part
    listener(Event(phase="decode", total=request.frames))
    shape = clip.Shape(width=request.width, height=request.height, frames=request.frames, fps=request.fps)
    style, found = clip.Style(codec=request.codec, crf=request.crf), list[str]()
    backend = hands.at(Phase.DECODE)
    with at_work(Phase.DECODE, [shot], hands.standing_gib):
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
    text = _account(shot, rate)
    record.embed(made.film, text)
    record.write_sidecar(made.film, text)
    listener(Event(phase="deliver"))
    made.deliver(overwrite=job.overwrite, keep=job.keep_latents or job.whole is not None)
    (history.learn if job.fallback else history.forget)(job)
    _remember(shot)
    for sentence in shot.misses():
        listener(Event(phase="deliver", note=sentence))
    return _result(shot)


def _account(shot: Shot, rate: int) -> str:
    spent = {"seconds": shot.seconds, "peak_gib": shot.peak_gib}
    return account(shot.job, **spent, standing_gib=shot.standing_gib, sound_rate=rate, hashed=shot.hashes.__getitem__)


def _remember(shot: Shot) -> None:
    """Keep how long the phases took, where they were done whole and as planned."""
    job = shot.job
    if not (shot.partly or job.detours):
        plan = job.plan
        said = arithmetic(job.request, job.card, job.canvas, job.weights, plan.rung, plan.machine)
        history.paced(job, shot.seconds, said)


def _waiting(job: Job, listener: Listener) -> Callable[[], None]:
    return lambda: listener(
        Event(phase="load", note=f"waiting for another vidgen, which is making {job.request.output}")
    )


def _damaged(job: Job, listener: Listener) -> Callable[[str], None]:
    return lambda phase: listener(
        Event(phase="load", note=f"the {phase} of {job.request.output}, damaged on the disk, will be made again")
    )


def _numbered(listener: Listener, number: int, total: int) -> Listener:
    return lambda event: listener(replace(event, clip=number, clips=total))


def _result(shot: Shot) -> Result:
    return replace(
        _skipped(shot.job),
        seconds=shot.seconds,
        peak_gib=shot.peak_gib,
        standing_gib=shot.standing_gib,
        skipped=False,
    )


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
        adjustments=(*job.adjustments, *job.detours),
        skipped=True,
        enhanced=job.enhanced,
    )
