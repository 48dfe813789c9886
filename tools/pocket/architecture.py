"""The sizes of the pocket model: plain settings turned into the real Diffusers and Transformers classes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel
from torch import nn
from transformers import T5Config, T5EncoderModel

SPATIAL, TEMPORAL = 8, 4
"""Pixels and frames to one latent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Widths and depths; the defaults are the shipped model, `MICRO` is for tests."""

    latents: int = 16
    encoder: tuple[int, int, int] = (16, 32, 64)
    decoder: tuple[int, int] = (64, 64)
    layers: int = 5
    heads: int = 4
    head: int = 32
    words: int = 96
    word_layers: int = 2

    @property
    def inner(self) -> int:
        """Channels of the transformer."""
        return self.heads * self.head


SHIPPED = Sizes()
MICRO = replace(SHIPPED, latents=4, encoder=(8, 8, 16), decoder=(16, 16), layers=1, heads=2, head=16, words=16)


def make_vae(sizes: Sizes = SHIPPED) -> AutoencoderKLLTXVideo:
    """A VAE of 8x8 pixels and 4 frames to a latent: at 16x16 it can not keep a square apart from a circle."""
    vae = AutoencoderKLLTXVideo(
        latent_channels=sizes.latents,
        block_out_channels=sizes.encoder,
        down_block_types=("LTXVideo095DownBlock3D",) * 2,
        downsample_type=("spatiotemporal",) * 2,
        spatio_temporal_scaling=(True, True),
        layers_per_block=(1, 1, 1),
        decoder_block_out_channels=sizes.decoder,
        decoder_spatio_temporal_scaling=(True, True),
        decoder_layers_per_block=(1, 1, 1),
        decoder_inject_noise=(False,) * 3,
        upsample_residual=(True, True),
        upsample_factor=(4, 1),
        timestep_conditioning=False,
        patch_size=2,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    _spread_biases(vae)
    return vae


def make_transformer(sizes: Sizes = SHIPPED) -> LTXVideoTransformer3DModel:
    """A transformer that begins by predicting zero."""
    transformer = LTXVideoTransformer3DModel(
        in_channels=sizes.latents,
        out_channels=sizes.latents,
        patch_size=1,
        patch_size_t=1,
        num_attention_heads=sizes.heads,
        attention_head_dim=sizes.head,
        cross_attention_dim=sizes.inner,
        num_layers=sizes.layers,
        caption_channels=sizes.words,
    )
    nn.init.zeros_(transformer.proj_out.weight)
    nn.init.zeros_(transformer.proj_out.bias)
    return transformer


def make_text_encoder(vocabulary: int, sizes: Sizes = SHIPPED) -> T5EncoderModel:
    """A T5 encoder for `vocabulary` words."""
    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=sizes.words,
            d_kv=sizes.words // 4,
            d_ff=2 * sizes.words,
            num_layers=sizes.word_layers,
            num_heads=4,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=32,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
            use_cache=False,
        )
    )


def make_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Plain flow matching: LTXConditionPipeline passes no shift, so a dynamic one would fail there."""
    return FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False)


def _spread_biases(vae: AutoencoderKLLTXVideo) -> None:
    """The norms have no weights of their own and throw brightness away; wide biases let it through from the start."""
    for name, parameter in vae.named_parameters():
        if name.endswith("conv.bias"):
            nn.init.normal_(parameter, std=0.7 if "conv_in" in name else 0.3)
    nn.init.zeros_(vae.decoder.conv_out.conv.bias)
    with torch.no_grad():
        vae.encoder.conv_out.conv.bias.zero_()
        vae.encoder.conv_out.conv.bias[-1] = -4.0
