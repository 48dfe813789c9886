"""Which model for what one wants, on a given machine: an ordered answer with reasons, from the cards alone."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vidgen.core.amounts import duration
from vidgen.core.card import ModelCard
from vidgen.core.errors import DoesNotFit
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Plan, Weights
from vidgen.core.request import Keyframe, Mode, Request
from vidgen.planning.check import draw
from vidgen.planning.ladder import describe
from vidgen.planning.nearest import nearest
from vidgen.planning.planner import choose
from vidgen.planning.settle import Subject, settle

ULTRA_HD = 3840 * 2160

CARDS_GIB = (8, 12, 16, 24, 32, 48, 80)
"""Usual memories of CUDA cards."""

HOST_GIB = 64.0
"""The memory of a machine beside such a card."""

UNCOUNTED = "how large its text encoder is, nobody has said: it takes more, and so may not fit"

UNMEASURED = "weights alone: the work beside them was not measured for this model, and takes more"


class Want(StrEnum):
    """What a person looks for in a model."""

    FAST = "fast"
    BEST = "best"
    SOUND = "sound"
    ULTRA_HD = "4k"
    PEOPLE = "people"
    LORA = "lora"


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """A model that does what is wanted. `plan` is that of its own default clip; None where that does not fit."""

    card: ModelCard
    plan: Plan | None
    reasons: tuple[str, ...]


def recommend(cards: Iterable[ModelCard], machine: Machine, want: Want, mode: Mode) -> list[Advice]:
    """The models that do `want` in `mode`, the best first; then those of unmeasured memory, then what does not fit."""
    doing = [card for card in cards if card.repository and mode in card.ways and _does(card, want)]
    doing.sort(key=lambda card: _forwards(card) if want is Want.FAST else -card.rank)
    advice = [_advice(card, machine, mode) for card in doing]
    return sorted(advice, key=lambda one: (one.plan is None, not one.card.cost.encoded_tflop))


def within_reach(advice: Iterable[Advice], machine: Machine, mode: Mode) -> str:
    """What to type for a shorter or smaller clip of the best of these models that can make one; empty for none."""
    for one in advice:
        if change := nearest(own(one.card, mode), one.card, machine, Weights(folder=None, sizes={})):
            return f"--model {one.card.name} {change}"
    return ""


def smallest(card: ModelCard) -> int:
    """The least memory of a usual CUDA card, in GiB, in which the model's own default clip fits; 0: in none."""
    request = own(card, next(iter(card.ways)))
    for size in CARDS_GIB:
        machine = Machine(device=Device.CUDA, name=f"a card of {size} GiB", vram_gib=size, ram_gib=HOST_GIB, cores=1)
        with suppress(DoesNotFit):
            choose(request, card, draw(request, card), machine, Weights(folder=None, sizes={}))
            return size
    return 0


def _does(card: ModelCard, want: Want) -> bool:
    match want:
        case Want.FAST | Want.BEST:
            return True
        case Want.SOUND:
            return card.sound
        case Want.ULTRA_HD:
            return card.largest[0] * card.largest[1] >= ULTRA_HD
        case Want.PEOPLE:
            return want.value in card.good_at
        case Want.LORA:
            return card.loras


def _forwards(card: ModelCard) -> float:
    """How much arithmetic a clip takes: parameters of the transformer, times how often it is asked."""
    request = own(card, next(iter(card.ways)))
    passes = 2 if request.guidance_scale > 1 and card.negative else 1
    heaviest = max(
        (component.parameters for component in card.components if component.name == "transformer"), default=0
    )
    refining = card.refine.walked if card.refine else 0
    return heaviest * (request.steps * passes + refining)


def _advice(card: ModelCard, machine: Machine, mode: Mode) -> Advice:
    request = own(card, mode)
    try:
        plan = choose(request, card, draw(request, card), machine, Weights(folder=None, sizes={}))
    except DoesNotFit as refusal:
        return Advice(card=card, plan=None, reasons=(refusal.message.rpartition("; ")[2],))
    return Advice(card=card, plan=plan, reasons=tuple(_reasons(card, request, plan)))


def _reasons(card: ModelCard, request: Request, plan: Plan) -> Iterator[str]:
    clip = f"{request.width}x{request.height}, {request.frames} frames"
    yield f"its {clip} fit on {describe(plan.rung)}: {plan.peak_gib:.1f} of {plan.machine.memory_gib:.1f} GiB"
    guided = f"guidance scale {request.guidance_scale:g}" if request.guidance_scale > 1 else "no guidance"
    if not card.cost.token_kib:
        yield UNMEASURED
    elif not card.cost.encoded_tflop:
        yield UNCOUNTED
    yield f"{request.steps} steps, {guided}"
    if plan.seconds:
        yield f"about {duration(plan.seconds)}"
    if card.sound:
        yield "makes sound"
    if card.good_at:
        yield f"good at {', '.join(card.good_at)}"


def own(card: ModelCard, mode: Mode) -> Request:
    """The clip that nobody needs to say anything for; from pictures where it is made from them."""
    last = int(str(card.defaults["frames"])) - 1
    frames = () if mode is Mode.T2V else (0, last) if card.ways[mode].ends else (0,)
    marks = [Keyframe(picture=Path("a.png"), frame=frame) for frame in frames]
    requests, _ = settle({}, card, Subject(mode=mode, prompt="a clip", at=marks), fresh_seed=0)
    return requests[0]
