"""Where a clip goes on when a phase fails: the next rung below when memory ran out, a safer one after NaN."""

from collections.abc import Iterator
from dataclasses import replace

from vidgen.core.card import Phase
from vidgen.core.conflicts import conflict
from vidgen.core.errors import NotFinite, Refusal
from vidgen.core.machine import Device
from vidgen.core.plan import Job, Placement, Precision, Rung
from vidgen.planning.cost import timed
from vidgen.planning.ladder import LADDERS, describe, smaller
from vidgen.planning.memory import STREAMED, batched, phases
from vidgen.planning.planner import fits

LIGHTER = {Precision.FP32: Precision.BF16, Precision.BF16: Precision.INT8, Precision.INT8: Precision.NF4}
"""Formats that hold the same weights in half the room."""

SAFER = {
    Precision.NF4: Precision.BF16,
    Precision.INT8: Precision.BF16,
    Precision.FP8: Precision.BF16,
    Precision.BF16: Precision.FP32,
}
"""Formats with more room for large values."""


def detour(job: Job, phase: Phase, fault: Refusal, tried: frozenset[Rung]) -> Job | None:
    """`job` on the next rung that was not tried, with the sentence that says so; None when there is none.

    Only what the failed phase needs is given up, first what changes no pixels. A precision, a placement or tiles that
    were asked for stay.
    """
    options = _safer(job) if isinstance(fault, NotFinite) else _below(job, phase)
    device = job.plan.machine.device
    rung = next((rung for rung in options if rung not in tried and not conflict(rung, device)), None)
    if rung is None:
        return None
    what = fault.message.partition(":")[0]
    said = f"{what} on {describe(job.plan.rung)}: went on with {describe(rung)}"
    return replace(moved(job, rung), detours=(*job.detours, said))


def moved(job: Job, rung: Rung) -> Job:
    """`job` on another rung; it is still known by the one that was chosen first."""
    one = job.plan.machine.device is not Device.CUDA
    weighed = phases(job.request, job.card, job.canvas, job.weights, rung, one=one)
    plan = replace(job.plan, rung=rung, first=job.plan.chosen, phases=weighed)
    return replace(job, plan=timed(plan, job.request, job.card, job.canvas, job.weights))


def _below(job: Job, phase: Phase) -> Iterator[Rung]:
    """Rungs on which `phase` needs less memory, the nearest first; what changes no pixel comes before what does."""
    rung = job.plan.rung
    if job.request.offload == "auto" and rung.placement is Placement.RESIDENT:
        rung = replace(rung, placement=Placement.PHASE)
        yield rung
    for step in (_apart, _coarser)[phase is Phase.DECODE](job, phase, rung):
        yield step
        rung = step
    if phase is Phase.DECODE and job.request.tiling == "auto":
        rung = replace(rung, tiling=max(smaller(job.card, job.canvas), default=0))
    if phase is not Phase.DENOISE and phase not in rung.host and job.plan.machine.device is not Device.CPU:
        yield replace(rung, host=(*rung.host, phase))
    lighter = LIGHTER.get((rung.kind and rung.encoder) or rung.precision)
    offered = {step.precision for step in LADDERS[job.plan.machine.device]}
    if lighter in offered and job.request.precision == "auto" and _shrinks(job, phase, lighter):
        yield _in(rung, lighter)


def _coarser(job: Job, phase: Phase, rung: Rung) -> Iterator[Rung]:
    """The decoder in smaller and smaller tiles."""
    now = min(rung.tiling, job.card.cost.tile) if rung.tiling else 0
    for side in smaller(job.card, job.canvas) if job.request.tiling == "auto" else ():
        if not now or side < now:
            yield replace(rung, tiling=side)


def _apart(job: Job, phase: Phase, rung: Rung) -> Iterator[Rung]:
    """Passes in turn, then fewer and fewer blocks on the card while they compute."""
    if phase is Phase.DENOISE and batched(job.request, job.card) and not rung.turns:
        rung = replace(rung, turns=True)
        yield rung
    layers = _layers(job, Phase.DENOISE) if _layers(job, phase) else 0
    offered = {step.placement for step in LADDERS[job.plan.machine.device]} & STREAMED
    if not layers or not offered or job.request.offload != "auto":
        return
    place = rung.placement if rung.placement in STREAMED else min(offered, key=list(Placement).index)
    stay = rung.resident if rung.placement in STREAMED else layers
    if phase is Phase.ENCODE:
        if rung.placement not in STREAMED:
            yield replace(rung, placement=place, resident=stay)
        return
    while stay:
        stay //= 2
        yield replace(rung, placement=place, resident=stay)


def _layers(job: Job, phase: Phase) -> int:
    """How many blocks the components of `phase` have that can be streamed."""
    held = job.card.ways[job.request.mode].phases[phase]
    return max((part.layers for part in map(job.card.component, held) if part.streams), default=0)


def _in(rung: Rung, lighter: Precision) -> Rung:
    """The rung in a lighter format: of a GGUF file, only the text encoder is."""
    return replace(rung, encoder=lighter) if rung.kind else replace(rung, precision=lighter, encoder=None)


def _safer(job: Job) -> Iterator[Rung]:
    """The rung with more room for large values, where the machine has the room for it; a GGUF file is as it is."""
    precision = SAFER.get(job.plan.rung.precision)
    if precision and job.request.precision == "auto" and not job.plan.rung.kind:
        for placement in (job.plan.rung.placement, Placement.PHASE):
            rung = replace(job.plan.rung, precision=precision, placement=placement)
            if fits(moved(job, rung).plan):
                yield rung


def _shrinks(job: Job, phase: Phase, precision: Precision) -> bool:
    """Whether `precision` makes something of `phase` smaller: quantization leaves some components alone."""
    held = job.card.ways[job.request.mode].phases[phase]
    if job.plan.rung.kind and phase is not Phase.ENCODE:
        return False  # all but text encoders is as its file says
    return not precision.quantized or any(job.card.component(name).blocks for name in held)
