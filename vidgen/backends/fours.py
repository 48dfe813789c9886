"""nf4 by bitsandbytes: four bits a weight, a scale for every 64. Its import takes seconds: it comes when it is needed.

Diffusers would ask for a GPU; these are the library's own layers, which work on a processor too. There they are not
packed for its instructions: what was packed cannot be saved, and its type of number is another one.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from vidgen.backends import quiet
from vidgen.backends.apart import PIECE, Packed
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


def pack(name: str, weight: torch.Tensor, scheme: str, device: str) -> Packed:
    """The weight of a linear layer in less, as the plain tensors that a file has of it, and what it must say of them.

    `device` does the arithmetic, some of it at a time: at work, the library takes many times its room.
    """
    if weight.numel() % BLOCK:
        return {name: weight}, {}  # none of a real model's
    pieces = [_shrunk(piece, device) for piece in torch.split(weight.reshape(-1), PIECE)]
    state = pieces[0][1]
    state.shape, state.absmax = weight.shape, torch.cat([each.absmax for _, each in pieces])
    beside = {f"{name}.{key}": tensor for key, tensor in state.as_dict(packed=True).items()}
    return {name: torch.cat([packed for packed, _ in pieces]), **beside}, {}


def fill(part: torch.nn.Module, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str], within: str) -> None:
    """Put tensors, with `within` in front of each name, into a skeleton. Raises KeyError or ValueError."""
    named = {name.removeprefix(within): tensor for name, tensor in tensors.items()}
    library = importlib.import_module("bitsandbytes.functional")
    for name, layer in list(part.named_modules()):
        if f"{name}.weight.absmax" in named:
            packed = named.pop(f"{name}.weight")
            facts_of = {key: named.pop(f"{name}.weight.{key}") for key in STATE}
            state = library.QuantState.from_dict(facts_of, device=torch.device("cpu"))
            _put(part, name, layer, packed, state)
    part.load_state_dict(named, strict=False, assign=True)


def _shrunk(weights: torch.Tensor, device: str) -> tuple[torch.Tensor, Any]:
    """What bitsandbytes makes of some weights, on the processor."""
    packed, state = importlib.import_module("bitsandbytes.functional").quantize_4bit(
        weights.to(device), blocksize=BLOCK, compress_statistics=False, quant_type="nf4", quant_storage=weights.dtype
    )
    state.to("cpu")
    return packed.cpu(), state


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
