"""HunyuanVideo-1.5's decoder a few frames at a time: what its causal layers have seen goes from chunk to chunk.

Diffusers decodes all frames of a tile at once, and masks attention by a matrix of all pairs of tokens. The frames here
are the same: every layer sees what it would have seen, and only sums over frames are taken in another order.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

Carried: TypeAlias = dict[torch.nn.Module, Any]
"""What a layer keeps of the frames that it has seen."""


@contextmanager
def chunked(decoder: Any, frames: int) -> Iterator[None]:
    """While it lasts, `decoder` takes `frames` latent frames at a time; 0: all at once, as ever."""
    if not frames:
        yield
        return
    whole = decoder.forward

    def forward(latents: torch.Tensor) -> torch.Tensor:
        with _carrying(decoder):
            return torch.cat([whole(chunk) for chunk in torch.split(latents, frames, dim=2)], dim=2)

    decoder.forward = forward
    try:
        yield
    finally:
        del decoder.forward


@contextmanager
def _carrying(decoder: Any) -> Iterator[None]:
    """While it lasts, the layers of `decoder` that look back in time go on from the chunk before."""
    carried: Carried = {}
    looking = [layer for layer in decoder.modules() if type(layer).__name__ in LAYERS]
    for layer in looking:
        layer.forward = partial(LAYERS[type(layer).__name__], layer, carried)
    try:
        yield
    finally:
        for layer in looking:
            del layer.forward


def _convolve(layer: Any, carried: Carried, frames: torch.Tensor) -> torch.Tensor:
    """A causal convolution: the last frames of the chunk before, or the first one repeated, stand before these."""
    *space, past, _ = layer.time_causal_padding
    before = carried[layer] if layer in carried else frames[:, :, :1].expand(-1, -1, past, -1, -1)
    seen = torch.cat([before, frames], dim=2)
    carried[layer] = seen[:, :, seen.shape[2] - past :].clone()
    convolved: torch.Tensor = layer.conv(pad(seen, (*space, 0, 0), mode=layer.pad_mode))
    return convolved


def _attend(layer: Any, carried: Carried, frames: torch.Tensor) -> torch.Tensor:
    """Attention of each frame to itself and all before it: so no mask is needed."""
    normed = layer.norm(frames)
    query, key, value = (_tokens(part(normed)) for part in (layer.to_q, layer.to_k, layer.to_v))
    if layer in carried:
        key, value = (torch.cat(pair, dim=2) for pair in zip(carried[layer], (key, value), strict=True))
    carried[layer] = (key, value)
    batch, channels, count, height, width = frames.shape
    ends = range(key.shape[2] - (count - 1) * height * width, key.shape[2] + 1, height * width)
    attended = [
        scaled_dot_product_attention(own, key[:, :, :end], value[:, :, :end])
        for own, end in zip(torch.split(query, height * width, dim=2), ends, strict=True)
    ]
    video = torch.cat(attended, dim=2).reshape(batch, count, height, width, channels).permute(0, 4, 1, 2, 3)
    projected: torch.Tensor = layer.proj_out(video)
    return projected + frames


def _tokens(video: torch.Tensor) -> torch.Tensor:
    """A video (batch, channels, frames, height, width) as tokens of one head: (batch, 1, tokens, channels)."""
    return video.flatten(2).permute(0, 2, 1).unsqueeze(1).contiguous()


def _enlarge(layer: Any, carried: Carried, frames: torch.Tensor) -> torch.Tensor:
    """An upsampling. In time, only the very first frame of all becomes one frame; every later one becomes two."""
    first = layer not in carried
    carried[layer] = True
    if first or not layer.add_temporal_upsample:
        enlarged: torch.Tensor = type(layer).forward(layer, frames)
        return enlarged
    rearrange = partial(layer._dcae_upsample_rearrange, r1=2, r2=2, r3=2)
    shortcut: torch.Tensor = rearrange(frames).repeat_interleave(repeats=layer.repeats, dim=1)
    drawn: torch.Tensor = rearrange(layer.conv(frames))
    return drawn + shortcut


LAYERS: Mapping[str, Callable[[Any, Carried, torch.Tensor], torch.Tensor]] = {
    "HunyuanVideo15CausalConv3d": _convolve,
    "HunyuanVideo15AttnBlock": _attend,
    "HunyuanVideo15Upsample": _enlarge,
}
"""The layers that look back in time, and how they do it from chunk to chunk. All others see each frame alone."""
