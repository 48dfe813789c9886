"""What machine this is, and what its memory holds: NVML first, control groups respected, torch never imported."""

import platform
import sys
from dataclasses import replace
from functools import cache

from vidgen.core.machine import Device, Gpu, Machine
from vidgen.probe import amd, host, memory, nvidia
from vidgen.probe.builds import torch_cuda, torch_hip
from vidgen.probe.peaks import forget_peak, peak_gib, standing_gib

__all__ = [
    "cuda_card",
    "forget_peak",
    "imagined",
    "machine",
    "memory",
    "peak_gib",
    "standing_gib",
    "torch_cuda",
    "torch_hip",
]


@cache
def machine() -> Machine:
    """This machine. Never raises and prints nothing: what cannot be known is left out."""
    here = _host()
    return _with(here, nvidia.card() if torch_cuda() else amd.card() if torch_hip() else nvidia.Seen())


def cuda_card() -> Machine | None:
    """The NVIDIA card that a torch built for CUDA would use; None without one, or without a driver."""
    found = nvidia.card()
    return _with(_host(), found) if found.gpu else None


def imagined(*, vram_gib: float | None = None, ram_gib: float | None = None, gpu: Gpu | None = None) -> Machine:
    """This machine with another memory or card: `vram_gib` gives it a CUDA card, 0 takes its card away."""
    found = machine()
    if ram_gib is not None:
        found = replace(found, ram_gib=ram_gib, available_gib=0.0)
    if vram_gib is None and gpu is None:
        return found
    if vram_gib == 0:
        return replace(_host(), ram_gib=found.ram_gib, available_gib=found.available_gib, device=Device.CPU)
    size = gpu.vram_gib if vram_gib is None and gpu else vram_gib or 0.0
    return replace(
        found,
        device=Device.CUDA,
        name=gpu.name if gpu else f"a card of {size:g} GiB",
        vram_gib=size,
        total_gib=size,
        compute_capability=gpu.compute_capability if gpu else (0, 0),
        rates=gpu.rates if gpu else None,
        notes=(),
    )


def _with(here: Machine, found: nvidia.Seen) -> Machine:
    """The machine `here` with what was found: a card, or only something to tell."""
    if found.gpu is None:
        return replace(here, notes=found.notes)
    return replace(
        here,
        device=Device.CUDA,
        name=found.gpu.name,
        vram_gib=found.free_gib,
        total_gib=found.gpu.vram_gib,
        compute_capability=found.gpu.compute_capability,
        notes=found.notes,
    )


def _host() -> Machine:
    """The machine without a card of its own."""
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return Machine(
        device=Device.MPS if apple else Device.CPU,
        name=host.name(),
        ram_gib=memory.ram_gib(),
        available_gib=memory.available_gib(),
        cores=host.cores(),
        halves=host.halves(),
        disk_gib=memory.disk_gib(),
    )
