"""The names that HunyuanVideo-1.5's makers have for its weights, as those of Diffusers, which reads no others.

As its own script of conversion has it: scripts/convert_hunyuan_video1_5_to_diffusers.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

BEGINS = (
    ("time_in.mlp.0.", "time_embed.timestep_embedder.linear_1."),
    ("time_in.mlp.2.", "time_embed.timestep_embedder.linear_2."),
    ("time_r_in.mlp.0.", "time_embed.timestep_embedder_r.linear_1."),
    ("time_r_in.mlp.2.", "time_embed.timestep_embedder_r.linear_2."),
    ("txt_in.t_embedder.mlp.0.", "context_embedder.time_text_embed.timestep_embedder.linear_1."),
    ("txt_in.t_embedder.mlp.2.", "context_embedder.time_text_embed.timestep_embedder.linear_2."),
    ("txt_in.c_embedder.", "context_embedder.time_text_embed.text_embedder."),
    ("txt_in.input_embedder.", "context_embedder.proj_in."),
    ("txt_in.individual_token_refiner.blocks.", "context_embedder.token_refiner.refiner_blocks."),
    ("byt5_in.layernorm.", "context_embedder_2.norm."),
    ("byt5_in.fc", "context_embedder_2.linear_"),
    ("vision_in.proj.0.", "image_embedder.norm_in."),
    ("vision_in.proj.1.", "image_embedder.linear_1."),
    ("vision_in.proj.3.", "image_embedder.linear_2."),
    ("vision_in.proj.4.", "image_embedder.norm_out."),
    ("img_in.", "x_embedder."),
    ("cond_type_embedding.", "cond_type_embed."),
    ("final_layer.adaLN_modulation.1.", "norm_out.linear."),
    ("final_layer.linear.", "proj_out."),
    ("double_blocks.", "transformer_blocks."),
)
"""How names begin."""

WITHIN = (
    (".img_mod.", ".norm1."),
    (".txt_mod.", ".norm1_context."),
    (".img_attn_q_norm.", ".attn.norm_q."),
    (".img_attn_k_norm.", ".attn.norm_k."),
    (".img_attn_proj.", ".attn.to_out.0."),
    (".img_attn_", ".attn.to_"),
    (".txt_attn_q_norm.", ".attn.norm_added_q."),
    (".txt_attn_k_norm.", ".attn.norm_added_k."),
    (".txt_attn_proj.", ".attn.to_add_out."),
    *((f".txt_attn_{one}.", f".attn.add_{one}_proj.") for one in "qkv"),
    (".img_mlp.", ".ff."),
    (".txt_mlp.", ".ff_context."),
    (".self_attn_proj.", ".attn.to_out.0."),
    (".mlp.", ".ff."),
    (".adaLN_modulation.1.", ".norm_out.linear."),
    (".fc1.", ".net.0.proj."),
    (".fc2.", ".net.2."),
)
"""What is within them, in a block."""

TOGETHER = ".self_attn_qkv."
"""Three weights in one."""

SWAPPED = "final_layer.adaLN_modulation"
"""Where the makers have shift before scale."""


def renamed(checkpoint: Mapping[str, Any], **_: Any) -> dict[str, Any]:
    """The tensors by the names of Diffusers, and cut as it has them."""
    return {key: tensor for name, whole in checkpoint.items() for key, tensor in _parts(name, whole)}


def _parts(name: str, tensor: Any) -> Iterator[tuple[str, Any]]:
    if TOGETHER in name:
        for one, part in zip("qkv", tensor.chunk(3, dim=0), strict=True):
            yield _name(name.replace(TOGETHER, f".attn.to_{one}.")), part
    elif name.startswith(SWAPPED):
        shift, scale = tensor.chunk(2, dim=0)
        yield _name(name), torch.cat([scale, shift], dim=0)
    else:
        yield _name(name), tensor


def _name(name: str) -> str:
    for own, known in BEGINS:
        if name.startswith(own):
            name = known + name.removeprefix(own)
            break
    if "blocks." not in name:
        return name
    for own, known in WITHIN:
        name = name.replace(own, known)
    return name
