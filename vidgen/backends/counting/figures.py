"""What of a model the formulas of memory and time use, by families; and its components, counted."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TypeAlias

import torch

from vidgen.backends.counting.blueprint import Blueprint
from vidgen.backends.quantize import in_blocks
from vidgen.core.card import ModelCard
from vidgen.core.plan import Canvas

GIB, KIB = 2**30, 2**10

IN_TURN = frozenset({"framepack", "hunyuan", "hunyuan15", "wan"})
"""Families whose pipelines make the passes of guidance one after the other."""

AT_ONCE: Mapping[str, int] = {"cogvideox": 9, "framepack": 17, "hunyuan": 17, "wan": 4}
"""Frames that a decoder takes at once, however long the clip is; it keeps those that it gave."""

IN_TILE: Mapping[str, int] = {**dict.fromkeys(AT_ONCE, 17), "ltx": 65, "ltx2": 65}
"""Frames of a tile, where it has fewer than the clip."""

STACKED = ("connectors", "image_encoder", "text_encoder", "transformer")
"""What the names of components begin with that are mostly repeated blocks, and can be streamed."""

Value: TypeAlias = float | int | bool | str


def again(card: ModelCard) -> float:
    """How often each frame is decoded: FramePack's sections are each decoded with the one before, long LTX overlaps."""
    if "overlap" in card.settings:
        return 57 / 40
    return 2 if card.family == "framepack" else 1


def measured(today: str) -> str:
    """When and with what a model was counted."""
    return f"{today} with diffusers {version('diffusers')} and torch {version('torch').partition('+')[0]}"


def parts(plan: Blueprint) -> dict[str, dict[str, Value]]:
    """What the card says of the blocks of each component that can be streamed, and of the VAE's decoder."""
    counted = [part.name for part in plan.card.components if part.parameters and part.name.startswith(STACKED)]
    return {name: part(plan, name) for name in (*counted, "vae")}


def part(plan: Blueprint, name: str) -> dict[str, Value]:
    """What the card says of a component beside its parameters; `blocks` where it is quantized."""
    if name.startswith(STACKED):
        return _blocks(plan.full(name), quantized=plan.card.component(name).blocks > 0)
    return {"decoder": _decoder(plan.full(name))} if name == "vae" else {}


def latent_tokens(card: ModelCard, canvas: Canvas) -> int:
    """Latent tokens as `Cost` counts them: cells of the card's grid that are drawn at once."""
    frames = min(canvas.frames, card.cost.frames or canvas.frames)
    cells = (canvas.width // card.grid.size) * (canvas.height // card.grid.size)
    return ((frames - 1) // card.grid.frames + 1) * cells


def parameters(model: torch.nn.Module) -> int:
    """How many a model has."""
    return sum(weight.numel() for weight in model.parameters())


def encoded(plan: Blueprint, held: Sequence[str]) -> float:
    """FLOP of one prompt by the encoders among `held`: two for each weight of a linear layer and each token."""
    card = plan.card
    return sum(
        2.0 * (card.component(name).tokens or card.tokens) * _linear(plan.full(name))
        for name in held
        if card.component(name).parameters
    )


def _blocks(model: torch.nn.Module, *, quantized: bool) -> dict[str, Value]:
    """The share that quantization shrinks, the share in repeated blocks, the largest of those, and their number."""
    every = parameters(model)
    linear = sum(module.weight.numel() for name, module in model.named_modules() if in_blocks(module, name))
    sizes = [parameters(block) for stack in _stacks(model) for block in stack]
    return {
        **({"blocks": round(linear / every, 6)} if quantized else {}),
        "stacked": round(sum(sizes) / every, 6),
        "block": max(sizes),
        "layers": len(sizes),
    }


def _decoder(vae: torch.nn.Module) -> float:
    """The share of a VAE that is not its encoder."""
    return round(1 - parameters(vae.get_submodule("encoder")) / parameters(vae), 6)


def _stacks(model: torch.nn.Module) -> Iterator[torch.nn.ModuleList]:
    """The outermost lists of a model: their members are its repeated blocks."""
    for child in model.children():
        if isinstance(child, torch.nn.ModuleList):
            yield child
        else:
            yield from _stacks(child)


def _linear(model: torch.nn.Module) -> int:
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))
