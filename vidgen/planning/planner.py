"""Which rung of the ladder: the first that fits this machine, with a sentence for each one passed over."""

from vidgen.core.card import ModelCard
from vidgen.core.errors import DoesNotFit
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Canvas, Placement, Plan, Precision, Rung, Weights
from vidgen.core.request import Request
from vidgen.planning.memory import phases

RESERVE_GIB = {Device.CUDA: 1.0, Device.CPU: 1.0, Device.MPS: 2.0}
"""Left free: the device's own context and workspaces, the interpreter and its libraries."""

TILES = (512, 256, 128)
"""Sides of a decoder's tiles in pixels, the quickest first."""

SHAPES = ((Placement.RESIDENT, 0), (Placement.PHASE, 0), (Placement.PHASE, TILES[0]))
"""Placement and tiling, the quickest first."""

FORMATS = {
    Device.CUDA: (Precision.BF16, Precision.INT8),
    Device.MPS: (Precision.BF16,),
    Device.CPU: (Precision.BF16, Precision.INT8),
}
"""What is tried unasked, the best first. FP8 takes the room of INT8 and is further from BF16: one has to ask."""


def ladder(device: Device, precision: str = "auto") -> list[Rung]:
    """The ways to fit, the best first; with a `precision`, only those that hold weights in it."""
    if precision != "auto":
        return [_rung(Precision(precision), shape) for shape in SHAPES]
    whole = [_rung(Precision.FP32, SHAPES[0])] if device is Device.CPU else []
    return whole + [_rung(held, shape) for held in FORMATS[device] for shape in SHAPES]


def _rung(precision: Precision, shape: tuple[Placement, int]) -> Rung:
    return Rung(precision=precision, placement=shape[0], tiling=shape[1])


def choose(request: Request, card: ModelCard, canvas: Canvas, machine: Machine, weights: Weights) -> Plan:
    """The best plan for `request` on `machine`; DoesNotFit (exit 5) when no rung does."""
    room = machine.memory_gib - RESERVE_GIB[machine.device]
    passed_over: list[str] = []
    for rung in ladder(machine.device, request.precision):
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
        "ask for fewer frames or a smaller size, or another model: vidgen models"
        if request.precision in ("auto", *FORMATS[machine.device][-1:])
        else "leave --precision to the plan, or ask for fewer frames or a smaller size",
    )


def describe(rung: Rung) -> str:
    """A rung in a few words."""
    where = {Placement.RESIDENT: "everything resident", Placement.PHASE: "one phase at a time"}[rung.placement]
    tiles = f", decoding in tiles of {rung.tiling}" if rung.tiling else ""
    host = f", {' and '.join(rung.host)} on the processor" if rung.host else ""
    return f"{rung.precision}, {where}{tiles}{host}"
