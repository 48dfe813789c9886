"""int8 and fp8 by torchao, one scale a row: in weights only, or where the card multiplies float8, in activations too.

Its import takes a second and a half, so it comes when it is needed.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from vidgen.backends import quiet
from vidgen.backends.lean import DYNAMO, HIDDEN

LIBRARY = "torchao"

USUAL = {"version": 2, "set_inductor_config": False}

CONFIGS = {
    "int8": "Int8WeightOnlyConfig",
    "fp8": "Float8WeightOnlyConfig",
    "fp8-dynamic": "Float8DynamicActivationFloat8WeightConfig",
}
"""What torchao calls each scheme."""

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


def shrink(part: torch.nn.Module, layers: Mapping[str, torch.nn.Linear], scheme: str, device: str) -> None:
    """Hold the weights of `layers` in less."""
    torchao, chosen = importlib.import_module("torchao.quantization"), set(layers.values())
    with quiet.hushed():
        torchao.quantize_(part, config(scheme), filter_fn=lambda module, _: module in chosen)


def flat(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Named weights as plain tensors, and what a file must say of them."""
    tensors, facts = importlib.import_module(SAFETENSORS).flatten_tensor_state_dict(dict(state))
    return tensors, facts


def fill(part: torch.nn.Module, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str], within: str) -> None:
    """Put what `flat` gave, with `within` in front of each name, into a skeleton. Raises KeyError or ValueError."""
    state, rest = importlib.import_module(SAFETENSORS).unflatten_tensor_state_dict(dict(tensors), dict(facts))
    named = {name.removeprefix(within): tensor for name, tensor in {**state, **rest}.items()}
    part.load_state_dict(named, strict=False, assign=True)
