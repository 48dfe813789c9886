"""Which rung of the ladder: the first that fits this machine, with a sentence for each one passed over."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from vidgen.core.card import Component, ModelCard, Phase
from vidgen.core.errors import DoesNotFit
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Canvas, Plan, Rung, Weights
from vidgen.core.request import Request
from vidgen.planning.cost import timed
from vidgen.planning.ladder import describe, ladder, rungs
from vidgen.planning.memory import STREAMED, block_gib, phases

RESERVE_GIB = {Device.CUDA: 0.6, Device.CPU: 0.85, Device.MPS: 1.85}
"""Left free: the device's own context and workspaces, the interpreter and its libraries."""

FRAGMENTED = 0.05
"""The part of a card's memory that is lost between allocations."""

HOST_GIB = 2.0
"""Of the host's memory, beside a device of its own: the interpreter, the libraries, pictures on their way."""

LESS = "ask for fewer frames or a smaller size, or another model: vidgen models"

UNSTACKED = "blocks streamed: how large this model's are was not measured"


def room_gib(machine: Machine) -> float:
    """What of the device's memory a plan may fill."""
    lost = FRAGMENTED * machine.memory_gib if machine.device is Device.CUDA else 0.0
    return max(0.0, machine.memory_gib - lost - RESERVE_GIB[machine.device])


def choose(
    request: Request,
    card: ModelCard,
    canvas: Canvas,
    machine: Machine,
    weights: Weights,
    pace: Mapping[Phase, float] | None = None,
) -> Plan:
    """The best plan for `request` on `machine`; DoesNotFit (exit 5) when no rung does.

    `pace`: how many times as long as arithmetic says each phase took here, where that is known.
    """
    machine = _limited(machine, request)
    passed_over: list[str] = []
    failed: dict[str, str] = {}
    for step in ladder(machine, request):
        if step.placement in STREAMED and not _stacked(request, card):
            passed_over += [UNSTACKED] if UNSTACKED not in passed_over else []
            continue
        first, last = "", ""
        for rung in rungs(step, request, card, canvas):
            plan = _planned(request, card, canvas, machine, weights, rung)
            last = _lacking(plan)
            if not last:
                passed_over += [first] if first else []
                return timed(
                    replace(plan, passed_over=tuple(passed_over), pace=pace or {}), request, card, canvas, weights
                )
            first = first or last
        passed_over.append(last)
        failed[step.precision] = last
    raise DoesNotFit(
        f"{card.name} does not fit {machine.name}. {'; '.join(failed.values()) or UNSTACKED}",
        LESS if _free(request) else f"leave {limits(request)} to the plan, or ask for fewer frames or a smaller size",
    )


def fits(plan: Plan) -> bool:
    """Whether every phase of `plan` has the memory that it needs."""
    return not _lacking(plan)


def freed(request: Request) -> Request:
    """`request` with everything left to the plan."""
    return replace(request, precision="auto", offload="auto", tiling="auto", vram_gib=0.0)


def _free(request: Request) -> bool:
    return request == freed(request)


def limits(request: Request) -> str:
    """The options that narrow the plan of a request."""
    open_ = freed(request)
    flags = {"precision": "--precision", "offload": "--offload", "tiling": "--tiling", "vram_gib": "--vram"}
    return " and ".join(flag for name, flag in flags.items() if getattr(request, name) != getattr(open_, name))


def _limited(machine: Machine, request: Request) -> Machine:
    """The machine with no more of its card than the request may use."""
    if machine.device is not Device.CUDA or not request.vram_gib:
        return machine
    return replace(machine, vram_gib=min(machine.vram_gib, request.vram_gib))


def _stacked(request: Request, card: ModelCard) -> bool:
    return any(True for _ in _streamed(request, card))


def _streamed(request: Request, card: ModelCard) -> Iterator[Component]:
    """The components of the denoising whose blocks can be streamed."""
    for name in card.ways[request.mode].phases[Phase.DENOISE]:
        if card.component(name).streams:
            yield card.component(name)


def _planned(request: Request, card: ModelCard, canvas: Canvas, machine: Machine, weights: Weights, rung: Rung) -> Plan:
    """The plan of one rung; where blocks are streamed, as many of them stay as there is room for."""

    one = machine.device is not Device.CUDA

    def on(rung: Rung) -> Plan:
        return Plan(machine=machine, rung=rung, phases=phases(request, card, canvas, weights, rung, one=one))

    plan = on(rung)
    if rung.placement not in STREAMED:
        return plan
    parts = list(_streamed(request, card))
    whole = on(replace(rung, resident=max(part.layers for part in parts)))
    if _denoising(whole) <= room_gib(machine):
        return whole
    each, spare = sum(block_gib(part, rung.precision) for part in parts), room_gib(machine) - _denoising(plan)
    return on(replace(rung, resident=int(spare / each))) if spare > 0 else plan


def _denoising(plan: Plan) -> float:
    """GiB that the denoising takes."""
    return next(phase.gib for phase in plan.phases if phase.phase is Phase.DENOISE)


def _lacking(plan: Plan) -> str:
    """What there is too little of, in a sentence; nothing where the plan fits."""
    room, host = room_gib(plan.machine), max(0.0, plan.machine.host_gib - HOST_GIB)
    heaviest = max(plan.phases, key=lambda phase: phase.gib)
    said = describe(_blamed(plan.rung, heaviest.phase))
    if heaviest.gib > room:
        return f"{said}: needs {heaviest.gib:.1f} GiB to {heaviest.phase}, {room:.1f} GiB are free"
    if plan.machine.device is Device.CUDA and plan.host_gib > host:
        return f"{said}: needs {plan.host_gib:.1f} GiB of the host's memory, {host:.1f} GiB are free"
    return ""


def _blamed(rung: Rung, phase: Phase) -> Rung:
    """The rung as far as it counts for the memory of `phase`."""
    return replace(
        rung,
        turns=rung.turns and phase is Phase.DENOISE,
        tiling=rung.tiling if phase is Phase.DECODE else 0,
        resident=rung.resident if phase is Phase.DENOISE else 0,
    )
