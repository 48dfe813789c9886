"""What the cards say of costs, counted of a model at its default size."""

from collections.abc import Mapping
from dataclasses import replace

from vidgen.backends.counting.blueprint import Blueprint
from vidgen.backends.counting.calls import Asked
from vidgen.backends.counting.decoders import decoding, encoding
from vidgen.backends.counting.figures import (
    AT_ONCE,
    GIB,
    IN_TILE,
    IN_TURN,
    KIB,
    Value,
    again,
    encoded,
    latent_tokens,
    measured,
)
from vidgen.backends.counting.passes import one_pass
from vidgen.catalog import published
from vidgen.core.card import ModelCard, Phase
from vidgen.core.plan import Canvas
from vidgen.core.request import Mode

ENOUGH: Mapping[str, int] = {**dict.fromkeys(AT_ONCE, 33), "hunyuan15": 33}
"""Frames that are enough to count a decoder by: more take as much at once, or in proportion."""

KEPT = 4 / 3
"""Films that a decoder keeps which takes a few frames at once: its pieces overlap by a quarter."""


def blueprint(card: ModelCard) -> Blueprint:
    """A card of the catalogue by what is published of it."""
    return Blueprint(card=card, said=published.of(card))


def costs(card: ModelCard, today: str) -> dict[str, Value]:
    """The numbers of the card's `[cost]`, in the words of `Cost`."""
    plan, canvas, tile = blueprint(card), default(card), card.cost.tile
    tokens = latent_tokens(card, canvas)
    plain, pictured = (
        one_pass(plan, canvas, Asked(pictured=seen)) for seen in (Mode.T2V not in card.ways, len(card.ways) > 1)
    )
    at_once, area = AT_ONCE.get(card.family, 0), canvas.width * canvas.height
    counted = min(canvas.frames, ENOUGH.get(card.family, canvas.frames))
    whole = decoding(plan, replace(canvas, frames=counted))
    clip = min(canvas.frames, card.cost.frames or canvas.frames)
    kept = KEPT * area * (clip - counted) * 3 * (4 if card.component("vae").wide else 2) if at_once else 0.0
    in_tile = min(canvas.frames, IN_TILE.get(card.family, canvas.frames))
    tiled = decoding(plan, Canvas(width=tile, height=tile, frames=in_tile), tile)
    return {
        "token_kib": round(plain.peak / KIB / tokens, 1),
        "pictured_kib": round(pictured.peak / KIB / tokens, 1) if pictured.peak > 1.02 * plain.peak else 0.0,
        "picture_bytes": round(_seen(plan, canvas), 1),
        "turns": card.family in IN_TURN,
        "decoded": at_once,
        "pixel_bytes": round((whole.peak + kept) / (area * (at_once or counted)), 1),
        "tile_gib": round(tiled.peak / GIB, 2),
        "token_gflop": round(plain.computed / tokens / 1e9, 3),
        "pair_flop": round(plain.attended / (tokens + plain.text) ** 2),
        "text": plain.text,
        "pixel_mflop": round(again(card) * (whole.computed + whole.attended) / (area * counted) / 1e6, 2),
        "encoded_tflop": round(encoded(plan, next(iter(card.ways.values())).phases[Phase.ENCODE]) / 1e12, 2),
        "measured": measured(today),
    }


def default(card: ModelCard) -> Canvas:
    """The canvas of the card's default size and length."""
    width, height = map(int, str(card.defaults["size"]).split("x"))
    return Canvas(width=width, height=height, frames=int(str(card.defaults["frames"])))


def _seen(plan: Blueprint, canvas: Canvas) -> float:
    """Bytes that the VAE takes to encode a picture, for each pixel; none where no mode has it for that."""
    ways = plan.card.ways.items()
    if not any("vae" in way.phases[Phase.DENOISE] for mode, way in ways if mode is not Mode.T2V):
        return 0.0
    return encoding(plan, canvas).peak / (canvas.width * canvas.height)
