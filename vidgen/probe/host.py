"""The processor: what it is called, how many cores of it are ours, and what it multiplies itself."""

import os
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

HALVES = frozenset({"avx512bw", "avx_ne_convert", "bf16"})
"""Any of these lets PyTorch multiply bf16 on a processor without a detour: on x86 the first two, on ARM the last."""


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name() -> str:
    """The processor's name, as the system gives it."""
    return _said("model name") or platform.processor() or platform.machine()


def halves() -> bool:
    """Whether it multiplies bf16 itself; taken for granted where the system does not say what it can."""
    able = _said("flags") or _said("Features")
    return not able or bool(HALVES & set(able.split()))


def _said(what: str) -> str:
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{what}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
