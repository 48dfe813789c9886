"""Attention without masks: a text's padding is left out before the transformer reads it, so nothing has to be hidden.

Diffusers pads texts to their longest and hides the padding by a mask. Fast kernels take none, and HunyuanVideo-1.5
writes one out for all pairs of tokens in every block. What is hidden weighs nothing: without it, only sums are taken in
another order. Wan and CogVideoX attend to their padding, which is part of what they draw; FramePack and Mochi leave it
out by themselves.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import torch

from vidgen.backends import quiet

Words: TypeAlias = dict[str, Any]
"""What a module is called with, by name."""

Attend: TypeAlias = Callable[..., Any]
"""Stands in for the forward of an attention layer: given the layer, its own forward, and the words of the call."""


@contextmanager
def unmasked(transformer: Any) -> Iterator[None]:
    """While it lasts, `transformer` reads no padding; its attention gets no mask where nothing is left to be hidden.

    Texts of two lengths in one batch are read to the end of the longer, and the mask of the shorter stays.
    """
    way, plain = WAYS[type(transformer).__name__], _Plain()

    def before(_: Any, given: tuple[Any, ...], words: Words) -> tuple[tuple[Any, ...], Words]:
        words = dict(words)
        plain.now = way.cut(words)
        return given, words

    with ExitStack() as stack:
        stack.callback(transformer.register_forward_pre_hook(before, with_kwargs=True).remove)
        if way.attend:
            for layer in _layers(transformer):
                stack.enter_context(_attending(layer, way.attend, plain))
        yield


@dataclass(slots=True)
class _Plain:
    """Whether, in the call at work, nothing has to be hidden."""

    now: bool = False


@contextmanager
def _attending(layer: Any, attend: Attend, plain: _Plain) -> Iterator[None]:
    """While it lasts, `layer` attends by `attend` where nothing has to be hidden; its own forward is put back."""
    own, before = layer.forward, vars(layer).get("forward")
    layer.forward = lambda **words: attend(layer, own, **words) if plain.now else own(**words)
    try:
        yield
    finally:
        del layer.forward
        if before is not None:
            layer.forward = before


def _layers(transformer: Any) -> list[Any]:
    """The attention layers of picture and text together; not those of the text alone."""
    return [
        layer
        for name, layer in transformer.named_modules()
        if name.endswith(".attn") and name.startswith(("transformer_blocks.", "single_transformer_blocks."))
    ]


def _shortened(words: Words, text: str, mask: str) -> bool:
    """Cuts off what no text among `words` reaches to; whether all that is left is read."""
    read = words[mask]
    if bool(read.all()):
        return True
    ends = (read != 0) * torch.arange(1, read.shape[1] + 1, device=read.device)
    end = int(ends.max())
    words[text], words[mask] = words[text][:, :end], read[:, :end]
    return bool(words[mask].all())


def _hunyuan(words: Words) -> bool:
    return _shortened(words, "encoder_hidden_states", "encoder_attention_mask")


def _hunyuan15(words: Words) -> bool:
    """Both texts, and the picture where there is none: it would be 729 tokens of noughts."""
    if not bool(words["image_embeds"].any()):
        words["image_embeds"] = words["image_embeds"][:, :0]
    texts = [
        _shortened(words, f"encoder_hidden_states{which}", f"encoder_attention_mask{which}") for which in ("", "_2")
    ]
    return all(texts)


def _ltx(words: Words) -> bool:
    if _shortened(words, "encoder_hidden_states", "encoder_attention_mask"):
        words["encoder_attention_mask"] = None
        return True
    return False


def _ltx2(words: Words) -> bool:
    """Its connectors put marks of their own in the place of padding: all of it is read."""
    if bool(words["encoder_attention_mask"].all()):
        words |= {"encoder_attention_mask": None, "audio_encoder_attention_mask": None}
        return True
    return False


def _bare(layer: Any, own: Any, **words: Any) -> Any:
    """The layer's own attention, without the mask."""
    return own(**{**words, "attention_mask": None})


def _joint(
    layer: Any,
    own: Any,
    *,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    image_rotary_emb: Any,
    attention_mask: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of HunyuanVideo-1.5, whose own cannot do without a mask: of a picture's tokens and a text's to both."""
    turned = _function("diffusers.models.embeddings", "apply_rotary_emb")
    dispatched = _function("diffusers.models.attention_dispatch", "dispatch_attention_fn")

    def heads(project: Any, tokens: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = project(tokens).unflatten(2, (layer.heads, -1))
        return projected

    joined = []
    for mine, norm, theirs, their_norm in (
        (layer.to_q, layer.norm_q, layer.add_q_proj, layer.norm_added_q),
        (layer.to_k, layer.norm_k, layer.add_k_proj, layer.norm_added_k),
    ):
        picture = turned(norm(heads(mine, hidden_states)), image_rotary_emb, sequence_dim=1)
        joined.append(torch.cat([picture, their_norm(heads(theirs, encoder_hidden_states))], dim=1))
    pair = (heads(layer.to_v, hidden_states), heads(layer.add_v_proj, encoder_hidden_states))
    joined.append(torch.cat(pair, dim=1))
    attended = dispatched(*joined, backend=layer.processor._attention_backend).flatten(2, 3)
    picture, text = attended.split([hidden_states.shape[1], encoder_hidden_states.shape[1]], dim=1)
    for project in layer.to_out:
        picture = project(picture)
    return picture, layer.to_add_out(text)


@cache
def _function(module: str, name: str) -> Any:
    return quiet.found(module, name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How one transformer goes without masks.

    `cut` leaves out padding among the words of a call, and says whether nothing has to be hidden any more; `attend` is
    what its attention layers then do, where it is not enough that no mask is given.
    """

    cut: Callable[[Words], bool]
    attend: Attend | None = None


WAYS: Mapping[str, Way] = {
    "HunyuanVideo15Transformer3DModel": Way(cut=_hunyuan15, attend=_joint),
    "HunyuanVideoTransformer3DModel": Way(cut=_hunyuan, attend=_bare),
    "LTX2VideoTransformer3DModel": Way(cut=_ltx2),
    "LTXVideoTransformer3DModel": Way(cut=_ltx),
}
