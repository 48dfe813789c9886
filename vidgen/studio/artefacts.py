"""Tensors on disk, between two phases: each file whole, or not there at all. Knows their headers, not torch."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidgen.core.errors import OutputRefused

if TYPE_CHECKING:
    from torch import Tensor

CONDITIONING = "conditioning"
CHECKPOINT = "checkpoint"
LATENTS = "latents"


def load(folder: Path, phase: str) -> "Mapping[str, Tensor]":
    """The artefact of `phase`, as it was saved."""
    from safetensors.torch import load_file

    return load_file(_file(folder, phase))


def save(folder: Path, phase: str, tensors: "Mapping[str, Tensor]") -> None:
    """Write the artefact of `phase`: whole, or not at all (OutputRefused, exit 6)."""
    from safetensors.torch import save as to_bytes

    write(_file(folder, phase), to_bytes({name: tensor.contiguous() for name, tensor in tensors.items()}))


def forget(folder: Path, phase: str) -> None:
    """Remove the artefact of `phase`."""
    _file(folder, phase).unlink(missing_ok=True)


def has(folder: Path, phase: str) -> bool:
    """Whether the artefact of `phase` is there, and not cut short."""
    return bool(_header(_file(folder, phase)))


def standing(folder: Path, steps: int) -> str:
    """How far the clip in `folder` has come, in words that follow "from"; empty when there is nothing to go on from."""
    if has(folder, LATENTS):
        return "finished latents"
    places = _header(_file(folder, CHECKPOINT))
    if "step" in places:
        step, total = (_number(folder, places.get(name)) for name in ("step", "steps"))
        return f"step {step} of {total or steps}"
    return ""


def _number(folder: Path, place: tuple[int, int] | None) -> int:
    """The whole number that stands at `place` in a checkpoint; 0 for none."""
    if place is None:
        return 0
    with _file(folder, CHECKPOINT).open("rb") as file:
        file.seek(place[0])
        return int.from_bytes(file.read(place[1] - place[0]), "little")


def write(path: Path, content: bytes) -> None:
    """Write a file of the folder: whole, on the disk, or not at all (OutputRefused, exit 6)."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with fresh.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise OutputRefused(f"cannot write in {path.parent}: {error.strerror}", "make room there") from error


def _file(folder: Path, phase: str) -> Path:
    return folder / f"{phase}.safetensors"


def _header(path: Path) -> dict[str, tuple[int, int]]:
    """Where in the file each tensor begins and ends; nothing when the file is not there or not whole."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begin = 8 + int.from_bytes(file.read(8), "little")
            entries: dict[str, Any] = json.loads(file.read(min(begin, size) - 8))
        entries.pop("__metadata__", None)
        places = {name: entry["data_offsets"] for name, entry in entries.items()}
        whole = size == begin + max(end for _, end in places.values())
        return {name: (begin + start, begin + end) for name, (start, end) in places.items()} if whole else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
