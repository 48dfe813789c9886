"""How much memory this process has held at most, and holds."""

import re
import sys
from pathlib import Path

from vidgen.core.machine import Device

GIB = 2**30
STATUS = Path("/proc/self/status")


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
    return _status("VmHWM") or _lifetime_peak_gib()


def standing_gib(device: Device) -> float:
    """What is held now, in the same measure."""
    torch = sys.modules.get("torch")
    if device is Device.CUDA and torch is not None:
        return float(torch.cuda.memory_allocated()) / GIB
    return _status("VmRSS")


def _status(name: str) -> float:
    try:
        status = STATUS.read_text(encoding="ascii", errors="replace")
    except OSError:
        status = ""
    found = re.search(rf"^{name}:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 2**20 if found else 0.0


def _lifetime_peak_gib() -> float:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
