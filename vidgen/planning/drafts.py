"""A draft: the first of a model's two stages alone, which draws at half the sides. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vidgen.core.card import ModelCard, Phase, Way
from vidgen.core.errors import UsageRefused
from vidgen.core.plan import Canvas, Setting, Whole
from vidgen.core.request import Mode, Request

CELLS = 4
"""Cells of the first stage's grid in one of the second's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """Requests that differ by their seeds, their settings, the card that draws them, on which canvas, and sentences.

    `whole`: they are drafts of that.
    """

    requests: Sequence[Request]
    origins: Sequence[Setting]
    card: ModelCard
    canvas: Canvas
    adjustments: Sequence[str] = ()
    whole: Whole | None = None


def drafted(drawn: Drawn, known: Iterable[ModelCard]) -> Drawn:
    """Drafts of what is to be drawn; a model of one stage is refused (exit 2), with one of `known` that has two."""
    first, canvas = drawn.requests[0], drawn.canvas
    _refuse(drawn.card, first.mode, known)
    whole = Whole(width=first.width, height=first.height, canvas=canvas)
    halves = {name: getattr(canvas, name) // 2 for name in ("width", "height", "left", "top")}
    width, height = max(first.width // 2, 1), max(first.height // 2, 1)
    said = f"a draft of {width}x{height}, half of the {first.width}x{first.height} asked for"
    return replace(
        drawn,
        requests=[replace(request, width=width, height=height) for request in drawn.requests],
        card=first_stage(drawn.card),
        canvas=replace(canvas, **halves),
        adjustments=(*drawn.adjustments, said),
        whole=whole,
    )


def first_stage(card: ModelCard) -> ModelCard:
    """`card` without its second stage and what only that holds; what is left draws on a finer grid."""
    if card.refine is None:
        return card
    second, cost = (card.refine.upscaler, card.refine.lora), card.cost
    return replace(
        card,
        refine=None,
        grid=replace(card.grid, size=card.grid.size // 2),
        components=tuple(part for part in card.components if part.name not in second),
        ways={mode: replace(way, phases=_without(second, way)) for mode, way in card.ways.items()},
        cost=replace(
            cost,
            token_kib=cost.token_kib / CELLS,
            pictured_kib=cost.pictured_kib / CELLS,
            pair_bytes=cost.pair_bytes / CELLS**2,
            token_gflop=cost.token_gflop / CELLS,
            pair_flop=cost.pair_flop / CELLS**2,
        ),
    )


def _refuse(card: ModelCard, mode: Mode, known: Iterable[ModelCard]) -> None:
    if card.refine:
        return
    able = [other for other in known if other.refine and mode in other.ways]
    likest = max(able, key=lambda other: (other.repository == card.repository, other.family == card.family, other.rank))
    said = f"{card.name} draws in one stage, and a draft is the first of two"
    raise UsageRefused(said, f"leave out --draft, or take a model of two stages: --model {likest.name}")


def _without(second: Sequence[str], way: Way) -> Mapping[Phase, tuple[str, ...]]:
    return {phase: tuple(name for name in held if name not in second) for phase, held in way.phases.items()}
