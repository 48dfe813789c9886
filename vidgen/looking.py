"""A look at the files that a request names, before anything is loaded: pictures, LoRAs, GGUF files."""

from collections.abc import Iterator

from vidgen import adapters, ggufs
from vidgen.catalog import loras
from vidgen.core.card import ModelCard
from vidgen.core.errors import InputRefused, WeightsRefused
from vidgen.core.plan import Weights
from vidgen.core.request import Lora, Request
from vidgen.media import pictures
from vidgen.planning.settle import BUILT_IN


def looked_at(request: Request, card: ModelCard, weights: Weights) -> Iterator[str]:
    """What there is to say of the files; refused are those that are not there (exit 3) or another model's (exit 4)."""
    if not request.keyframes and request.background != BUILT_IN["background"]:
        pictures.colour(request.background)
    for keyframe in request.keyframes:
        yield from pictures.look(keyframe.picture, background=request.background).notes
    ggufs.fitting(card, weights)
    for lora in request.loras:
        yield from _worn(lora, card, weights)


def _worn(lora: Lora, card: ModelCard, weights: Weights) -> Iterator[str]:
    """A sentence for a LoRA of which this model has but a part; refused when it is another model's."""
    if not lora.path.is_file():
        raise InputRefused(f"LoRA {lora.path} is not there", "check the path")
    found = adapters.adapter(lora)
    makers, own = loras.makers(found.layers), loras.kinds().get(card.family)
    if own and makers and card.family not in makers:
        named = " or ".join(maker.title for maker in makers.values())
        video = "" if any(maker.video for maker in makers.values()) else ", which makes no videos"
        said = f"LoRA {lora.path} looks like one for {named}{video}; {card.name} is of the family {own.title}"
        raise WeightsRefused(said, f"use a LoRA that was made for {own.title}")
    if note := adapters.fitting(found, card, weights):
        yield note
