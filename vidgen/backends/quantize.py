"""A precision applied to a component: the linear layers of its repeated blocks, once, and kept on disk.

Embedders, modulation, norms and output layers stay as they were: they are small, and quality hangs on them.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vidgen.backends import eights, fours, store
from vidgen.backends.apart import tie
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Precision

MULTIPLIES_FP8 = (8, 9)
"""The compute capability from which on a card multiplies float8 itself."""

SPARE = 10 * 2**30
"""Bytes that keeping a component must leave free on the disk."""

WITHIN = "part."
"""In front of every name in a kept file: torchao cannot read back a tensor whose name has no dot."""

Make: TypeAlias = Callable[[], torch.nn.Module]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """How weights are held in a precision on a machine: which hands do it, and what they call it.

    `mark`: what tells it from the usual way to hold them in that precision; a copy of one is no copy of the other.
    """

    hands: ModuleType
    precision: Precision
    name: str
    mark: str = ""


def scheme(precision: Precision, machine: Machine) -> Scheme:
    """How `machine` holds weights in a quantized `precision`: with activations in float8 too where it multiplies it."""
    if precision is Precision.NF4:
        return Scheme(hands=fours, precision=precision, name="nf4")
    if precision is Precision.FP8 and machine.device is Device.CUDA and machine.compute_capability >= MULTIPLIES_FP8:
        return Scheme(hands=eights, precision=precision, name="fp8-dynamic", mark="dynamic")
    return Scheme(hands=eights, precision=precision, name=precision.value)


def quantized(folder: Path, how: Scheme, device: str, read: Make, skeleton: Make) -> torch.nn.Module:
    """The component in `folder` as `how` says: as it was kept, or read, quantized by `device` and kept.

    `read` loads it whole at its computing precision, `skeleton` makes it without weights. What was kept is used only
    for the same files, scheme and library; where the disk has no room for it, it is made again each time.
    """
    how.hands.bring()
    kept = store.place(folder, how.precision, how.mark)
    part = _taken(kept, how, skeleton)
    if part is None:
        part = read()
        layers = {name: layer for name, layer in part.named_modules() if in_blocks(layer, name)}
        how.hands.shrink(part, layers, how.name, device)
        _keep(part, kept, how, store.made(folder, how.precision, how.mark))
    return part


def in_blocks(module: torch.nn.Module, name: str) -> bool:
    """Whether a module is a linear layer of a repeated block, and not one that modulates a norm."""
    parts = name.split(".")
    return (
        isinstance(module, torch.nn.Linear)
        and any(part.isdigit() for part in parts)
        and not any(part.startswith("norm") for part in parts)
    )


def _taken(kept: Path, how: Scheme, skeleton: Make) -> torch.nn.Module | None:
    """The component as it was kept; None when it was not, or not whole."""
    try:
        with safe_open(kept, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            facts = file.metadata()
        part = skeleton()
        how.hands.fill(part, tensors, facts, WITHIN)
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    tie(part)
    whole = not any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers()))
    return part if whole else None


def _keep(part: torch.nn.Module, kept: Path, how: Scheme, made: "dict[str, str]") -> None:
    """Write the component whole or not at all; a disk that is full or read-only costs time the next time, no more.

    Before its first step: some libraries change what they hold while it is used.
    """
    tensors, facts = how.hands.flat(_untied(part.state_dict()))
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    fresh = store.unfinished(kept)
    with suppress(OSError, SafetensorError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(kept.parent).free < size + SPARE:
            return
        try:
            save_file(tensors, fresh, metadata={**facts, **made})
            fresh.replace(kept)
        finally:
            fresh.unlink(missing_ok=True)


def _untied(state: "dict[str, Any]") -> dict[str, Any]:
    """Each tensor once: an embedding that two modules share is stored under its first name."""
    seen: set[int] = set()
    found = {}
    for name, tensor in state.items():
        place = id(tensor) if type(tensor) is not torch.Tensor else tensor.data_ptr()
        if place not in seen:
            seen.add(place)
            found[WITHIN + name] = tensor
    return found
