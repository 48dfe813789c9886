"""The parameter counts on the cards: exact, counted on full-size models that hold no memory."""

from pathlib import Path
from typing import Any

import pytest

from vidgen.catalog import cards

VAE_CONFIGS: dict[str, dict[str, Any]] = {
    "0.9.0": {},
    "0.9.1": {
        "decoder_block_out_channels": (256, 512, 1024),
        "decoder_layers_per_block": (5, 6, 7, 8),
        "decoder_spatio_temporal_scaling": (True, True, True),
        "decoder_inject_noise": (True, True, True, False),
        "upsample_residual": (True, True, True),
        "upsample_factor": (2, 2, 2),
        "timestep_conditioning": True,
    },
    "0.9.5": {
        "block_out_channels": (128, 256, 512, 1024, 2048),
        "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
        "layers_per_block": (4, 6, 6, 2, 2),
        "spatio_temporal_scaling": (True, True, True, True),
        "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
        "decoder_block_out_channels": (256, 512, 1024),
        "decoder_layers_per_block": (5, 5, 5, 5),
        "decoder_spatio_temporal_scaling": (True, True, True),
        "decoder_inject_noise": (False, False, False, False),
        "upsample_residual": (True, True, True),
        "upsample_factor": (2, 2, 2),
        "timestep_conditioning": True,
    },
}
TRANSFORMER_CONFIGS: dict[str, dict[str, Any]] = {
    "2b": {},
    "13b": {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096},
}
T5_XXL = {"d_model": 4096, "num_layers": 24, "num_heads": 64, "d_kv": 64, "d_ff": 10240, "vocab_size": 32128}

CARDS = sorted(path.stem for path in cards.OWN.glob("ltx-video-*.toml"))


