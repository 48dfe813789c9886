"""Where a clip goes on when a phase fails: the next rung below when memory ran out, a safer one after NaN."""

from collections.abc import Iterator
from dataclasses import replace

from vidgen.core.card import Phase
from vidgen.core.errors import NotFinite, Refusal
from vidgen.core.machine import Device
from vidgen.core.plan import Canvas, Job, Placement, Plan, Precision, Rung
from vidgen.planning.memory import phases
from vidgen.planning.planner import RESERVE_GIB, TILES, describe

LIGHTER = {Precision.FP32: Precision.BF16, Precision.BF16: Precision.INT8}
"""Formats that hold the same weights in half the room."""

SAFER = {Precision.INT8: Precision.BF16, Precision.FP8: Precision.BF16, Precision.BF16: Precision.FP32}
"""Formats with more room for large values."""

LONGEST = 64
"""Frames in the longest tile."""


def detour(job: Job, phase: Phase, fault: Refusal, tried: frozenset[Rung]) -> Job | None:
    """`job` on the next rung that was not tried, with the sentence that says so; None when there is none.

    Only what the failed phase needs is given up, first what changes no pixels. A precision that was asked for stays.
    """
    options = _safer(job) if isinstance(fault, NotFinite) else _below(job, phase)
    rung = next((rung for rung in options if rung not in tried), None)
    if rung is None:
        return None
    what = fault.message.partition(":")[0]
    said = f"{what} on {describe(job.plan.rung)}: went on with {describe(rung)}"
    return replace(moved(job, rung), detours=(*job.detours, said))


def moved(job: Job, rung: Rung) -> Job:
    """`job` on another rung; it is still known by the one that was chosen first."""
    weighed = phases(job.request, job.card, job.canvas, job.weights, rung)
    return replace(job, plan=replace(job.plan, rung=rung, first=job.plan.chosen, phases=weighed))


def _below(job: Job, phase: Phase) -> Iterator[Rung]:
    """Rungs on which `phase` needs less memory, the nearest first."""
    rung = job.plan.rung
    if rung.placement is Placement.RESIDENT:
        yield replace(rung, placement=Placement.PHASE)
    rung = replace(rung, placement=Placement.PHASE)
    if phase is Phase.DECODE:
        sides = [side for side in TILES if side <= job.card.cost.tile and _cuts(side, job.canvas)]
        yield from (
            replace(rung, tiling=side)
            for side in sides
            if not rung.tiling or side < min(rung.tiling, job.card.cost.tile)
        )
        rung = replace(rung, tiling=max(sides, default=0))
    if phase is not Phase.DENOISE and phase not in rung.host and job.plan.machine.device is not Device.CPU:
        yield replace(rung, host=(*rung.host, phase))
    lighter = LIGHTER.get(rung.precision)
    if lighter and job.request.precision == "auto" and _shrinks(job, phase, lighter):
        yield replace(rung, precision=lighter)


def _safer(job: Job) -> Iterator[Rung]:
    """The rung with more room for large values, where the machine has the room for it."""
    precision = SAFER.get(job.plan.rung.precision)
    if precision and job.request.precision == "auto":
        for placement in (job.plan.rung.placement, Placement.PHASE):
            rung = replace(job.plan.rung, precision=precision, placement=placement)
            if _fits(moved(job, rung).plan):
                yield rung


def _cuts(side: int, canvas: Canvas) -> bool:
    """Whether tiles of that side are smaller than the canvas."""
    return side < max(canvas.width, canvas.height) or canvas.frames > LONGEST


def _shrinks(job: Job, phase: Phase, precision: Precision) -> bool:
    """Whether `precision` makes something of `phase` smaller: quantization leaves some components alone."""
    held = job.card.ways[job.request.mode].phases[phase]
    return not precision.quantized or any(job.card.component(name).blocks for name in held)


def _fits(plan: Plan) -> bool:
    return plan.peak_gib <= plan.machine.memory_gib - RESERVE_GIB[plan.machine.device]
