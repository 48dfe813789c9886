"""Decodes, and encodes pictures, as the families do, on the meta device."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from tools.costs import calls, models
from tools.costs.live import Live
from vidgen.backends import chunks, cogvideox, hunyuan15, mochi, multimodal, pixels, wan
from vidgen.core.card import ModelCard
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

COUNTED: dict[tuple[str, Canvas, int, bool, bool], Live] = {}
"""Decodings: many cards have the same decoder."""


def encoding(card: ModelCard, canvas: Canvas) -> Live:
    """The encoding of one picture, counted; Wan encodes a whole clip of which it is the first frame."""
    wide, first = card.component("vae").wide, card.family != "wan" or card.settings.get("expand_timesteps")
    vae = models.full(card.name, "vae", torch.float32 if wide else torch.bfloat16)
    shape = (1, 3, 1 if first else canvas.frames, canvas.height, canvas.width)
    with torch.no_grad(), Live(workspaces=True) as live:
        vae.encode(calls.empty(*shape, dtype=vae.dtype), return_dict=False)
    return live


def decoding(card: ModelCard, canvas: Canvas, side: int = 0, *, workspaces: bool = True) -> Live:
    """One decoding of a canvas, in tiles of `side` pixels (0: none), counted."""
    wide = card.component("vae").wide
    key = (models.known_by(card.name, "vae"), canvas, side, wide, workspaces)
    if key not in COUNTED:
        COUNTED[key] = _decoded(
            card, models.full(card.name, "vae", torch.float32 if wide else torch.bfloat16), *key[1:]
        )
    return COUNTED[key]


def _decoded(card: ModelCard, vae: Any, canvas: Canvas, side: int, wide: bool, workspaces: bool) -> Live:
    scene = calls.scene(card, canvas)
    config = vars(vae)["_internal_dict"]
    latents = calls.empty(1, config.get("latent_channels") or config["z_dim"], *scene.shape, dtype=vae.dtype)
    moment = [torch.zeros(1, dtype=vae.dtype, device="meta")] if config.get("timestep_conditioning") else []
    chunked = (
        chunks.chunked(vae.decoder, hunyuan15.CHUNK if side else 0) if card.family == "hunyuan15" else nullcontext()
    )
    tiles = TILES[card.family](vae, canvas, side)
    with torch.no_grad(), pixels.tiled(vae, tiles, "meta"), chunked, Live(workspaces=workspaces) as live:
        vae.decode(latents, *moment, return_dict=False)
    return live
