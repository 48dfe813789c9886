"""The ladder: every way to fit a model into a machine, the best first, and what a person may rule out of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from vidgen.core.card import ModelCard
from vidgen.core.conflicts import conflict
from vidgen.core.errors import UsageRefused
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Canvas, Placement, Precision, Rung
from vidgen.core.request import Request
from vidgen.planning.memory import batched

TILES = (512, 256, 128)
"""Sides of a decoder's tiles in pixels, the quickest first."""

GGUF = "gguf"
"""How what comes from such a file is held, in a word."""

LONGEST = 64
"""Frames in the longest tile."""

OFFLOADS = {
    "none": Placement.RESIDENT,
    "phase": Placement.PHASE,
    "stream": Placement.STREAM,
    "disk": Placement.DISK,
}
"""What a person calls the placements."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One row of the ladder: how weights are held and where. Its rungs differ in passes and tiles alone."""

    precision: Precision
    placement: Placement
    encoder: Precision | None = None


def _steps(precision: Precision, *placements: Placement) -> tuple[Step, ...]:
    return tuple(Step(precision=precision, placement=placement) for placement in placements)


_AT_ONCE, _BY_PHASE, _STREAMED, _FROM_DISK = Placement.RESIDENT, Placement.PHASE, Placement.STREAM, Placement.DISK
_SMALL_ENCODER = Step(precision=Precision.BF16, placement=Placement.PHASE, encoder=Precision.INT8)

LADDERS: dict[Device, tuple[Step, ...]] = {
    Device.CUDA: (
        *_steps(Precision.BF16, _AT_ONCE, _BY_PHASE, _STREAMED),
        _SMALL_ENCODER,
        *_steps(Precision.INT8, _AT_ONCE, _BY_PHASE, _STREAMED),
        *_steps(Precision.NF4, _AT_ONCE, _BY_PHASE, _STREAMED),
        *_steps(Precision.BF16, _FROM_DISK),
        *_steps(Precision.INT8, _FROM_DISK),
        *_steps(Precision.NF4, _FROM_DISK),
    ),
    Device.MPS: _steps(Precision.BF16, _AT_ONCE, _BY_PHASE, _FROM_DISK),
    Device.CPU: (
        *_steps(Precision.FP32, _AT_ONCE),
        *_steps(Precision.BF16, _AT_ONCE, _BY_PHASE),
        _SMALL_ENCODER,
        *_steps(Precision.INT8, _AT_ONCE, _BY_PHASE),
        *_steps(Precision.BF16, _FROM_DISK),
        *_steps(Precision.INT8, _FROM_DISK),
    ),
}
"""By quality, then by speed. Streaming costs no time where a step computes for longer than its weights travel, which is
so for all but short clips, and changes no pixel: so it stands before quantization. FP8 takes the room of INT8 and is
further from BF16: one has to ask. Reading every block from disk at every step is the last thing to try, and quantized
only where two blocks as they are find no room: half of the bytes are read at each step then, but quality is lost, and a
copy must have been kept on the disk first. A processor's memory is the host's: nothing is streamed to it from there."""


WIDE = _steps(Precision.FP32, _AT_ONCE, _BY_PHASE, _FROM_DISK)
"""Before all else for a processor that does not multiply bf16 itself: there it takes five times as long as fp32, and a
decoder's convolutions a hundred times."""


def ladder(machine: Machine, request: Request) -> tuple[Step, ...]:
    """The rows that `request` leaves open; UsageRefused (exit 2) when it rules them all out."""
    device = machine.device
    steps = LADDERS[device]
    if device is Device.CPU and not machine.halves:
        steps = tuple(dict.fromkeys((*WIDE, *steps)))
    if request.ggufs:
        steps = tuple(_stored(device, request.offload))
    elif request.precision != "auto":
        steps = tuple(_asked(device, Precision(request.precision), request.offload))
    if request.offload != "auto":
        wanted = OFFLOADS[request.offload]
        steps = tuple(step for step in steps if step.placement is wanted)
    if not steps:
        held = "" if request.precision == "auto" else f" with --precision {request.precision}"
        raise UsageRefused(
            f"--offload {request.offload}{held} is no way to work on {_named(device)}", "leave --offload to the plan"
        )
    return steps


