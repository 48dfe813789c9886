"""What one request takes of its model, counted: the numbers of the card, at its very canvas, prompt and pictures."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch

from vidgen.backends import quiet, qwen
from vidgen.backends.counting import calls, decoders, figures
from vidgen.backends.counting.blueprint import Blueprint
from vidgen.backends.counting.calls import Asked
from vidgen.backends.counting.figures import GIB, KIB
from vidgen.backends.counting.passes import SHORTENED, Pass, one_pass
from vidgen.backends.fit import UNREADABLE, first_line
from vidgen.core.card import Component, ModelCard, Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas
from vidgen.core.request import Request

SECTIONS: Mapping[str, int] = {"framepack": 2}
"""How many of the pieces that a clip is drawn in are decoded at once, where it is not one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is to be counted: a request on its canvas, the walks that draw it, and the sides of tiles to decode in.

    A walk is its steps, what it draws, and how often it asks the transformer at each. `prompt`: tokens that are read, 0
    for as many as there may be. `wide`: it may be drawn in 32 bits too.
    """

    request: Request
    canvas: Canvas
    walks: Sequence[tuple[int, Canvas, int]]
    sides: Sequence[int]
    prompt: int
    wide: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The card with what was counted in the place of its own numbers, and the parameters of each component counted.

    `prompt`: the tokens of it that were counted; 0 where it is padded to the most that there may be, or not known.
    """

    card: ModelCard
    parameters: Mapping[str, int]
    prompt: int


def counted(plan: Blueprint, question: Question, today: str, step: Callable[[int, int], None]) -> Answer:
    """What the request takes of the model of `plan`; `step` is told how many things of how many are counted.

    Refuses a family that nobody has taught to count (exit 2), and configurations that no model can be made of (exit 4).
    """
    card = plan.card
    refuse(card)
    held = _held(plan, question.request)
    total = len(held) + len(question.walks) + len(question.sides) + 3
    try:
        with quiet.hushed():
            found: dict[str, Any] = {}
            for done, one in enumerate(chain(_parts(plan, held), _work(plan, question)), 1):
                found |= one
                step(done, total)
    except UNREADABLE as error:
        said = f"{card.name} cannot be counted by its configurations: {first_line(error)}"
        raise WeightsRefused(said, "leave out --exact: the plan is then by the numbers of the model's card") from error
    parts = tuple(found.pop(part.name, part) for part in card.components)
    known = replace(card, components=parts)
    read = figures.encoded(replace(plan, card=known), card.ways[question.request.mode].phases[Phase.ENCODE])
    cost = replace(
        card.cost,
        **found,
        turns=card.family in figures.IN_TURN,
        decoded=figures.AT_ONCE.get(card.family, 0),
        encoded_tflop=read / 1e12,
        measured=figures.measured(today),
    )
    sizes = {name: known.component(name).parameters for name in held}
    return Answer(card=replace(known, cost=cost), parameters=sizes, prompt=_asked(plan, question).prompt)


def refuse(card: ModelCard) -> None:
    """Refuse (exit 2) a family that nobody has taught to count."""
    kind = card.component("transformer").kind if any(part.name == "transformer" for part in card.components) else ""
    if card.family not in calls.COMPRESSION or kind not in calls.CALLS:
        said = f"--exact does not know how to call the {kind or 'model'} of family {card.family}"
        raise UsageRefused(said, "leave out --exact: the plan is then by the numbers of the model's card")


def _held(plan: Blueprint, request: Request) -> list[str]:
    """The components with weights that the request needs, but for files of their own and what nobody has published."""
    names = dict.fromkeys(name for phase in plan.card.ways[request.mode].phases.values() for name in phase)
    parts = [plan.card.component(name) for name in names]
    return [
        part.name
        for part in parts
        if not part.file and plan.kind(part.name).weighs and (part.name in plan.folders or part.parameters)
    ]


def _parts(plan: Blueprint, held: Sequence[str]) -> Iterator[dict[str, Component]]:
    for name in held:
        known: dict[str, Any] = {**figures.part(plan, name), "parameters": figures.parameters(plan.full(name))}
        yield {name: replace(plan.card.component(name), **known)}


