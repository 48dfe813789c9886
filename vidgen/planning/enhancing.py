"""Where a chat model that rewrites prompts has room: it is alone in memory, before any part of the video model."""

from dataclasses import replace

from vidgen.core.enhancer import Enhancer
from vidgen.core.errors import DoesNotFit
from vidgen.core.machine import Device
from vidgen.core.plan import Plan
from vidgen.planning.memory import GIB
from vidgen.planning.planner import HOST_GIB, room_gib


def gib(enhancer: Enhancer, plan: Plan) -> float:
    """What its weights weigh in the format that the plan computes in; nothing for the model's own parts."""
    return enhancer.parameters * plan.rung.precision.computed.bytes / GIB


def placed(enhancer: Enhancer, plan: Plan) -> Enhancer:
    """The enhancer on the plan's device, else on the processor; DoesNotFit (exit 5) when it has room on neither."""
    wanted, machine = gib(enhancer, plan), plan.machine
    if wanted <= room_gib(machine):
        return replace(enhancer, device=machine.device)
    if wanted <= machine.host_gib - HOST_GIB:
        return replace(enhancer, device=Device.CPU)
    raise DoesNotFit(
        f"the enhancer {enhancer.name} does not fit {machine.name}: it needs {wanted:.1f} GiB",
        "name a smaller chat model with --enhancer, or drop --enhance",
    )
