"""What is published of full-size models: the configurations of their components, for whom their files are not here."""

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any

from vidgen.core.card import ModelCard

T5_XXL = {"d_model": 4096, "num_layers": 24, "num_heads": 64, "d_kv": 64, "d_ff": 10240, "vocab_size": 32128}
GATED = {"feed_forward_proj": "gated-gelu"}
LLAMA_8B = {
    "vocab_size": 128320,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_L_SIGHT = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
    "projection_dim": 768,
}
CLIP_H = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
}
SIGLIP = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
QWEN_7B = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
BYT5_SMALL = {"vocab_size": 1510, "d_model": 1472, "d_kv": 64, "d_ff": 3584, "num_layers": 12, "num_heads": 6}
GEMMA_3_12B = {
    "text_config": {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "vocab_size": 262208,
    },
    "vision_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    },
}
LTX_VAE_091 = {
    "decoder_block_out_channels": (256, 512, 1024),
    "decoder_layers_per_block": (5, 6, 7, 8),
    "decoder_spatio_temporal_scaling": (True, True, True),
    "decoder_inject_noise": (True, True, True, False),
    "upsample_residual": (True, True, True),
    "upsample_factor": (2, 2, 2),
    "timestep_conditioning": True,
}
LTX_VAE_095 = {
    **LTX_VAE_091,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
    "block_out_channels": (128, 256, 512, 1024, 2048),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
    "layers_per_block": (4, 6, 6, 2, 2),
    "spatio_temporal_scaling": (True, True, True, True),
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "decoder_layers_per_block": (5, 5, 5, 5),
    "decoder_inject_noise": (False, False, False, False),
}
LTX2_VAE_23 = {
    "block_out_channels": (256, 512, 1024, 1024),
    "decoder_block_out_channels": (256, 512, 512, 1024),
    "layers_per_block": (4, 6, 4, 2, 2),
    "decoder_layers_per_block": (4, 6, 4, 2, 2),
    "decoder_spatio_temporal_scaling": (True,) * 4,
    "decoder_inject_noise": (False,) * 5,
    "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
    "upsample_residual": (False,) * 4,
    "upsample_factor": (2, 2, 1, 2),
}
GATES = {"gated_attn": True, "cross_attn_mod": True, "audio_gated_attn": True, "audio_cross_attn_mod": True}
LTX2_CONNECTORS_23 = {
    "video_connector_num_attention_heads": 32,
    "video_connector_num_layers": 8,
    "video_gated_attn": True,
    "audio_connector_num_attention_heads": 32,
    "audio_connector_attention_head_dim": 64,
    "audio_connector_num_layers": 8,
    "audio_gated_attn": True,
    "per_modality_projections": True,
    "proj_bias": True,
}
WAN_SEEING = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}
WAN_22_VAE = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
}
COG_5B = {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
COG_15 = {**COG_5B, "patch_size_t": 2, "patch_bias": False, "sample_width": 170, "sample_height": 96}

ARGUMENTS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("ltx-video-*", "text_encoder", {**T5_XXL, **GATED}),
    ("ltx-video-13b-*", "transformer", {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096}),
    ("ltx-video-*-0.9.1", "vae", LTX_VAE_091),
    ("ltx-video-*-0.9.[5-9]*", "vae", LTX_VAE_095),
    ("ltx-2*", "text_encoder", GEMMA_3_12B),
    ("ltx-2*", "transformer", {"rope_type": "split"}),
    ("ltx-2.[35]*", "transformer", {**GATES, "use_prompt_embeddings": False, "perturbed_attn": True}),
    ("ltx-2.5*", "transformer", {"ff_bias": False, "use_keyframes_abs_pos_embedding": True}),
    ("ltx-2*", "vae", {"spatial_compression_ratio": 32, "temporal_compression_ratio": 8}),
    ("ltx-2.[35]*", "vae", LTX2_VAE_23),
    ("ltx-2.3*", "connectors", LTX2_CONNECTORS_23),
    ("hunyuan-video", "text_encoder", LLAMA_8B),
    ("hunyuan-video", "text_encoder_2", CLIP_L),
    ("hunyuan-video-i2v*", "text_encoder_2", CLIP_L),
    (
        "hunyuan-video-i2v*",
        "text_encoder",
        {"text_config": {"model_type": "llama", **LLAMA_8B}, "vision_config": CLIP_L_SIGHT},
    ),
    ("hunyuan-video-i2v", "transformer", {"image_condition_type": "token_replace"}),
    (
        "hunyuan-video-i2v-33ch",
        "transformer",
        {"in_channels": 33, "image_condition_type": "latent_concat", "guidance_embeds": False},
    ),
    ("framepack*", "transformer", {"has_image_proj": True, "has_clean_x_embedder": True}),
    ("framepack*", "text_encoder", LLAMA_8B),
    ("framepack*", "text_encoder_2", CLIP_L),
    ("framepack*", "image_encoder", SIGLIP),
    ("hunyuan-video-1.5-*", "text_encoder", QWEN_7B),
    ("hunyuan-video-1.5-*", "text_encoder_2", {**BYT5_SMALL, **GATED}),
    ("hunyuan-video-1.5-*", "image_encoder", SIGLIP),
    ("hunyuan-video-1.5-*-step-distilled", "transformer", {"use_meanflow": True}),
    ("wan-*", "text_encoder", {**T5_XXL, "vocab_size": 256384, **GATED}),
    ("wan-*", "image_encoder", CLIP_H),
    (
        "wan-2.1-t2v-1.3b",
        "transformer",
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    ),
    ("wan-2.1-i2v-*", "transformer", WAN_SEEING),
    ("wan-2.1-flf2v-*", "transformer", {**WAN_SEEING, "pos_embed_seq_len": 2 * 257}),
    (
        "wan-2.2-ti2v-5b",
        "transformer",
        {"in_channels": 48, "out_channels": 48, "num_attention_heads": 24, "ffn_dim": 14336, "num_layers": 30},
    ),
    ("wan-2.2-ti2v-5b", "vae", WAN_22_VAE),
    ("wan-2.2-i2v-a14b", "transformer*", {"in_channels": 36}),
    ("cogvideox-*", "text_encoder", {**T5_XXL, **GATED}),
    ("cogvideox-5b*", "transformer", COG_5B),
    ("cogvideox-5b-i2v", "transformer", {"in_channels": 32, "use_learned_positional_embeddings": True}),
    ("cogvideox-1.5-*", "transformer", COG_15),
    ("cogvideox-1.5-5b-i2v", "transformer", {"in_channels": 32, "ofs_embed_dim": 512}),
    ("mochi-1", "text_encoder", {**T5_XXL, **GATED}),
)
"""Of which cards, which component, and what its configuration says beside the defaults of its class.

What comes later counts more.
"""


def of(card: ModelCard) -> dict[str, dict[str, Any]]:
    """What the configuration of each component of a card of ours says beside its class's own defaults."""
    return {part.name: _arguments(card.name, part.name) for part in card.components}


def _arguments(name: str, component: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for names, components, words in ARGUMENTS:
        if fnmatch(name, names) and fnmatch(component, components):
            found |= words
    return found