def _work(plan: Blueprint, question: Question) -> Iterator[dict[str, Any]]:
    yield from _denoised(plan, question)
    yield {"picture_bytes": _seen(plan, question)}
    yield from _decoded(plan, question)


def _denoised(plan: Blueprint, question: Question) -> Iterator[dict[str, Any]]:
    """Each stage in turn. Of their arithmetic the card has the mean, so that it comes to the sum of them."""
    asked, every = _asked(plan, question), list[tuple[int, int, int, Pass]]()
    for steps, canvas, passes in question.walks:
        found = one_pass(plan, canvas, asked)
        every.append((steps * passes, passes, figures.latent_tokens(plan.card, canvas), found))
        yield {}
    batch = 1 if plan.card.family in figures.IN_TURN else 2
    last, tokens, text = every[-1], every[-1][2], every[-1][3].text
    peak = max(min(passes, batch) * found.peak for _, passes, _, found in every) / min(last[1], batch)
    yield {
        "token_kib": peak / KIB / tokens,
        "widened": _widened(plan, question, asked, last[3]),
        "pictured_kib": 0.0,
        "pair_bytes": 0.0,
        "text": text,
        "token_gflop": _mean((often, found.computed, many) for often, _, many, found in every) / 1e9,
        "pair_flop": _mean((often, found.attended, (many + text) ** 2) for often, _, many, found in every),
    }


def _widened(plan: Blueprint, question: Question, asked: Asked, narrow: Pass) -> float:
    """How many times as much the last stage takes in 32 bits: some of it is in those anyway."""
    if not question.wide:
        return plan.card.cost.widened
    return one_pass(plan, question.walks[-1][1], asked, dtype=torch.float32).peak / narrow.peak


def _mean(pairs: Iterable[tuple[int, float, int]]) -> float:
    """Arithmetic for each unit, of what is done so often, takes so much and has so many."""
    known = list(pairs)
    return sum(often * much for often, much, _ in known) / sum(often * many for often, _, many in known)


def _asked(plan: Blueprint, question: Question) -> Asked:
    """Pictures at later frames stand beside the latents where conditions are set; HunyuanVideo-1.5 reads quotations."""
    request, conditions = question.request, plan.card.ways[question.request.mode].pipeline.endswith("ConditionPipeline")
    kind = plan.card.component("transformer").kind
    return Asked(
        pictured=bool(request.keyframes),
        beside=sum(conditions and mark.frame > 0 for mark in request.keyframes),
        prompt=question.prompt if kind in SHORTENED else 0,
        quoted=qwen.quoted(request.prompt) if plan.card.family == "hunyuan15" else 0,
        fps=float(request.fps),
    )


def _seen(plan: Blueprint, question: Question) -> float:
    """Bytes that the VAE takes to encode a picture, for each pixel; none where the mode has it not for that."""
    canvas, way = question.canvas, plan.card.ways[question.request.mode]
    if not question.request.keyframes or "vae" not in way.phases[Phase.DENOISE]:
        return 0.0
    return decoders.encoding(plan, canvas).peak / (canvas.width * canvas.height)


def _decoded(plan: Blueprint, question: Question) -> Iterator[dict[str, Any]]:
    """The whole of what is drawn at once, then one tile of each side."""
    card, canvas = plan.card, question.canvas
    drawn, area = min(canvas.frames, card.cost.frames or canvas.frames), canvas.width * canvas.height
    frames = min(canvas.frames, (drawn - 1) * SECTIONS.get(card.family, 1) + 1)
    whole = decoders.decoding(plan, replace(canvas, frames=frames))
    yield {
        "pixel_bytes": whole.peak / (area * min(drawn, figures.AT_ONCE.get(card.family, drawn))),
        "pixel_mflop": figures.again(card) * (whole.computed + whole.attended) / (area * frames) / 1e6,
    }
    tiles: dict[int, float] = {}
    for side in question.sides:
        found = decoders.tile(plan, canvas, side, min(frames, figures.IN_TILE.get(card.family, frames)))
        tiles = {**tiles, side: found.peak / GIB}
        yield {"tiles_gib": tiles, "tile_gib": tiles.get(card.cost.tile) or card.cost.tile_gib or tiles[side]}
