"""Calls full-size transformers once on the meta device, and counts."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from vidgen.backends import attention
from vidgen.backends.counting import calls
from vidgen.backends.counting.blueprint import Blueprint
from vidgen.backends.counting.calls import Asked
from vidgen.backends.counting.live import Live
from vidgen.core.plan import Canvas

READ = ("encoder_hidden_states", "encoder_hidden_states_image", "image_embeds")
"""What a transformer reads beside latents."""

NOTHING = Asked()

SHORTENED = frozenset(attention.WAYS) - {"LTX2VideoTransformer3DModel"}
"""Transformers that read a prompt to its own end: those of LTX-2 have marks in the place of its padding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One call of a transformer: the most bytes it holds beside weights and latents, tokens beside theirs, FLOP."""

    peak: int
    text: int
    computed: float
    attended: float


def one_pass(
    plan: Blueprint,
    canvas: Canvas,
    asked: Asked = NOTHING,
    *,
    stock: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> Pass:
    """One call of the transformer of `plan`; `stock`: with the padding and the masks of Diffusers."""
    model = plan.full("transformer", dtype)
    given = calls.call(model, calls.scene(plan, calls.at_once(plan.card, canvas), asked, padded=stock))
    words = {name: _in(dtype, value) for name, value in given.items()}
    masked = stock or type(model).__name__ not in attention.WAYS
    with torch.no_grad(), nullcontext() if masked else attention.unmasked(model), Live(workspaces=True) as live:
        model(**words, return_dict=False)
    text = sum(words[name][..., 0].numel() for name in READ if words.get(name) is not None)
    return Pass(peak=live.peak, text=text, computed=live.computed, attended=live.attended)


def _in(dtype: torch.dtype, value: Any) -> Any:
    """What is in 16 bits, in another format."""
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.dtype is calls.HALF else value
