"""A precision applied to a component: the linear layers of its repeated blocks, once, and kept on disk.

Embedders, modulation, norms and output layers stay as they were: they are small, and quality hangs on them. torchao
does the arithmetic, weights only, one scale a row; its import takes a second and a half, so it comes when it is needed.
"""

import importlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from vidgen.backends import quiet, store
from vidgen.backends.lean import DYNAMO, HIDDEN
from vidgen.core.plan import Precision

SCHEMES = {
    Precision.INT8: ("Int8WeightOnlyConfig", {"version": 2, "set_inductor_config": False}),
    Precision.FP8: ("Float8WeightOnlyConfig", {"version": 2, "set_inductor_config": False}),
}
"""What torchao calls them."""

SAFETENSORS = "torchao.prototype.safetensors.safetensors_support"

SPARE = 10 * 2**30
"""Bytes that keeping a component must leave free on the disk."""

WITHIN = "part."
"""In front of every name in a kept file: torchao cannot read back a tensor whose name has no dot."""

Make: TypeAlias = Callable[[], torch.nn.Module]


def quantized(folder: Path, precision: Precision, read: Make, skeleton: Make) -> torch.nn.Module:
    """The component in `folder` at `precision`: as it was kept, or read, quantized and kept.

    `read` loads it whole at its computing precision, `skeleton` makes it without weights. What was kept is used only
    for the same files, scheme and library; where the disk has no room for it, it is made again each time.
    """
    _bring_torchao()
    kept = store.place(folder, precision)
    part = _taken(kept, skeleton)
    if part is None:
        part = read()
        name, options = SCHEMES[precision]
        torchao = importlib.import_module("torchao.quantization")
        with quiet.hushed():
            torchao.quantize_(part, getattr(torchao, name)(**options), filter_fn=in_blocks)
        _keep(part, kept, store.made(folder, precision))
    return part


def in_blocks(module: torch.nn.Module, name: str) -> bool:
    """Whether a module is a linear layer of a repeated block, and not one that modulates a norm."""
    parts = name.split(".")
    return (
        isinstance(module, torch.nn.Linear)
        and any(part.isdigit() for part in parts)
        and not any(part.startswith("norm") for part in parts)
    )


def _bring_torchao() -> None:
    importlib.import_module(DYNAMO)  # it would be asked for in the midst of torchao's own imports
    with quiet.quickly([name for name in HIDDEN if name != "torchao"]):
        importlib.import_module("torchao.quantization")
        importlib.import_module(SAFETENSORS)


def _taken(kept: Path, skeleton: Make) -> torch.nn.Module | None:
    """The component as it was kept; None when it was not, or not whole."""
    support = importlib.import_module(SAFETENSORS)
    try:
        with safe_open(kept, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            state, rest = support.unflatten_tensor_state_dict(tensors, file.metadata())
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    part = skeleton()
    named = {name.removeprefix(WITHIN): tensor for name, tensor in {**state, **rest}.items()}
    part.load_state_dict(named, strict=False, assign=True)
    tie: Callable[[], None] | None = getattr(part, "tie_weights", None)
    if tie:
        tie()
    whole = not any(tensor.is_meta for tensor in (*part.parameters(), *part.buffers()))
    return part if whole else None


def _keep(part: torch.nn.Module, kept: Path, made: "dict[str, str]") -> None:
    """Write the component whole or not at all; a disk that is full or read-only costs time the next time, no more."""
    support = importlib.import_module(SAFETENSORS)
    tensors, facts = support.flatten_tensor_state_dict(_untied(part.state_dict()))
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
