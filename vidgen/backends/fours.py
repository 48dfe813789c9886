"""nf4 by bitsandbytes: four bits a weight, a scale for every 64. Its import takes seconds: it comes when it is needed.

Diffusers would ask for a GPU; these are the library's own layers, which work on a processor too. There they are not
packed for its instructions: what was packed cannot be saved, and its type of number is another one.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from vidgen.backends import quiet
from vidgen.backends.lean import DYNAMO, HIDDEN

LIBRARY = "bitsandbytes"

BLOCK = 64
"""Weights that share a scale."""

STATE = ("absmax", "quant_map", "quant_state.bitsandbytes__nf4")
"""What stands in a file beside the packed weights, under their name."""


DOWNLOADER = "kernels"
"""Where it is installed, bitsandbytes has it fetch code from the hub as soon as it is imported."""


def bring() -> None:
    """Import bitsandbytes."""
    importlib.import_module(DYNAMO)
    with quiet.quickly([DOWNLOADER, *(name for name in HIDDEN if name != LIBRARY)]):
        importlib.import_module("bitsandbytes.nn")


def shrink(part: torch.nn.Module, layers: Mapping[str, torch.nn.Linear], scheme: str, device: str) -> None:
    """Hold the weights of `layers` in less. `device` does the arithmetic, one layer after the other."""
    library = importlib.import_module("bitsandbytes.functional")
    for name, layer in layers.items():
        if layer.weight.numel() % BLOCK:
            continue  # none of a real model's
        packed, state = library.quantize_4bit(
            layer.weight.to(device),
            blocksize=BLOCK,
            compress_statistics=False,
            quant_type="nf4",
            quant_storage=layer.weight.dtype,
        )
        state.to("cpu")
        state.code = state.code.clone()  # all layers share one, and a file holds what is shared only once
        _put(part, name, layer, packed.cpu(), state)


def flat(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Named weights as plain tensors: they are that already."""
    return {name: torch.Tensor(tensor.detach()) for name, tensor in state.items()}, {}


def fill(part: torch.nn.Module, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str], within: str) -> None:
    """Put what `flat` gave, with `within` in front of each name, into a skeleton. Raises KeyError or ValueError."""
    named = {name.removeprefix(within): tensor for name, tensor in tensors.items()}
    library = importlib.import_module("bitsandbytes.functional")
    for name, layer in list(part.named_modules()):
        if f"{name}.weight.absmax" in named:
            packed = named.pop(f"{name}.weight")
            facts_of = {key: named.pop(f"{name}.weight.{key}") for key in STATE}
            state = library.QuantState.from_dict(facts_of, device=torch.device("cpu"))
            _put(part, name, layer, packed, state)
    part.load_state_dict(named, strict=False, assign=True)


def _put(part: torch.nn.Module, name: str, layer: Any, packed: torch.Tensor, state: Any) -> None:
    """Replace a linear layer by one of four bits."""
    library = importlib.import_module("bitsandbytes.nn")
    with torch.device("meta"):
        four = library.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=state.dtype,
            compress_statistics=False,
            quant_type="nf4",
            quant_storage=packed.dtype,
        )
    four.support_avx512bf16_for_cpu = False
    four.weight, four.bias = _weights(packed, state), layer.bias
    four.quant_state = None
    part.set_submodule(name, four)


def _weights(packed: torch.Tensor, state: Any) -> Any:
    library = importlib.import_module("bitsandbytes.nn")
    return library.Params4bit(
        packed,
        requires_grad=False,
        quant_state=state,
        blocksize=state.blocksize,
        compress_statistics=False,
        quant_type="nf4",
        quant_storage=packed.dtype,
        bnb_quantized=True,
    )
