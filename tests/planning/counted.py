"""Cards with the layout and the arithmetic of full-size models, as they were counted on the meta device."""

from dataclasses import dataclass, replace
from typing import Any

from vidgen.catalog import cards
from vidgen.core.card import ModelCard
from vidgen.core.request import Mode, Request
from vidgen.planning.settle import Subject, settle


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """The repeated blocks of a component: how many, the parameters of the largest, the share of all."""

    layers: int
    block: int
    share: float


T5 = Stack(layers=24, block=192_900_000, share=0.972)
QWEN = Stack(layers=28, block=233_000_000, share=0.923)
LLAMA = Stack(layers=32, block=218_112_000, share=0.93)
GEMMA = Stack(layers=48, block=224_000_000, share=0.884)

MODELS: dict[str, tuple[Stack, Stack, dict[str, Any]]] = {
    "hunyuan-video": (
        Stack(layers=60, block=339_800_000, share=0.9724),
        LLAMA,
        {
            "token_kib": 109.4,
            "token_gflop": 13.59,
            "pair_flop": 737_280,
            "text": 256,
            "pixel_bytes": 3760.0,
            "tile_gib": 3.9,
            "pixel_mflop": 20.8,
        },
    ),
    "hunyuan-video-1.5-480p-t2v": (
        Stack(layers=54, block=150_900_000, share=0.978),
        QWEN,
        {
            "token_kib": 49.1,
            "token_gflop": 5.436,
            "pair_flop": 442_368,
            "text": 400,
            "pixel_bytes": 1800.0,
            "tile_gib": 5.5,
            "pixel_mflop": 25.2,
        },
    ),
    "ltx-video-2b-0.9.5": (
        Stack(layers=28, block=67_100_000, share=0.977),
        T5,
        {
            "token_kib": 64.5,
            "token_gflop": 3.288,
            "pair_flop": 229_376,
            "text": 64,
            "pixel_bytes": 100.0,
            "tile_gib": 3.1,
            "pixel_mflop": 1.27,
        },
    ),
    "ltx-video-13b-0.9.8-distilled": (
        Stack(layers=48, block=268_400_000, share=0.988),
        T5,
        {
            "token_kib": 128.5,
            "token_gflop": 22.55,
            "pair_flop": 786_432,
            "text": 64,
            "pixel_bytes": 100.0,
            "tile_gib": 3.1,
            "pixel_mflop": 1.27,
        },
    ),
    "ltx-2-19b-distilled": (
        Stack(layers=48, block=386_000_000, share=0.9816),
        GEMMA,
        {
            "token_kib": 147.5,
            "token_gflop": 25.8,
            "pair_flop": 786_432,
            "text": 512,
            "pixel_bytes": 86.0,
            "tile_gib": 2.7,
            "pixel_mflop": 1.27,
        },
    ),
}


def counted(name: str, **cost: Any) -> ModelCard:
    """The card called `name` with its numbers, those of `cost` in their place."""
    card = cards.card(name)
    own, words, numbers = MODELS[name]
    stacks = {"transformer": own, "text_encoder": words}
    parts = tuple(
        replace(
            part,
            stacked=stacks[part.name].share,
            block=stacks[part.name].block,
            layers=stacks[part.name].layers,
        )
        if part.name in stacks
        else part
        for part in card.components
    )
    facts = {**numbers, "pair_bytes": 0.0, "measured": "on the meta device", **cost}
    return replace(card, components=parts, cost=replace(card.cost, **facts))


def usual(card: ModelCard, **changed: Any) -> Request:
    """The card's own clip, with changes."""
    (request,), _ = settle({}, card, Subject(mode=Mode.T2V, prompt="x"), fresh_seed=1)
    return replace(request, **changed)
