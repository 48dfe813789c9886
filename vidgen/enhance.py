"""Prompts enhanced before anything else is made of them: each once, told, kept with its clip; and how long that is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from vidgen import probe
from vidgen.backends.port import Enhancing, Timing
from vidgen.core.card import Phase
from vidgen.core.enhancer import Enhancer
from vidgen.core.errors import ChecksFailed, UsageRefused, WeightsRefused
from vidgen.core.machine import Machine
from vidgen.core.plan import Job
from vidgen.core.request import Keyframe, Mode
from vidgen.core.result import Event
from vidgen.planning.settle import Subject
from vidgen.prepare import Brief, layered, modelled
from vidgen.reading import cut
from vidgen.shots import Hands, Shot, absent, at_work
from vidgen.studio import asked

SHORTEST_S, LONGEST_S = 1.0, 20.0
"""Between these Diffusers keeps a length that a model tells."""


def enhance(prompt: str, *, picture: str | Path | None = None, machine: Machine | None = None, **typed: Any) -> Job:
    """A job whose prompt is enhanced, and nothing made of it; for a clip that begins with `picture`, if that is given.

    `typed` are settings as `prepare` takes them, `enhancer` and `model` above all. Raises a `Refusal`.
    """
    at = [Keyframe(picture=Path(picture))] if picture is not None else []
    brief = Brief(
        subject=Subject(mode=Mode.I2V if at else Mode.T2V, prompt=prompt, at=at),
        layers=layered({**typed, "enhance": True, "seed": 0}),
        machine=machine or probe.machine(),
        fresh_seed=0,
    )
    [job] = modelled(brief)
    enhancer = cast(Enhancer, job.enhancer)
    if enhancer.own and job.weights.missing:
        raise absent(job)
    with Hands(job) as hands:
        [text] = _texts(hands, enhancer, [job])
    return _reading(job, text)


def duration(prompt: str, *, machine: Machine | None = None, **typed: Any) -> float:
    """How long a clip of `prompt` would naturally be, in seconds. Refuses for a model that does not tell (exit 2)."""
    brief = Brief(
        subject=Subject(mode=Mode.T2V, prompt=prompt),
        layers=layered({**typed, "enhance": False, "guidance_scale": 1.0, "seed": 0}),
        machine=machine or probe.machine(),
        fresh_seed=0,
    )
    [job] = modelled(brief)
    if not (head := job.card.times):
        raise UsageRefused(f"{job.card.name} does not tell how long a clip is to be", "say it: --seconds 5")
    if job.weights.missing:
        raise absent(job)
    if not job.weights.sizes.get(head):
        raise WeightsRefused(f"the weights of {job.card.name} here have no {head}", "say it yourself: --seconds 5")
    with Hands(job) as hands:
        told = cast(Timing, hands.at(Phase.ENCODE)).seconds(job)
    return min(max(told, SHORTEST_S), LONGEST_S)


def enhanced(hands: Hands, shots: Sequence[Shot], listener: Callable[[Event], None]) -> None:
    """Enhance the prompts that are to be and have not been yet, with one load of each enhancer."""
    wanting = [shot for shot in shots if shot.job.enhancer and not shot.job.enhanced]
    for enhancer, group in groupby(wanting, key=lambda shot: cast(Enhancer, shot.job.enhancer)):
        asking = list(group)
        with at_work(Phase.ENCODE, asking, hands.standing_gib):
            texts = _texts(hands, enhancer, [shot.job for shot in asking])
        for shot, text in zip(asking, texts, strict=True):
            shot.job = _reading(shot.job, text)
            asked.keep_enhanced(shot.part.folder, text)
        for text in dict.fromkeys(texts):
            listener(Event(phase="encode", total=len(shots), note=f"enhanced prompt: {text}"))


def recalled(job: Job, folder: Path) -> Job:
    """The job with the enhanced prompt that is kept in `folder`, if there is one."""
    kept = asked.enhanced(folder) if job.enhancer else ""
    return _reading(job, kept) if kept else job


def _texts(hands: Hands, enhancer: Enhancer, jobs: Sequence[Job]) -> list[str]:
    """What the enhancer makes of the prompt of each job. A chat model is alone in memory: nothing is held yet."""
    if enhancer.own:
        return cast(Enhancing, hands.at(Phase.ENCODE)).enhance(jobs)
    from vidgen.backends import chat

    return chat.rewritten(enhancer, jobs)


def _reading(job: Job, text: str) -> Job:
    """The job that reads `text`, with a sentence where the model would not read all of it."""
    if not text:
        raise ChecksFailed("the enhancer made nothing of the prompt", "say more in it, or drop --enhance")
    request = replace(job.request, prompt=text, negative="", enhance=False)
    return replace(job, enhanced=text, adjustments=(*job.adjustments, *cut(request, job.card, job.weights)))
