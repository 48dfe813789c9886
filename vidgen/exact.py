"""A plan by what the very clip takes, counted on the meta device: `vidgen plan --exact`. Loads torch and no weights."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidgen import fitting, history, tokens
from vidgen.catalog import cards, published
from vidgen.core.card import ModelCard
from vidgen.core.errors import DoesNotFit
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Canvas, Counted, Plan, Rung, Weights
from vidgen.core.request import Request
from vidgen.core.result import Event
from vidgen.core.words import parted
from vidgen.planning import cost, ladder, planner

Listener = Callable[[Event], None]
"""Told how far the counting is."""


def planned(
    request: Request, card: ModelCard, canvas: Canvas, machine: Machine, weights: Weights, listener: Listener | None
) -> tuple[ModelCard, Plan, Counted | None]:
    """The plan of a request. With a listener it is by what was counted, and the card has those numbers."""
    if listener is None:
        return card, fitting.planned(request, card, canvas, machine, weights), None
    exact, counted = _counted(request, card, canvas, machine, weights, listener)
    try:
        return exact, fitting.planned(request, exact, canvas, machine, weights), counted
    except DoesNotFit as refusal:
        other = f"; by the numbers of its card it would on {ladder.describe(counted.usual)}" if counted.usual else ""
        raise DoesNotFit(f"{refusal.message}: counted for this very clip{other}", refusal.remedy) from refusal


def _usual(request: Request, card: ModelCard, canvas: Canvas, machine: Machine, weights: Weights) -> Rung | None:
    """The rung that the numbers of the card choose."""
    try:
        return planner.choose(request, card, canvas, machine, weights).rung
    except DoesNotFit:
        return None


def _counted(
    request: Request, card: ModelCard, canvas: Canvas, machine: Machine, weights: Weights, listener: Listener
) -> tuple[ModelCard, Counted]:
    from vidgen.backends import quiet

    usual, began = _usual(request, card, canvas, machine, weights), time.monotonic()
    listener(Event(phase="count"))
    with quiet.quickly():
        from vidgen.backends.counting import blueprint, exact

    folders = dict(_folders(card, weights))
    answer = exact.counted(
        blueprint.Blueprint(card=card, said=_said(card), folders=folders),
        exact.Question(
            request=request,
            canvas=canvas,
            walks=cost.walks(request, card, canvas),
            sides=[side for side in ladder.tiles(request, card, canvas) if side],
            prompt=_prompt(request, card, weights),
            wide=request.precision == "fp32" or (request.precision == "auto" and machine.device is Device.CPU),
        ),
        f"{datetime.now(UTC):%Y-%m-%d}",
        lambda done, total: listener(Event(phase="count", done=done, total=total)),
    )
    absent = [name for name in answer.parameters if name not in folders]
    return _paced(answer.card, card, machine), Counted(
        card=card,
        usual=usual,
        parameters=answer.parameters,
        configuration=_configuration(card, weights, absent, whole=not folders),
        prompt=answer.prompt or card.tokens,
        read=bool(answer.prompt),
        seconds=time.monotonic() - began,
    )


def _paced(exact: ModelCard, card: ModelCard, machine: Machine) -> ModelCard:
    """The counted card, but for arithmetic where what clips took here is remembered by another measure than that."""
    if card.cost.token_gflop or not history.pace(machine, card):
        return exact
    names = ("token_gflop", "pair_flop", "text", "pixel_mflop", "encoded_tflop")
    kept: dict[str, Any] = {name: getattr(card.cost, name) for name in names}
    return replace(exact, cost=replace(exact.cost, **kept))


def _folders(card: ModelCard, weights: Weights) -> Iterator[tuple[str, Path]]:
    """The components whose configuration is here."""
    for part in card.components:
        if (weights.folder or part.name in weights.apart) and (weights.of(part.name) / "config.json").is_file():
            yield part.name, weights.of(part.name)


def _said(card: ModelCard) -> "dict[str, dict[str, object]] | None":
    """What is published of the components of a card of ours; None for another's, and for a folder of one's own."""
    ours = card.folder is None and (cards.OWN / f"{card.name}.toml").is_file()
    return published.of(card) if ours else None


def _configuration(card: ModelCard, weights: Weights, absent: list[str], *, whole: bool) -> str:
    """A sentence that says which configurations were used."""
    if not absent:
        return f"by the configurations in {weights.folder or 'the folders of its parts'}"
    which = "its files are not here" if whole else f"those of {', '.join(absent)} are not here"
    return f"by the configurations that are published of {card.name}: {which}"


def _prompt(request: Request, card: ModelCard, weights: Weights) -> int:
    """The most tokens that a text of the request has; 0 where nobody knows: no tokenizer, or a prompt still to come."""
    reader = next((part for part in card.components if part.name == "tokenizer"), None)
    if reader is None or request.enhance or not (weights.folder or reader.name in weights.apart):
        return 0
    texts = [*(parted(request.prompt) if card.several else [request.prompt]), request.negative]
    counts = [
        tokens.count(text, weights.of(reader.name), limit=card.tokens, marks=reader.marks) for text in texts if text
    ]
    known = [min(count.tokens, card.tokens) for count in counts if count]
    return max(known, default=0)
