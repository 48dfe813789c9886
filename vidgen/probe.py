"""What machine this is, and what its memory holds: NVML first, control groups respected, torch never imported."""

import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from vidgen.core.errors import UsageRefused
from vidgen.core.machine import Device, Machine

GIB = 2**30
MOST_GIB = 100_000
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


@cache
def machine() -> Machine:
    """This machine. Never raises and prints nothing: what cannot be known is left out."""
    card = cuda_card() if torch_cuda() else None
    if card is not None:
        return card
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    return Machine(
        device=Device.MPS if apple else Device.CPU,
        name=processor(),
        ram_gib=ram_gib(),
        cores=cores(),
    )


def imagined(*, vram_gib: float | None = None, ram_gib: float | None = None) -> Machine:
    """This machine with another memory: `vram_gib` gives it a CUDA card, 0 takes its card away.

    Refuses (exit 2) what no machine has.
    """
    for name, gib in (("--vram", vram_gib), ("--ram", ram_gib)):
        if gib is not None and not 0 <= gib <= MOST_GIB:
            raise UsageRefused(f"{name} {gib:g} is no size of a memory in GiB", f"write {name} 24")
    found = machine()
    if ram_gib is not None:
        found = replace(found, ram_gib=ram_gib)
    if vram_gib is None:
        return found
    if not vram_gib:
        return replace(found, device=Device.CPU, name=processor(), vram_gib=0.0)
    return replace(found, device=Device.CUDA, name=f"a card of {vram_gib:g} GiB", vram_gib=vram_gib)


def cuda_card() -> Machine | None:
    """The NVIDIA card that torch would use, and the memory free on it; None without one, or without a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = _handle(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip())
        if handle is None:
            return None
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        name = pynvml.nvmlDeviceGetName(handle)
    except pynvml.NVMLError:
        return None
    return Machine(
        device=Device.CUDA,
        name=name if isinstance(name, str) else name.decode(errors="replace"),
        vram_gib=memory.free / GIB,
        ram_gib=ram_gib(),
        cores=cores(),
        compute_capability=(major, minor),
    )


def _handle(pynvml: ModuleType, visible: str) -> object:
    """The card that CUDA_VISIBLE_DEVICES names first, by number or UUID; None when it hides them all."""
    if visible.startswith(("GPU-", "MIG-")):
        return pynvml.nvmlDeviceGetHandleByUUID(visible)
    return pynvml.nvmlDeviceGetHandleByIndex(int(visible)) if visible.isdecimal() else None


def torch_cuda() -> str:
    """The CUDA version that the installed torch was built for, read from its files; empty for a build without."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"^cuda\b[^=]*=\s*'([^']+)'", text, re.MULTILINE)
    return found[1] if found else ""


def ram_gib() -> float:
    """The memory that this process may use: the machine's, or its control group's limit if that is smaller."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else [8 * GIB]
    for limit in _limits():
        try:
            sizes.append(int(limit.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return min(sizes) / GIB


def _limits() -> Iterator[Path]:
    """The files that may limit this process's memory: its control group's, and those of the groups around it."""
    try:
        found = re.search(r"^0::/(.*)$", OWN_GROUP.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        found = None
    own = Path(found[1] if found else "")
    yield from (GROUPS / group / "memory.max" for group in (own, *own.parents))
    yield GROUPS / "memory" / "memory.limit_in_bytes"


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def forget_peak() -> None:
    """Begin a new measurement of peak memory, where the system can."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_gib(device: Device) -> float:
    """Peak memory since `forget_peak`: the card's allocations on CUDA, resident memory elsewhere."""
    torch = sys.modules.get("torch")
    if device is Device.CUDA and torch is not None:
        return float(torch.cuda.max_memory_allocated()) / GIB
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        status = ""
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 2**20 if found else _lifetime_peak_gib()


def _lifetime_peak_gib() -> float:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
