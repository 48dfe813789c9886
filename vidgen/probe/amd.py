"""AMD cards, by what the kernel says of them: torch for ROCm calls them cuda."""

import os
from pathlib import Path

from vidgen.core.machine import Gpu
from vidgen.probe.nvidia import GIB, Seen

CARDS = Path("/sys/class/drm")
KFD = Path("/sys/class/kfd")
VENDOR = "0x1002"
VISIBLE = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
"""What hides cards from torch, the first that is set counting."""


def card() -> Seen:
    """The card that torch would use: the first that is visible, and what is free on it."""
    visible = next((os.environ[name] for name in VISIBLE if name in os.environ), "0").split(",")[0].strip()
    found = [place for place in sorted(CARDS.glob("card*/device")) if _text(place / "vendor") == VENDOR]
    found = [place for place in found if _number(place / "mem_info_vram_total")]
    if not KFD.exists() or not visible.isdecimal() or int(visible) >= len(found):
        return Seen()
    place = found[int(visible)]
    whole = _number(place / "mem_info_vram_total")
    gpu = Gpu(name=_text(place / "product_name") or "an AMD GPU", vram_gib=whole / GIB)
    return Seen(gpu=gpu, free_gib=(whole - _number(place / "mem_info_vram_used")) / GIB)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdecimal() else 0
