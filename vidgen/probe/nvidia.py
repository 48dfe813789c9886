"""NVIDIA cards, by NVML: the one that torch would use, what is free on it, and what else is worth saying."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidgen.core.machine import Gpu

GIB = 2**30
ORDER = "CUDA_DEVICE_ORDER"
VISIBLE = "CUDA_VISIBLE_DEVICES"
ABSENT = frozenset({9, 12})
"""What NVML says where there is no driver and no library: no card, and nothing to tell."""

FREER = 1.0
"""GiB more on another card that are worth telling."""

MOST_NAMED = 3
MOST_SLICES = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A card as it was found: the GPU, what is free on it, and sentences worth telling. No `gpu`: there is none."""

    gpu: Gpu | None = None
    free_gib: float = 0.0
    notes: tuple[str, ...] = ()


def card() -> Seen:
    """The card that torch would use: the first that CUDA_VISIBLE_DEVICES leaves, or the first slice of a split one.

    From here on cards are numbered as the driver does; else torch would put the quickest first.
    """
    try:
        import pynvml
    except ImportError:
        return Seen()
    os.environ.setdefault(ORDER, "PCI_BUS_ID")
    try:
        pynvml.nvmlInit()
        handle = _handle(pynvml, os.environ.get(VISIBLE, "0").split(",")[0].strip())
        return _seen(pynvml, handle) if handle is not None else Seen()
    except pynvml.NVMLError as error:
        if getattr(error, "value", None) in ABSENT:
            return Seen()
        return Seen(notes=(f"the graphics driver does not answer ({error}): the processor is used; try nvidia-smi",))


def _seen(pynvml: Any, handle: Any) -> Seen:
    """What there is to know of a card, or of the first slice of one that is split."""
    whole, handle = handle, _slice(pynvml, handle)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    capability = _asked(pynvml.nvmlDeviceGetCudaComputeCapability, None, handle)
    capability = capability or pynvml.nvmlDeviceGetCudaComputeCapability(whole)
    free = memory.free / GIB
    gpu = Gpu(
        name=_name(pynvml, handle),
        vram_gib=memory.total / GIB,
        compute_capability=(int(capability[0]), int(capability[1])),
    )
    return Seen(gpu=gpu, free_gib=free, notes=(*_others(pynvml, handle), *_freer(pynvml, whole, free)))


def _handle(pynvml: Any, visible: str) -> Any:
    """The card that CUDA_VISIBLE_DEVICES names first, by number or UUID; None when it hides them all."""
    if visible.startswith("MIG-"):
        return pynvml.nvmlDeviceGetHandleByUUID(visible)
    if visible.startswith("GPU-"):
        known = (pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(_count(pynvml)))
        return next((one for one in known if _said(pynvml.nvmlDeviceGetUUID(one)).startswith(visible)), None)
    return pynvml.nvmlDeviceGetHandleByIndex(int(visible)) if visible.isdecimal() else None


def _slice(pynvml: Any, handle: Any) -> Any:
    """The first slice of a card that is split, the card itself where it is not."""
    if not _asked(lambda: pynvml.nvmlDeviceGetMigMode(handle)[0], 0):
        return handle
    slices = (_asked(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, None, handle, number) for number in range(MOST_SLICES))
    return next((one for one in slices if one is not None), handle)


def _others(pynvml: Any, handle: Any) -> Iterator[str]:
    """A sentence that names the other programs on the card."""
    running = _asked(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle), [])
    others = [one for one in running if one.pid != os.getpid()]
    if others:
        held = sum(one.usedGpuMemory or 0 for one in others) / GIB
        named = ", ".join(f"{_program(one.pid)} (pid {one.pid})" for one in others[:MOST_NAMED])
        more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
        yield f"other programs hold {held:.1f} GiB of the card: {named}{more}"


def _freer(pynvml: Any, own: Any, free: float) -> Iterator[str]:
    """A sentence that says where another card has more room."""
    best, most = -1, free + FREER
    for index in range(_count(pynvml)):
        other = _asked(pynvml.nvmlDeviceGetHandleByIndex, None, index)
        memory = _asked(pynvml.nvmlDeviceGetMemoryInfo, None, other)
        if memory and other != own and memory.free / GIB > most:
            best, most = index, memory.free / GIB
    if best >= 0:
        yield f"card {best} has {most:.1f} GiB free, this one {free:.1f}; to use it: {VISIBLE}={best} vidgen ..."


def _count(pynvml: Any) -> int:
    return int(_asked(lambda: pynvml.nvmlDeviceGetCount(), 0))


def _name(pynvml: Any, handle: Any) -> str:
    return _said(pynvml.nvmlDeviceGetName(handle))


def _said(text: Any) -> str:
    """A text of NVML's; older ones give bytes."""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a program"


def _asked(call: Callable[..., Any], instead: Any, *about: Any) -> Any:
    """What NVML answers, or something else where this driver has no answer to that."""
    try:
        return call(*about)
    except Exception:  # an old library lacks the call, an old driver the answer, and neither is worth a clip
        return instead
