"""Which ways to fit contradict themselves or are known to break: the planner leaves them out, the hands refuse them."""

from collections.abc import Callable
from dataclasses import dataclass

from vidgen.core.machine import Device
from vidgen.core.plan import Placement, Precision, Rung


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """What does not go together, whether a rung on a device has it, and why not."""

    what: str
    found: Callable[[Rung, Device], bool]
    why: str


def _formats(rung: Rung) -> set[Precision]:
    return {rung.precision, rung.encoder or rung.precision}


CONFLICTS = (
    Conflict(
        what="blocks of a GGUF file from disk",
        found=lambda rung, _: rung.placement is Placement.DISK and bool(rung.kind),
        why="it names and cuts weights otherwise than the model does, and is read whole once",
    ),
    Conflict(
        what="resident blocks where none are streamed",
        found=lambda rung, _: rung.resident > 0 and rung.placement not in (Placement.STREAM, Placement.DISK),
        why="every block is on the device already",
    ),
    Conflict(
        what="fp8 on Apple's GPU",
        found=lambda rung, device: device is Device.MPS and Precision.FP8 in _formats(rung),
        why="it has no numbers of that kind",
    ),
    Conflict(
        what="nf4 on Apple's GPU",
        found=lambda rung, device: device is Device.MPS and Precision.NF4 in _formats(rung),
        why="bitsandbytes fetches code for it from the hub, and vidgen fetches nothing unasked",
    ),
)
"""Everything that was found; docs/decisions/0014 says how."""


def conflict(rung: Rung, device: Device) -> Conflict | None:
    """The first conflict of a rung on a device; None where all of it goes together."""
    return next((each for each in CONFLICTS if each.found(rung, device)), None)
