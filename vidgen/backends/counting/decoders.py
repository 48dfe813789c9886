"""Decodes, and encodes pictures, as the families do, on the meta device."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from vidgen.backends import chunks, cogvideox, hunyuan15, mochi, multimodal, pixels, wan
from vidgen.backends.counting import calls
from vidgen.backends.counting.blueprint import Blueprint
from vidgen.backends.counting.live import Live
from vidgen.core.plan import Canvas

TILES: Mapping[str, Callable[[Any, Canvas, int], Mapping[str, float]]] = {
    "cogvideox": lambda vae, canvas, side: cogvideox._tiles(side),
    "framepack": lambda vae, canvas, side: pixels.squares(vae, side),
    "hunyuan": lambda vae, canvas, side: pixels.squares(vae, side),
    "hunyuan15": lambda vae, canvas, side: hunyuan15.tiles(vae, side),
    "ltx": lambda vae, canvas, side: pixels.tiles(canvas, side, vae.spatial_compression_ratio),
    "ltx2": lambda vae, canvas, side: pixels.tiles(canvas, side, multimodal.PIXELS),
    "mochi": lambda vae, canvas, side: mochi._tiles(side),
    "wan": lambda vae, canvas, side: wan._tiles(side),
}
"""How each family cuts a canvas into tiles of `side` pixels."""

COUNTED: dict[tuple[Any, ...], Live] = {}
"""Decodings: many cards have the same decoder."""


def encoding(plan: Blueprint, canvas: Canvas) -> Live:
    """The encoding of one picture, counted; Wan encodes a whole clip of which it is the first frame."""
    first = plan.card.family != "wan" or plan.card.settings.get("expand_timesteps")
    vae = plan.full("vae", _dtype(plan))
    shape = (1, 3, 1 if first else canvas.frames, canvas.height, canvas.width)
    with torch.no_grad(), Live(workspaces=True) as live:
        vae.encode(calls.empty(*shape, dtype=vae.dtype), return_dict=False)
    return live


def decoding(plan: Blueprint, canvas: Canvas, side: int = 0, *, workspaces: bool = True) -> Live:
    """One decoding of a canvas, in tiles of `side` pixels (0: none), counted."""
    tiles = TILES[plan.card.family](plan.full("vae", _dtype(plan)), canvas, side)
    return _counted(plan, canvas, tiles, workspaces)


def tile(plan: Blueprint, canvas: Canvas, side: int, frames: int) -> Live:
    """The decoding of one of the tiles of about `side` pixels that a canvas is cut into, of so many frames."""
    tiles = TILES[plan.card.family](plan.full("vae", _dtype(plan)), canvas, side)
    height, width = (int(tiles[f"tile_sample_min_{name}"]) for name in ("height", "width"))
    one = Canvas(width=min(width, canvas.width), height=min(height, canvas.height), frames=frames)
    return _counted(plan, one, tiles, True)


def _counted(plan: Blueprint, canvas: Canvas, tiles: Mapping[str, float], workspaces: bool) -> Live:
    pressed = calls.compression(plan)
    key = (plan.known_by("vae"), _dtype(plan), pressed, canvas, tuple(tiles.items()), workspaces)
    if key not in COUNTED:
        COUNTED[key] = _decoded(plan, canvas, tiles, workspaces)
    return COUNTED[key]


def _dtype(plan: Blueprint) -> torch.dtype:
    return torch.float32 if plan.card.component("vae").wide else torch.bfloat16


def _decoded(plan: Blueprint, canvas: Canvas, tiles: Mapping[str, float], workspaces: bool) -> Live:
    vae, scene = plan.full("vae", _dtype(plan)), calls.scene(plan, canvas, calls.Asked())
    config = vars(vae)["_internal_dict"]
    latents = calls.empty(1, config.get("latent_channels") or config["z_dim"], *scene.shape, dtype=vae.dtype)
    moment = [torch.zeros(1, dtype=vae.dtype, device="meta")] if config.get("timestep_conditioning") else []
    chunked = (
        chunks.chunked(vae.decoder, hunyuan15.CHUNK if tiles else 0)
        if plan.card.family == "hunyuan15"
        else nullcontext()
    )
    with torch.no_grad(), pixels.tiled(vae, tiles, "meta"), chunked, Live(workspaces=workspaces) as live:
        vae.decode(latents, *moment, return_dict=False)
    return live
