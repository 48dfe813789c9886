"""Runs full-size models on the meta device, and counts."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch

from tools.costs import calls, models
from tools.costs.live import Live
from vidgen.backends import attention
from vidgen.core.card import ModelCard
from vidgen.core.plan import Canvas

READ = ("encoder_hidden_states", "encoder_hidden_states_image", "image_embeds")
"""What a transformer reads beside latents."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One call of a transformer: the most bytes it holds beside weights and latents, tokens beside theirs, FLOP."""

    peak: int
    text: int
    computed: float
    attended: float


def one_pass(card: ModelCard, canvas: Canvas, *, pictured: bool = False, stock: bool = False, prompt: int = 0) -> Pass:
    """One call of the transformer of `card` at 16 bits; `stock`: with the padding and the masks of Diffusers.

    `prompt` is its tokens; 0: as many as it may have.
    """
    model = models.full(card.name, "transformer")
    canvas = calls.at_once(card, canvas)
    words = calls.call(model, calls.scene(card, canvas, pictured=pictured, padded=stock, words=prompt))
    masked = stock or type(model).__name__ not in attention.WAYS
    with torch.no_grad(), nullcontext() if masked else attention.unmasked(model), Live(workspaces=True) as live:
        model(**words, return_dict=False)
    text = sum(words[name][..., 0].numel() for name in READ if words.get(name) is not None)
    return Pass(peak=live.peak, text=text, computed=live.computed, attended=live.attended)
