"""What the cards say of costs, counted: of a model at its default size, and of its components."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import TypeAlias

import torch

from tools.costs import models
from tools.costs.decoders import decoding, encoding
from tools.costs.measure import one_pass
from vidgen.backends.quantize import in_blocks
from vidgen.core.card import ModelCard, Phase
from vidgen.core.plan import Canvas
from vidgen.core.request import Mode

GIB, KIB = 2**30, 2**10

IN_TURN = frozenset({"framepack", "hunyuan", "hunyuan15", "wan"})
"""Families whose pipelines make the passes of guidance one after the other."""

AT_ONCE: Mapping[str, int] = {"cogvideox": 9, "framepack": 17, "hunyuan": 17, "wan": 4}
"""Frames that a decoder takes at once, however long the clip is; it keeps those that it gave."""

ENOUGH: Mapping[str, int] = {**dict.fromkeys(AT_ONCE, 33), "hunyuan15": 33}
"""Frames that are enough to count a decoder by: more take as much at once, or in proportion."""

IN_TILE: Mapping[str, int] = {**dict.fromkeys(AT_ONCE, 17), "ltx": 65, "ltx2": 65}
"""Frames of a tile, where it has fewer than the clip."""

KEPT = 4 / 3
"""Films that a decoder keeps which takes a few frames at once: its pieces overlap by a quarter."""

AGAIN: Mapping[str, float] = {"framepack": 2, "ltx-video-13b-0.9.8-distilled-long": 57 / 40}
"""How often each frame is decoded: FramePack's sections are each decoded with the one before, pieces of LTX overlap."""

STACKED = ("connectors", "image_encoder", "text_encoder", "transformer")
"""What the names of components begin with that are mostly repeated blocks, and can be streamed."""

Value: TypeAlias = float | int | bool | str


def costs(card: ModelCard, today: str) -> dict[str, Value]:
    """The numbers of the card's `[cost]`, in the words of `Cost`."""
    canvas, tile = default(card), card.cost.tile
    tokens = latent_tokens(card, canvas)
    plain, pictured = (
        one_pass(card, canvas, pictured=seen) for seen in (Mode.T2V not in card.ways, len(card.ways) > 1)
    )
    again = AGAIN.get(card.name, AGAIN.get(card.family, 1))
    at_once, area = AT_ONCE.get(card.family, 0), canvas.width * canvas.height
    counted = min(canvas.frames, ENOUGH.get(card.family, canvas.frames))
    whole = decoding(card, replace(canvas, frames=counted))
    clip = min(canvas.frames, card.cost.frames or canvas.frames)
    kept = KEPT * area * (clip - counted) * 3 * (4 if card.component("vae").wide else 2) if at_once else 0.0
    in_tile = min(canvas.frames, IN_TILE.get(card.family, canvas.frames))
    tiled = decoding(card, Canvas(width=tile, height=tile, frames=in_tile), tile)
    return {
        "token_kib": round(plain.peak / KIB / tokens, 1),
        "pictured_kib": round(pictured.peak / KIB / tokens, 1) if pictured.peak > 1.02 * plain.peak else 0.0,
        "picture_bytes": round(_seen(card, canvas), 1),
        "turns": card.family in IN_TURN,
        "decoded": at_once,
        "pixel_bytes": round((whole.peak + kept) / (area * (at_once or counted)), 1),
        "tile_gib": round(tiled.peak / GIB, 2),
        "token_gflop": round(plain.computed / tokens / 1e9, 3),
        "pair_flop": round(plain.attended / (tokens + plain.text) ** 2),
        "text": plain.text,
        "pixel_mflop": round(again * (whole.computed + whole.attended) / (area * counted) / 1e6, 2),
        "encoded_tflop": round(_encoded(card) / 1e12, 2),
        "measured": f"{today} with diffusers {version('diffusers')} and torch {version('torch').partition('+')[0]}",
    }


def parts(card: ModelCard) -> dict[str, dict[str, Value]]:
    """What the card says of the blocks of each component that can be streamed; `blocks` where they are quantized."""
    found: dict[str, dict[str, Value]] = {
        component.name: _blocks(models.full(card.name, component.name), quantized=component.blocks > 0)
        for component in card.components
        if component.parameters and component.name.startswith(STACKED)
    }
    return {**found, "vae": {"decoder": _decoder(models.full(card.name, "vae"))}}


def default(card: ModelCard) -> Canvas:
    """The canvas of the card's default size and length."""
    width, height = map(int, str(card.defaults["size"]).split("x"))
    return Canvas(width=width, height=height, frames=int(str(card.defaults["frames"])))


def latent_tokens(card: ModelCard, canvas: Canvas) -> int:
    """Latent tokens as `Cost` counts them: cells of the card's grid that are drawn at once."""
    frames = min(canvas.frames, card.cost.frames or canvas.frames)
    cells = (canvas.width // card.grid.size) * (canvas.height // card.grid.size)
    return ((frames - 1) // card.grid.frames + 1) * cells


def parameters(model: torch.nn.Module) -> int:
    """How many a model has."""
    return sum(weight.numel() for weight in model.parameters())


def _seen(card: ModelCard, canvas: Canvas) -> float:
    """Bytes that the VAE takes to encode a picture, for each pixel; none where no mode has it for that."""
    if not any("vae" in way.phases[Phase.DENOISE] for mode, way in card.ways.items() if mode is not Mode.T2V):
        return 0.0
    return encoding(card, canvas).peak / (canvas.width * canvas.height)


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


def _encoded(card: ModelCard) -> float:
    """FLOP of one prompt: two for each weight of a linear layer and each token."""
    held = next(iter(card.ways.values())).phases[Phase.ENCODE]
    return sum(
        2.0 * (card.component(name).tokens or card.tokens) * _linear(models.full(card.name, name))
        for name in held
        if card.component(name).parameters
    )


def _linear(model: torch.nn.Module) -> int:
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))
