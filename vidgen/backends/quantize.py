"""A precision applied to a component: the linear layers of its repeated blocks, once, and kept on disk.

Embedders, modulation, norms and output layers stay as they were: they are small, and quality hangs on them. The weights
are read block after block, so that what is to be small never takes the room of what it was.
"""

import ctypes
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import torch
from safetensors import SafetensorError, safe_open

from vidgen.backends import eights, fours, store, streaming, waiting
from vidgen.backends.apart import Packed, tie
from vidgen.backends.port import exhausted
from vidgen.backends.waiting import Place
from vidgen.backends.written import Writing
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Precision

MULTIPLIES_FP8 = (8, 9)
"""The compute capability from which on a card multiplies float8 itself."""

SPARE = 10 * 2**30
"""Bytes that keeping a component must leave free on the disk, where nothing depends on its being kept."""

WITHIN = "part."
"""In front of every name in a kept file: torchao cannot read back a tensor whose name has no dot."""

Make: TypeAlias = Callable[[], torch.nn.Module]

Kept: TypeAlias = Mapping[int, Place]
"""Where in its file each tensor of a component is, by its address; of one that is in no file, nothing."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """A component before it is quantized: its folder, how it is made without weights, and where those are then."""

    folder: Path
    bare: Make
    places: Callable[[torch.nn.Module], Mapping[str, Place]]


def quantized(whole: Whole, how: Scheme, device: str, *, needed: bool = False) -> tuple[torch.nn.Module, Kept]:
    """A component as `how` says: as it was kept, or quantized by `device` and kept. None of what is kept is read yet.

    What was kept is used only for the same files, scheme and library. Where the disk has no room for it, it is made in
    memory, each time; that is refused (exit 6) where it is `needed` on the disk.
    """
    how.hands.bring()
    kept = store.place(whole.folder, how.precision, how.mark)
    found = _taken(kept, whole, how)
    if found is None and _keep(kept, whole, how, device, needed=needed):
        _give_back()
        found = _taken(kept, whole, how)
        if found is None and needed:
            raise store.unkept("what was kept there cannot be read")
    if found is None:
        found = _in_memory(whole, how, device), {}
        _give_back()
    return found


def in_blocks(module: torch.nn.Module, name: str) -> bool:
    """Whether a module is a linear layer of a repeated block, and not one that modulates a norm."""
    parts = name.split(".")
    return (
        isinstance(module, torch.nn.Linear)
        and any(part.isdigit() for part in parts)
        and not any(part.startswith("norm") for part in parts)
    )


def _taken(kept: Path, whole: Whole, how: Scheme) -> tuple[torch.nn.Module, Kept] | None:
    """The component as it was kept; None when it was not, or not whole."""
    try:
        with safe_open(kept, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            facts = file.metadata() or {}
        part = _filled(whole, how, tensors, facts)
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    return part, {tensor.data_ptr(): Place(file=kept, key=name, dtype=tensor.dtype) for name, tensor in tensors.items()}


def _filled(
    whole: Whole, how: Scheme, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]
) -> torch.nn.Module:
    """The component with these tensors; ValueError where that is not all of it."""
    part = whole.bare()
    how.hands.fill(part, tensors, facts, WITHIN)
    tie(part)
    if any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers())):
        raise ValueError("it is not whole")
    return part


def _keep(kept: Path, whole: Whole, how: Scheme, device: str, *, needed: bool) -> bool:
    """Write the component whole or not at all; whether it is there. Unless it is `needed`, a disk that is full or
    read-only costs time the next time, no more."""
    part = whole.bare()
    places = whole.places(part)
    fresh = store.unfinished(kept)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not needed and shutil.disk_usage(kept.parent).free < _size(part, places, how) + SPARE:
            return False
        try:
            with Writing(fresh, len(places)) as file:
                file.add({}, store.made(whole.folder, how.precision, how.mark))
                for packed in _packed(part, places, how, device):
                    file.add(*packed)
            fresh.replace(kept)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        if exhausted(error):
            raise
        if needed:
            raise store.unkept(str(error.strerror)) from error
        return False
    return True


def _give_back() -> None:
    """Let the system have what packing has freed, where the C library can: it keeps hundreds of MiB otherwise."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _in_memory(whole: Whole, how: Scheme, device: str) -> torch.nn.Module:
    """The component in no file but those that it was made of, and nothing of it there."""
    tensors: dict[str, torch.Tensor] = {}
    facts: dict[str, str] = {}
    part = whole.bare()
    for packed, said in _packed(part, whole.places(part), how, device):
        tensors |= {name: tensor.clone() for name, tensor in packed.items()}
        facts |= said
    return _filled(whole, how, tensors, facts)


def _packed(part: torch.nn.Module, places: Mapping[str, Place], how: Scheme, device: str) -> Iterator[Packed]:
    """Every weight as it is kept, each once: what two modules share is stored under its first name.

    Those of a block are read from one look at their file, every other one alone; what was looked at is forgotten.
    """
    home = {f"{name}.{key}": name for name, block in streaming.blocks(part).items() for key in block.state_dict()}
    there = [name for name in part.state_dict() if name in places]
    first = {places[name]: name for name in reversed(there)}
    names = [name for name in there if first[places[name]] == name]
    chosen = _chosen(part)
    for _, group in groupby(names, key=lambda name: home.get(name, name)):
        ours = list(group)
        for name, weight in zip(ours, waiting.each(places[name] for name in ours), strict=True):
            own = WITHIN + name
            yield how.hands.pack(own, weight, how.name, device) if name in chosen else ({own: weight}, {})


def _chosen(part: torch.nn.Module) -> set[str]:
    """The weights that are quantized."""
    return {f"{name}.weight" for name, layer in part.named_modules() if in_blocks(layer, name)}


def _size(part: torch.nn.Module, places: Mapping[str, Place], how: Scheme) -> float:
    """Bytes of the component as it will be kept, but for what the formats add to a weight."""
    chosen = _chosen(part)
    held = {name: tensor.numel() for name, tensor in part.state_dict().items() if name in places}
    return sum(
        float(count * (how.precision.bytes if name in chosen else places[name].dtype.itemsize))
        for name, count in held.items()
    )
