"""What does fit, where what was asked for does not: found by planning it, and said as what to type."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from vidgen.core.card import ModelCard
from vidgen.core.errors import Refusal
from vidgen.core.machine import Machine
from vidgen.core.plan import Weights
from vidgen.core.request import Request
from vidgen.planning.check import check
from vidgen.planning.planner import choose, freed, limits

PARTS = (0.75, 0.5, 0.375, 0.25)
"""Parts of the sides of a picture that are tried, and of the frames where the smallest picture is still too large."""

SHORTEST = 9
"""Fewer frames than these are no clip."""


def nearest(request: Request, card: ModelCard, machine: Machine, weights: Weights) -> str:
    """What to type so that `card` can serve the request; empty when nothing helps."""
    free = freed(request)
    if free != request and serves(free, card, machine, weights):
        return f"the same with {limits(request)} left to the plan"
    found = smaller(request, card, machine, weights)
    if found is None:
        return ""
    sides = (found.width, found.height) != (request.width, request.height)
    size = [f"--size {found.width}x{found.height}"] if sides else []
    return " ".join([*size, *([f"--frames {found.frames}"] if found.frames != request.frames else [])])


def smaller(request: Request, card: ModelCard, machine: Machine, weights: Weights) -> Request | None:
    """The request with fewer frames, or else in a smaller size, that `card` can serve; None when nothing helps."""

    def fits(wanted: Request) -> bool:
        return serves(wanted, card, machine, weights)

    if frames := _frames(request, card, fits):
        return shorter(request, frames)
    for wanted in _sizes(request, card):
        if fits(wanted):
            return wanted
        if frames := _frames(wanted, card, fits):
            return shorter(wanted, frames)
    return None


def shorter(request: Request, frames: int) -> Request:
    """The request in fewer frames; a picture of its last frame is that of the new last one."""
    last = request.frames - 1
    marks = (replace(mark, frame=frames - 1) if mark.frame == last > 0 else mark for mark in request.keyframes)
    return replace(request, frames=frames, keyframes=tuple(marks))


def another(request: Request, cards: Iterable[ModelCard], machine: Machine) -> str:
    """The best other model of measured memory that can serve the request as it is; empty when none can.

    A GGUF file is one model's.
    """
    if request.ggufs:
        return ""
    nothing = Weights(folder=None, sizes={})
    for card in cards:
        wanted = replace(request, model=card.name, negative="", **_taste(card))
        known = card.repository and card.cost.token_kib and card.name != request.model
        if known and serves(wanted, card, machine, nothing):
            return f"--model {card.name}"
    return ""


def serves(request: Request, card: ModelCard, machine: Machine, weights: Weights) -> bool:
    """Whether `card` can do the request and the machine has room for it."""
    try:
        canvas, _ = check(request, card)
        choose(request, card, canvas, machine, weights)
    except Refusal:
        return False
    return True


def _frames(request: Request, card: ModelCard, fits: Callable[[Request], bool]) -> int:
    """The most frames on the grid that fit, by halving; 0 when not even a short clip does."""
    grid = card.grid.frames
    fewest, most = -(-(SHORTEST - 1) // grid), (request.frames - 1) // grid
    if fewest > most or not fits(shorter(request, fewest * grid + 1)):
        return 0
    while fewest < most:
        middle = (fewest + most + 1) // 2
        if fits(shorter(request, middle * grid + 1)):
            fewest = middle
        else:
            most = middle - 1
    return fewest * grid + 1


def _sizes(request: Request, card: ModelCard) -> Iterator[Request]:
    """The request in smaller and smaller pictures of its shape, on the grid."""
    grid = card.grid.size
    for part in PARTS:
        width, height = (round(side * part / grid) * grid for side in (request.width, request.height))
        if min(width, height) >= grid:
            yield replace(request, width=width, height=height)


def _taste(card: ModelCard) -> dict[str, Any]:
    """What a model's own card says of steps and guidance."""
    return {"steps": int(str(card.defaults["steps"])), "guidance_scale": float(str(card.defaults["guidance_scale"]))}
