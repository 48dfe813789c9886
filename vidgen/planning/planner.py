"""Which rung of the ladder: the first that fits this machine, with a sentence for each one passed over."""

from collections.abc import Sequence

from vidgen.core.card import ModelCard
from vidgen.core.errors import DoesNotFit
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Canvas, Placement, Plan, Precision, Rung, Weights
from vidgen.core.request import Request
from vidgen.planning.memory import phases

RESERVE_GIB = {Device.CUDA: 1.0, Device.CPU: 1.0, Device.MPS: 2.0}
"""Left free: the device's own context and workspaces, the interpreter and its libraries."""

LADDERS: dict[Device, Sequence[Rung]] = {
    Device.CUDA: (
        Rung(precision=Precision.BF16, placement=Placement.RESIDENT),
        Rung(precision=Precision.BF16, placement=Placement.PHASE),
        Rung(precision=Precision.BF16, placement=Placement.PHASE, tiling=True),
    ),
    Device.MPS: (
        Rung(precision=Precision.BF16, placement=Placement.RESIDENT),
        Rung(precision=Precision.BF16, placement=Placement.PHASE),
        Rung(precision=Precision.BF16, placement=Placement.PHASE, tiling=True),
    ),
    Device.CPU: (
        Rung(precision=Precision.FP32, placement=Placement.RESIDENT),
        Rung(precision=Precision.BF16, placement=Placement.RESIDENT),
        Rung(precision=Precision.BF16, placement=Placement.PHASE),
        Rung(precision=Precision.BF16, placement=Placement.PHASE, tiling=True),
    ),
}


def choose(request: Request, card: ModelCard, canvas: Canvas, machine: Machine, weights: Weights) -> Plan:
    """The best plan for `request` on `machine`; DoesNotFit (exit 5) when no rung does."""
    room = machine.memory_gib - RESERVE_GIB[machine.device]
    passed_over: list[str] = []
    for rung in LADDERS[machine.device]:
        plan = Plan(
            machine=machine,
            rung=rung,
            phases=phases(request, card, canvas, weights, rung),
            passed_over=tuple(passed_over),
        )
        if plan.peak_gib <= room:
            return plan
        passed_over.append(f"{describe(rung)}: needs {plan.peak_gib:.1f} GiB, {room:.1f} GiB are free")
    raise DoesNotFit(
        f"{card.name} does not fit {machine.name}. {'; '.join(passed_over)}",
        "ask for fewer frames or a smaller size, or another model: vidgen models",
    )


def describe(rung: Rung) -> str:
    """A rung in a few words."""
    where = {Placement.RESIDENT: "everything resident", Placement.PHASE: "one phase at a time"}[rung.placement]
    return f"{rung.precision}, {where}{', decoding in tiles' if rung.tiling else ''}"