def _asked(device: Device, precision: Precision, offload: str) -> Iterator[Step]:
    """Every placement that goes with weights in `precision`; refuses (exit 2) one that is asked for and does not."""
    for placement in dict.fromkeys(step.placement for step in LADDERS[device]):
        found = conflict(Rung(precision=precision, placement=placement), device)
        if not found:
            yield Step(precision=precision, placement=placement)
        elif (offload == "auto" and placement is Placement.RESIDENT) or OFFLOADS.get(offload) is placement:
            raise UsageRefused(f"{found.what}: {found.why}", "leave --offload or --precision to the plan")


def _stored(device: Device, offload: str) -> Iterator[Step]:
    """Every placement that goes with a GGUF file, and its text encoder in less and less; refuses (exit 2) another."""
    rows = [step for step in LADDERS[device] if step.precision is not Precision.FP32]
    for encoder in dict.fromkeys(step.encoder or step.precision for step in rows):
        for placement in dict.fromkeys(step.placement for step in rows):
            found = conflict(Rung(precision=Precision.BF16, placement=placement, encoder=encoder, kind=GGUF), device)
            if not found:
                yield Step(precision=Precision.BF16, placement=placement, encoder=encoder)
            elif OFFLOADS.get(offload) is placement:
                raise UsageRefused(f"{found.what}: {found.why}", "leave --offload to the plan")


def rungs(step: Step, request: Request, card: ModelCard, canvas: Canvas) -> Iterator[Rung]:
    """The rungs of one row: passes at once, then in turn; the decoder whole, then in smaller and smaller tiles.

    What changes pixels is not given up for having everything in memory at once, unless one asks for that.
    """
    sides = tiles(request, card, canvas)
    turns = (False, True) if batched(request, card) else (False,)
    kinds = dict.fromkeys(part.stored.kind for part in card.components if part.stored)
    if step.placement is Placement.RESIDENT and request.offload == "auto":
        sides, turns = sides[:1], turns[:1]
    for in_turn in turns:
        for side in sides:
            yield Rung(
                precision=step.precision,
                placement=step.placement,
                encoder=step.encoder,
                turns=in_turn,
                tiling=side,
                kind=" and ".join(kinds),
            )


def tiles(request: Request, card: ModelCard, canvas: Canvas) -> tuple[int, ...]:
    """Sides of tiles to try, 0 for the whole picture; UsageRefused (exit 2) for one that the model does not take."""
    if request.tiling == "auto":
        return (0, *smaller(card, canvas))
    if request.tiling == "off":
        return (0,)
    side = int(request.tiling)
    if side > card.cost.tile:
        said = f"{card.name} decodes in tiles of {card.cost.tile} pixels at most, not {side}"
        raise UsageRefused(said, f"use --tiling {card.cost.tile}")
    return (side,)


def smaller(card: ModelCard, canvas: Canvas) -> tuple[int, ...]:
    """The sides of tiles that are smaller than the canvas and that the model takes, the largest first."""
    longest = max(canvas.width, canvas.height)
    return tuple(side for side in TILES if side <= card.cost.tile and (side < longest or canvas.frames > LONGEST))


def describe(rung: Rung) -> str:
    """A rung in a few words."""
    encoder = f", text encoder in {rung.encoder}" if rung.encoder and rung.encoder is not rung.precision else ""
    stay = f", {rung.resident} of them resident" if rung.resident else ""
    where = {
        Placement.RESIDENT: "everything resident",
        Placement.PHASE: "one phase at a time",
        Placement.STREAM: f"blocks streamed from memory{stay}",
        Placement.DISK: f"blocks read from disk{stay}",
    }[rung.placement]
    turns = ", guidance in turns" if rung.turns else ""
    tiling = f", decoding in tiles of {rung.tiling}" if rung.tiling else ""
    host = f", {' and '.join(rung.host)} on the processor" if rung.host else ""
    held = f"{GGUF} {rung.kind}" if rung.kind else rung.precision
    return f"{held}{encoder}, {where}{turns}{tiling}{host}"


def _named(device: Device) -> str:
    return {Device.CPU: "a processor", Device.CUDA: "a card", Device.MPS: "an Apple GPU"}[device]
