"""The host's memory and disk: what this process may use of them, and what of that is free."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

GIB = 2**30
GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")


def ram_gib() -> float:
    """The memory that this process may use: the machine's, or its control group's limit if that is smaller."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else [8 * GIB]
    sizes += [limit for folder, name in _limits() if (limit := _number(folder / name)) is not None]
    return max(0.0, min(sizes) / GIB)


def available_gib() -> float:
    """What of that is free now, or can be freed at once; 0 where the system does not say."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _text(MEMINFO), re.MULTILINE)
    free = [int(found[1]) * 1024] if found else []
    for folder, name in _limits():
        limit, used = _number(folder / name), _number(folder / "memory.current")
        if limit is not None and used is not None:
            cached = re.search(r"^inactive_file (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
            free.append(limit - used + (int(cached[1]) if cached else 0))
    return max(0.0, min(free) / GIB) if free else 0.0


def disk_gib() -> float:
    """What is free on the disk that weights are kept on; 0 where that cannot be known."""
    from huggingface_hub.constants import HF_HUB_CACHE

    place = Path(HF_HUB_CACHE)
    try:
        return shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free / GIB
    except (OSError, StopIteration):
        return 0.0


def _limits() -> Iterator[tuple[Path, str]]:
    """Where this process's memory may be limited: its control group, and the groups around it."""
    found = re.search(r"^0::/(.*)$", _text(OWN_GROUP), re.MULTILINE)
    own = Path(found[1] if found else "")
    yield from ((GROUPS / group, "memory.max") for group in (own, *own.parents))
    yield GROUPS / "memory", "memory.limit_in_bytes"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None
