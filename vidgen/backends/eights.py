"""int8 and fp8 by torchao, one scale a row: in weights only, or where the card multiplies float8, in activations too.

Its import takes a second and a half, so it comes when it is needed.
"""

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from vidgen.backends import quiet
from vidgen.backends.apart import PIECE, Packed
from vidgen.backends.lean import DYNAMO, HIDDEN

LIBRARY = "torchao"

USUAL = {"version": 2, "set_inductor_config": False}

CONFIGS = {
    "int8": "Int8WeightOnlyConfig",
    "fp8": "Float8WeightOnlyConfig",
    "fp8-dynamic": "Float8DynamicActivationFloat8WeightConfig",
}
"""What torchao calls each scheme."""

ROWS = 16
"""torchao leaves a weight alone that cards do not multiply: one whose rows are no multiple of so many, for one."""

SAFETENSORS = "torchao.prototype.safetensors.safetensors_support"


def bring() -> None:
    """Import torchao."""
    importlib.import_module(DYNAMO)  # it would be asked for in the midst of torchao's own imports
    with quiet.quickly([name for name in HIDDEN if name != LIBRARY]):
        importlib.import_module("torchao.quantization")
        importlib.import_module(SAFETENSORS)


def config(scheme: str) -> Any:
    """torchao's configuration of `scheme`."""
    torchao = importlib.import_module("torchao.quantization")
    rows = {"granularity": torchao.PerRow()} if scheme == "fp8-dynamic" else {}
    return getattr(torchao, CONFIGS[scheme])(**USUAL, **rows)


def pack(name: str, weight: torch.Tensor, scheme: str, device: str) -> Packed:
    """The weight of a linear layer in less, as the plain tensors that a file has of it, and what it must say of them.

    Some rows at a time, as each has its own scale: at work, the library takes many times their room. What the library
    leaves alone stays as it is.
    """
    rows = max(ROWS, PIECE // weight.shape[1] // ROWS * ROWS)
    pieces = [_shrunk(piece, scheme) for piece in torch.split(weight, rows)]
    if not all(map(is_traceable_wrapper_subclass, pieces)):
        return {name: weight}, {}
    flat, facts = importlib.import_module(SAFETENSORS).flatten_tensor_state_dict({name: _joined(pieces)})
    return flat, {name: facts[name]}


def fill(part: torch.nn.Module, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str], within: str) -> None:
    """Put tensors, with `within` in front of each name, into a skeleton. Raises KeyError or ValueError."""
    together, rest = importlib.import_module(SAFETENSORS).unflatten_tensor_state_dict, dict(tensors)
    for name, fact in facts.items():
        if inner := name.startswith(within) and json.loads(fact).get("_tensor_data_names"):
            layer, _, weight = name.rpartition(".")
            own = {key: rest.pop(key) for key in (f"{layer}._{weight}_{each}" for each in inner)}
            rest |= together(own, {name: fact, "tensor_names": json.dumps([name])})[0]
    named = {name.removeprefix(within): tensor for name, tensor in rest.items()}
    part.load_state_dict(named, strict=False, assign=True)


def _shrunk(rows: torch.Tensor, scheme: str) -> Any:
    """What torchao makes of rows of a weight."""
    with torch.device("meta"):
        layer = torch.nn.Linear(rows.shape[1], rows.shape[0], bias=False)
    layer.weight = torch.nn.Parameter(rows, requires_grad=False)
    with quiet.hushed():
        importlib.import_module("torchao.quantization").quantize_(layer, config(scheme))
    return layer.weight


def _joined(pieces: Sequence[Any]) -> Any:
    """The weight whose rows are those of the pieces."""
    names, context = pieces[0].__tensor_flatten__()
    inner = {name: torch.cat([getattr(piece, name) for piece in pieces]) for name in names}
    shape = inner[names[0]].shape
    return type(pieces[0]).__tensor_unflatten__(inner, context, shape, inner[names[0]].stride())
