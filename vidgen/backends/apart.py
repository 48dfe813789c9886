"""A weight as plain tensors, and back: what is quantized is several of them, and what is tied is one for several."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch.nn import Parameter
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

Leaves: TypeAlias = list[torch.Tensor]
"""The plain tensors of one weight or of several, in their order."""

Packed: TypeAlias = tuple[dict[str, torch.Tensor], dict[str, str]]
"""Plain tensors by name, and what a file that has them must say of them."""

PIECE = 2**23
"""Numbers of a weight that are quantized at a time."""

Build: TypeAlias = Callable[[Sequence[torch.Tensor]], Parameter]
"""Puts a weight together from its tensors, wherever those are."""


def apart(weight: Any) -> tuple[Leaves, Build]:
    """The tensors of a weight, and how one like it is made of others; that holds none of its memory."""
    if is_traceable_wrapper_subclass(weight):
        return _wrapped(weight)
    if vars(weight).get("quant_state") is not None:
        return _packed(weight)
    if vars(weight).get("quant_type") is not None:
        return _stored(weight)
    return [weight.data], lambda leaves: Parameter(leaves[0], requires_grad=False)


def tie(part: torch.nn.Module) -> None:
    """Let the modules of a model of Transformers share the weights that they share; once they have been put in."""
    own: Callable[[], None] | None = getattr(part, "tie_weights", None)
    if own:
        own()


def _wrapped(weight: Any) -> tuple[Leaves, Build]:
    """A tensor of torchao's."""
    names, context = weight.__tensor_flatten__()
    kind, shape, stride = type(weight), weight.shape, weight.stride()

    def build(leaves: Sequence[torch.Tensor]) -> Parameter:
        whole = kind.__tensor_unflatten__(dict(zip(names, leaves, strict=True)), context, shape, stride)
        return Parameter(whole, requires_grad=False)

    return [getattr(weight, name) for name in names], build


def _stored(weight: Any) -> tuple[Leaves, Build]:
    """A weight of a GGUF file: its bytes, which it does not know to be a tensor of any other kind."""
    kind, said = type(weight), weight.quant_type

    def build(leaves: Sequence[torch.Tensor]) -> Parameter:
        whole: Parameter = kind(leaves[0], requires_grad=False, quant_type=said)
        return whole

    return [weight.as_tensor()], build


def _packed(weight: Any) -> tuple[Leaves, Build]:
    """A weight of bitsandbytes': its bytes, its scales, and its table."""
    state, kind = weight.quant_state, type(weight)
    said = {name: getattr(state, name) for name in ("shape", "blocksize", "quant_type", "dtype")}
    library = importlib.import_module("bitsandbytes.functional")

    def build(leaves: Sequence[torch.Tensor]) -> Parameter:
        packed, scales, table = leaves
        whole: Parameter = kind(
            packed,
            requires_grad=False,
            quant_state=library.QuantState(absmax=scales, code=table, **said),
            blocksize=said["blocksize"],
            compress_statistics=False,
            quant_type=said["quant_type"],
            quant_storage=packed.dtype,
            bnb_quantized=True,
        )
        return whole

    return [weight.data, state.absmax, state.code], build
