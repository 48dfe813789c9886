"""Requests that fit: a plan, or what is nearest to it; and the largest clip that ends in a given time."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import ceil
from typing import Any

from vidgen import history
from vidgen.catalog import cards
from vidgen.core.amounts import duration
from vidgen.core.card import ModelCard
from vidgen.core.errors import DoesNotFit, UsageRefused
from vidgen.core.machine import Machine
from vidgen.core.plan import Canvas, Job, Plan, Weights
from vidgen.core.request import Request
from vidgen.planning import nearest, planner
from vidgen.planning.check import draw

PARTS = (1.0, 0.75, 0.5)
"""Parts of the size, of the frames and of the steps that a budget may take."""

UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}

HELD = frozenset({"flag"})
"""What was typed for this clip is not taken back."""


def planned(request: Request, card: ModelCard, canvas: Canvas, machine: Machine, weights: Weights) -> Plan:
    """The plan; where nothing fits, the refusal (exit 5) says what is nearest to it and does."""
    try:
        return planner.choose(request, card, canvas, machine, weights, history.pace(machine, card))
    except DoesNotFit as refusal:
        change = nearest.nearest(request, card, machine, weights)
        change = change or nearest.another(request, cards.cards().values(), machine)
        raise DoesNotFit(refusal.message, f"nearest that fits: {change}" if change else refusal.remedy) from refusal


def budget(text: str) -> float:
    """Seconds, from "90", "90s", "10m" or "1.5h"; UsageRefused (exit 2) for anything else."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*([a-z]*)", text.strip().lower())
    seconds = float(found[1]) * UNITS[found[2]] if found and found[2] in UNITS else 0.0
    if not seconds:
        raise UsageRefused(f"budget {text!r} is no length of time", "write --budget 10m, 90s or 1.5h")
    return seconds


def within(jobs: Sequence[Job], seconds: float, again: Callable[[Mapping[str, Any]], list[Job]]) -> list[Job]:
    """The largest clips, by pixels times steps, that are made in `seconds`, all together.

    `again` makes the jobs with other settings. Nothing that was typed is reduced, and nothing of a strict request.
    DoesNotFit (exit 5) where nothing ends in time, or nobody knows what does.
    """
    job, quickest = jobs[0], 0.0
    for settings, wanted in _smaller(job):
        takes = _seconds(job, wanted) * len(jobs)
        if takes and takes <= seconds:
            chosen = again(settings) if settings else list(jobs)
            return [_told(one, job, seconds) for one in chosen]
        if takes and (not quickest or takes < quickest):
            quickest, least = takes, settings
    if not quickest:
        raise DoesNotFit(
            f"how long {job.card.name} takes on {job.plan.machine.name} is not known",
            "name a known card (--gpu 4090), or make a clip without --budget: what it took is remembered",
        )
    options = " ".join(f"--{name} {value}" for name, value in least.items())
    raise DoesNotFit(
        f"nothing that was left open ends within {duration(seconds)}",
        f"nearest that fits: --budget {ceil(quickest - 0.001)}s {options}".rstrip(),
    )


def _seconds(job: Job, wanted: Request) -> float:
    """How long another request of the same model takes, by really planning it; 0 where that is not known."""
    if wanted == job.request:
        return job.plan.seconds
    plan, canvas = job.plan, draw(wanted, job.card)
    try:
        return planner.choose(wanted, job.card, canvas, plan.machine, job.weights, plan.pace).seconds
    except DoesNotFit:
        return 0.0


def _smaller(job: Job) -> Iterator[tuple[Mapping[str, Any], Request]]:
    """Settings, and the request that they make of `job`'s: less and less work, first none less.

    The size of a draft is asked for as that of the whole, of which it has half the sides.
    """
    request, grid, asked = job.request, job.card.grid, job.whole or job.request
    part = 2 if job.whole else 1
    free = {setting.name for setting in job.settings if setting.origin not in HELD and not request.strict}
    steps = PARTS if "steps" in free and not job.card.schedule.fixed else PARTS[:1]
    frames = PARTS if "frames" in free else PARTS[:1]
    sizes = PARTS if "size" in free else PARTS[:1]
    for step, frame, size in sorted(product(steps, frames, sizes), key=_work, reverse=True):
        width, height = (_on_grid(side * size, grid.size * part) for side in (asked.width, asked.height))
        fewer = _on_grid((request.frames - 1) * frame, grid.frames) + 1
        walked = max(1, round(request.steps * step))
        changed: dict[str, Any] = {"frames": fewer} if frame < 1 else {}
        changed |= {"steps": walked} if step < 1 else {}
        shape: dict[str, Any] = {"width": width // part, "height": height // part} if size < 1 else {}
        sized: dict[str, Any] = {"size": f"{width}x{height}"} if size < 1 else {}
        yield {**sized, **changed}, replace(request, **shape, **changed)


def _work(parts: tuple[float, float, float]) -> tuple[float, ...]:
    """How much work parts of steps, frames and size leave; of equal ones, steps are given up first, the size last."""
    steps, frames, size = parts
    return steps * frames * size**2, size, frames


def _on_grid(length: float, grid: int) -> int:
    return max(1, round(length / grid)) * grid


def _told(job: Job, asked: Job, seconds: float) -> Job:
    """The job, with a sentence that says what was reduced."""
    now, then = job.request, asked.request
    pairs = (
        (_shown(job), _shown(asked)),
        (f"{now.frames} frames", f"{then.frames}"),
        (f"{now.steps} steps", f"{then.steps}"),
    )
    said = ", ".join(f"{less} for {whole}" for less, whole in pairs if less.split()[0] != whole)
    if not said:
        return job
    note = f"to end within {duration(seconds)}: {said}"
    return replace(job, adjustments=(*job.adjustments, note))


def _shown(job: Job) -> str:
    """The size that was asked for: of a draft that of the whole."""
    shown = job.whole or job.request
    return f"{shown.width}x{shown.height}"