WAN_CONFIGS: dict[str, dict[str, Any]] = {
    "wan-2.1-t2v-1.3b": {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "wan-2.1-t2v-14b": {},
    "wan-2.1-i2v-14b-480p": {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120},
    "wan-2.1-i2v-14b-720p": {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120},
    "wan-2.1-flf2v-14b-720p": {
        "in_channels": 36,
        "image_dim": 1280,
        "added_kv_proj_dim": 5120,
        "pos_embed_seq_len": 2 * 257,
    },
    "wan-2.2-ti2v-5b": {
        "in_channels": 48,
        "out_channels": 48,
        "num_attention_heads": 24,
        "ffn_dim": 14336,
        "num_layers": 30,
    },
    "wan-2.2-t2v-a14b": {},
    "wan-2.2-i2v-a14b": {"in_channels": 36},
}
WAN_VAES: dict[str, dict[str, Any]] = {
    "wan-2.2-ti2v-5b": {
        "base_dim": 160,
        "decoder_base_dim": 256,
        "z_dim": 48,
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
    },
}
UMT5_XXL = {**T5_XXL, "vocab_size": 256384}
CLIP_H = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
}
COG_5B = {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
COG_CONFIGS: dict[str, dict[str, Any]] = {
    "cogvideox-2b": {},
    "cogvideox-5b": COG_5B,
    "cogvideox-5b-i2v": {**COG_5B, "in_channels": 32, "use_learned_positional_embeddings": True},
    "cogvideox-1.5-5b": {**COG_5B, "patch_size_t": 2, "patch_bias": False},
    "cogvideox-1.5-5b-i2v": {**COG_5B, "in_channels": 32, "patch_size_t": 2, "patch_bias": False, "ofs_embed_dim": 512},
}


def counted(model: Any) -> tuple[int, float]:
    """Its parameters, and the share of them that quantization shrinks."""
    from vidgen.backends.quantize import in_blocks

    every = sum(parameter.numel() for parameter in model.parameters())
    blocks = sum(module.weight.numel() for name, module in model.named_modules() if in_blocks(module, name))
    return every, round(blocks / every, 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_a_card_counts_every_parameter(name: str) -> None:
    import torch
    from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
    from diffusers.pipelines.ltx.modeling_latent_upsampler import LTXLatentUpsamplerModel
    from transformers import T5Config, T5EncoderModel

    _, _, size, version, *_ = name.split("-")
    with torch.device("meta"):
        found = {
            "transformer": counted(LTXVideoTransformer3DModel(**TRANSFORMER_CONFIGS[size])),
            "vae": (counted(AutoencoderKLLTXVideo(**VAE_CONFIGS[min(version, "0.9.5")]))[0], 0.0),
            "text_encoder": counted(T5EncoderModel(T5Config(**T5_XXL, feed_forward_proj="gated-gelu"))),
            "latent_upsampler": (counted(LTXLatentUpsamplerModel())[0], 0.0),
        }
    if not name.endswith("-x2"):
        del found["latent_upsampler"]
    assert found == on_card(name)


def on_card(name: str) -> dict[str, tuple[int, float]]:
    """What a card says of each component that has weights."""
    return {part.name: (part.parameters, part.blocks) for part in cards.card(name).components if part.parameters}


@pytest.mark.slow
@pytest.mark.parametrize("name", WAN_CONFIGS)
def test_a_card_of_wan_counts_every_parameter(name: str) -> None:
    import torch
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        transformer = counted(WanTransformer3DModel(**WAN_CONFIGS[name]))
        found = {
            "transformer": transformer,
            "transformer_2": transformer,
            "vae": (counted(AutoencoderKLWan(**WAN_VAES.get(name, {})))[0], 0.0),
            "text_encoder": counted(UMT5EncoderModel(UMT5Config(**UMT5_XXL, feed_forward_proj="gated-gelu"))),
            "image_encoder": (counted(CLIPVisionModel(CLIPVisionConfig(**CLIP_H)))[0], 0.0),
        }
    said = on_card(name)
    assert said == {part: found[part] for part in said}
    weightless = {part.name for part in cards.card(name).components} - said.keys()
    assert weightless <= {"tokenizer", "scheduler", "image_processor"}


@pytest.mark.slow
@pytest.mark.parametrize("name", COG_CONFIGS)
def test_a_card_of_cogvideox_counts_every_parameter(name: str) -> None:
    import torch
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    with torch.device("meta"):
        found = {
            "transformer": counted(CogVideoXTransformer3DModel(**COG_CONFIGS[name])),
            "vae": (counted(AutoencoderKLCogVideoX())[0], 0.0),
            "text_encoder": counted(T5EncoderModel(T5Config(**T5_XXL, feed_forward_proj="gated-gelu"))),
        }
    assert on_card(name) == found


LTX2_CARDS = sorted(path.stem for path in cards.OWN.glob("ltx-2*.toml"))
"""Their configurations are the defaults of their classes, but for what the conversion of a release says."""

LTX2_VAE: dict[str, dict[str, Any]] = {
    "2": {},
    "2.3": {
        "block_out_channels": (256, 512, 1024, 1024),
        "decoder_block_out_channels": (256, 512, 512, 1024),
        "layers_per_block": (4, 6, 4, 2, 2),
        "decoder_layers_per_block": (4, 6, 4, 2, 2),
        "decoder_spatio_temporal_scaling": (True,) * 4,
        "decoder_inject_noise": (False,) * 5,
        "upsample_type": ("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
        "upsample_residual": (False,) * 4,
        "upsample_factor": (2, 2, 1, 2),
    },
}
LTX2_VAE["2.5"] = LTX2_VAE["2.3"]
GATES = {"gated_attn": True, "cross_attn_mod": True, "audio_gated_attn": True, "audio_cross_attn_mod": True}
LTX2_TRANSFORMER: dict[str, dict[str, Any]] = {
    "2": {},
    "2.3": {**GATES, "use_prompt_embeddings": False, "perturbed_attn": True},
    "2.5": {
        **GATES,
        "use_prompt_embeddings": False,
        "perturbed_attn": True,
        "ff_bias": False,
        "use_keyframes_abs_pos_embedding": True,
    },
}
LTX2_CONNECTORS: dict[str, dict[str, Any]] = {
    "2": {},
    "2.3": {
        "video_connector_num_attention_heads": 32,
        "video_connector_num_layers": 8,
        "video_gated_attn": True,
        "audio_connector_num_attention_heads": 32,
        "audio_connector_attention_head_dim": 64,
        "audio_connector_num_layers": 8,
        "audio_gated_attn": True,
        "per_modality_projections": True,
        "proj_bias": True,
    },
}
"""Of LTX-2.5, whose text encoder is another, only the weights say what it and they are."""
GEMMA_3_12B: dict[str, dict[str, Any]] = {
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


@pytest.mark.slow
@pytest.mark.parametrize("name", LTX2_CARDS)
def test_a_card_of_ltx2_counts_every_parameter(name: str) -> None:
    import torch
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel
    from diffusers.pipelines.ltx2 import vocoder
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    card, release = cards.card(name), name.split("-")[1]
    known = release in LTX2_CONNECTORS
    with torch.device("meta"):
        found = {"transformer": counted(LTX2VideoTransformer3DModel(**LTX2_TRANSFORMER[release]))}
        if known:
            found["text_encoder"] = counted(Gemma3ForConditionalGeneration(Gemma3Config(**GEMMA_3_12B)))
        others = {
            "vae": AutoencoderKLLTX2Video(**LTX2_VAE[release]),
            "audio_vae": AutoencoderKLLTX2Audio(),
            "vocoder": getattr(vocoder, card.component("vocoder").kind)(),
        }
        if known:
            others["connectors"] = LTX2TextConnectors(**LTX2_CONNECTORS[release])
        if any(part.name == "latent_upsampler" for part in card.components):
            others["latent_upsampler"] = LTX2LatentUpsamplerModel()
    found |= {part: (counted(model)[0], 0.0) for part, model in others.items()}
    assert found == {part.name: (part.parameters, part.blocks) for part in card.components if part.parameters}
    unsaid = set() if known else {"text_encoder", "connectors", "duration_head"}
    uncounted = {part.name for part in card.components if not (part.parameters or part.file)}
    assert uncounted == {"tokenizer", "scheduler"} | unsaid


@pytest.mark.parametrize("name", CARDS)
def test_a_card_of_the_hub_names_a_repository_and_leaves_no_weight_uncounted(name: str) -> None:
    card = cards.card(name)
    weightless = {part.name for part in card.components if not part.parameters}
    assert card.repository.startswith("Lightricks/")
    assert weightless == {"tokenizer", "scheduler"}


def test_the_built_in_model_is_weighed_by_its_files() -> None:
    assert cards.card("pocket").folder == Path(cards.__file__).parent.parent / "pocket"
    assert not any(part.parameters for part in cards.card("pocket").components)
