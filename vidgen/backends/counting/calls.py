"""What each transformer is called with at a canvas, in the shapes of its pipeline; on the meta device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch

from vidgen.backends.counting.blueprint import Blueprint
from vidgen.core.card import ModelCard
from vidgen.core.plan import Canvas

HALF = torch.bfloat16
SEEN = 729
"""Tokens of a picture seen by SigLIP, of so many patches."""
LOOKED_AT = 257
"""Tokens of a picture seen by CLIP."""
QUOTED = 256
"""Bytes of quoted text that HunyuanVideo-1.5 reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a request says beside its canvas: whether it has pictures, and how many stand beside the latents.

    `prompt` is its tokens, 0 for as many as it may have; `quoted` its bytes between quotation marks; `fps` 0 is the
    card's own.
    """

    pictured: bool = False
    beside: int = 0
    prompt: int = 0
    quoted: int = 0
    fps: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A canvas in latents, the tokens of its text, and whether a picture is set in motion.

    `spread`: each token of the picture has a timestep of its own, as pictures among the latents have; `timed`: so it is
    without pictures too. `padded`: what there is none of is there as padding.
    """

    frames: int
    height: int
    width: int
    text: int
    quoted: int
    pictured: bool
    spread: bool
    timed: bool
    padded: bool
    seconds: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the latents."""
        return self.frames, self.height, self.width


@dataclass(frozen=True, kw_only=True, slots=True)
class Compression:
    """Frames and pixels of a latent."""

    time: int
    space: int


COMPRESSION: Mapping[str, Compression] = {
    "hunyuan": Compression(time=4, space=8),
    "framepack": Compression(time=4, space=8),
    "hunyuan15": Compression(time=4, space=16),
    "ltx": Compression(time=8, space=32),
    "ltx2": Compression(time=8, space=32),
    "wan": Compression(time=4, space=8),
    "cogvideox": Compression(time=4, space=8),
    "mochi": Compression(time=6, space=8),
}
"""Every family that is counted."""


def compression(plan: Blueprint) -> Compression:
    """How the VAE of `plan` compresses: LTX-Video's says it itself, and small ones say otherwise than the released."""
    if plan.card.family != "ltx":
        usual = COMPRESSION[plan.card.family]
        return replace(usual, space=16) if plan.card.settings.get("expand_timesteps") else usual
    vae = plan.full("vae")
    return Compression(time=vae.temporal_compression_ratio, space=vae.spatial_compression_ratio)


def scene(plan: Blueprint, canvas: Canvas, asked: Asked, *, padded: bool = False) -> Scene:
    """`canvas` as the transformer of `plan` sees it."""
    card, pressed = plan.card, compression(plan)
    return Scene(
        frames=(canvas.frames - 1) // pressed.time + 1 + asked.beside,
        height=canvas.height // pressed.space,
        width=canvas.width // pressed.space,
        text=asked.prompt or card.tokens,
        quoted=QUOTED if padded else asked.quoted,
        pictured=asked.pictured,
        spread=asked.pictured or "overlap" in card.settings,
        timed=bool(card.settings.get("expand_timesteps")),
        padded=padded,
        seconds=canvas.frames / (asked.fps or float(str(card.defaults["fps"]))),
    )


def at_once(card: ModelCard, canvas: Canvas) -> Canvas:
    """What of `canvas` the transformer of `card` sees, where windows slide along it: one, the overlap and a picture."""
    if "overlap" not in card.settings:
        return canvas
    seen = sum(int(str(card.settings[name])) for name in ("window", "overlap")) + 1
    return replace(canvas, frames=min(canvas.frames, seen))


Words: TypeAlias = dict[str, Any]


def call(model: Any, scene: Scene) -> Words:
    """The words of one call of `model`, whose configuration says how many channels each has."""
    return CALLS[type(model).__name__](model.config, scene)


def empty(*shape: int, dtype: torch.dtype = HALF) -> torch.Tensor:
    """A tensor without numbers."""
    return torch.empty(*shape, dtype=dtype, device="meta")


def _moment() -> torch.Tensor:
    return empty(1, dtype=torch.float32)


def _read(scene: Scene, width: int) -> Words:
    return {
        "encoder_hidden_states": empty(1, scene.text, width),
        "encoder_attention_mask": torch.ones(1, scene.text, dtype=torch.int64, device="meta"),
    }


def _hunyuan(config: Any, scene: Scene) -> Words:
    """With a picture the encoder's view of it stands before the text: 576 patches, of which every so many is read."""
    interleave = {"token_replace": 4, "latent_concat": 2}.get(config.image_condition_type)
    lead = config.image_condition_type == "latent_concat"
    seen = {**_read(scene, config.text_embed_dim)}
    if interleave:
        text = scene.text + 576 // interleave
        seen = {
            "encoder_hidden_states": empty(1, text, config.text_embed_dim),
            "encoder_attention_mask": torch.ones(1, text, dtype=torch.int64, device="meta"),
        }
    return {
        "hidden_states": empty(1, config.in_channels, scene.frames + lead, scene.height, scene.width),
        "timestep": _moment(),
        "pooled_projections": empty(1, config.pooled_projection_dim),
        "guidance": _moment() if config.guidance_embeds else None,
        **seen,
    }


def _framepack(config: Any, scene: Scene) -> Words:
    """One section of nine latents, and what it sees of the others ever smaller, as FramePack is released."""
    channels, sides = config.in_channels, (scene.height, scene.width)
    before = {"latents_clean": 2, "latents_history_2x": 2, "latents_history_4x": 16}
    return {
        "hidden_states": empty(1, channels, 9, *sides),
        "timestep": _moment(),
        "pooled_projections": empty(1, config.pooled_projection_dim),
        "guidance": _moment(),
        "image_embeds": empty(1, SEEN, config.image_proj_dim),
        "indices_latents": torch.arange(9),
        **{name: empty(1, channels, count, *sides) for name, count in before.items()},
        **{f"indices_{name}": torch.arange(count) for name, count in before.items()},
        **_read(scene, config.text_embed_dim),
    }


def _hunyuan15(config: Any, scene: Scene) -> Words:
    """Where nothing is quoted the second encoder has nothing to say; without a picture nothing is seen."""
    seen, quoted = SEEN if scene.pictured or scene.padded else 0, scene.quoted
    return {
        "hidden_states": empty(1, config.in_channels, *scene.shape),
        "timestep": empty(1),
        "timestep_r": empty(1) if config.use_meanflow else None,
        "image_embeds": empty(1, seen, config.image_embed_dim),
        "encoder_hidden_states_2": empty(1, quoted, config.text_embed_2_dim),
        "encoder_attention_mask_2": empty(1, quoted, dtype=torch.int64),
        **_read(scene, config.text_embed_dim),
    }


def _ltx(config: Any, scene: Scene) -> Words:
    tokens = scene.frames * scene.height * scene.width
    return {
        "hidden_states": empty(1, tokens, config.in_channels),
        "timestep": empty(1, tokens if scene.spread else 1, dtype=torch.float32),
        "video_coords": empty(1, 3, tokens, dtype=torch.float32),
        **_read(scene, config.caption_channels),
    }


def _ltx2(config: Any, scene: Scene) -> Words:
    """With sound as long as the clip, in latents of which a second has 25."""
    tokens, heard = scene.frames * scene.height * scene.width, round(25 * scene.seconds)
    wide = config.use_prompt_embeddings
    picture = config.caption_channels if wide else config.num_attention_heads * config.attention_head_dim
    sound = config.caption_channels if wide else config.audio_num_attention_heads * config.audio_attention_head_dim
    read = _read(scene, picture)
    return {
        "hidden_states": empty(1, tokens, config.in_channels),
        "audio_hidden_states": empty(1, heard, config.audio_in_channels),
        "timestep": empty(1, tokens, dtype=torch.float32) if scene.spread else _moment(),
        "audio_timestep": _moment(),
        "sigma": _moment(),
        "audio_encoder_hidden_states": empty(1, scene.text, sound),
        "audio_encoder_attention_mask": read["encoder_attention_mask"],
        "num_frames": scene.frames,
        "height": scene.height,
        "width": scene.width,
        "audio_num_frames": heard,
        **read,
    }


def _wan(config: Any, scene: Scene) -> Words:
    """Wan 2.2 5B has a timestep for each token; Wan 2.1 sees one or two pictures."""
    tokens = scene.frames * scene.height * scene.width // 4
    pictures = 2 if config.pos_embed_seq_len else 1
    seen = (config.pos_embed_seq_len or 0) // 2 or LOOKED_AT
    return {
        "hidden_states": empty(1, config.in_channels, *scene.shape),
        "timestep": empty(1, tokens, dtype=torch.float32) if scene.timed else _moment(),
        "encoder_hidden_states": empty(1, scene.text, config.text_dim),
        "encoder_hidden_states_image": empty(pictures, seen, config.image_dim) if config.image_dim else None,
    }


def _cogvideox(config: Any, scene: Scene) -> Words:
    """1.5 takes two latents at a time, and fills the last pair."""
    patch = config.patch_size_t or 1
    frames = -(-scene.frames // patch) * patch
    tokens = frames // patch * scene.height * scene.width // 4
    turns = empty(tokens, config.attention_head_dim, dtype=torch.float32)
    return {
        "hidden_states": empty(1, frames, config.in_channels, scene.height, scene.width),
        "timestep": _moment(),
        "encoder_hidden_states": empty(1, scene.text, config.text_embed_dim),
        "image_rotary_emb": (turns, turns) if config.use_rotary_positional_embeddings else None,
        **({"ofs": _moment()} if config.ofs_embed_dim else {}),
    }


def _mochi(config: Any, scene: Scene) -> Words:
    return {
        "hidden_states": empty(1, config.in_channels, *scene.shape),
        "timestep": _moment(),
        **_read(scene, config.text_embed_dim),
    }


CALLS: Mapping[str, Callable[[Any, Scene], Words]] = {
    "CogVideoXTransformer3DModel": _cogvideox,
    "HunyuanVideo15Transformer3DModel": _hunyuan15,
    "HunyuanVideoFramepackTransformer3DModel": _framepack,
    "HunyuanVideoTransformer3DModel": _hunyuan,
    "LTX2VideoTransformer3DModel": _ltx2,
    "LTXVideoTransformer3DModel": _ltx,
    "MochiTransformer3DModel": _mochi,
    "WanTransformer3DModel": _wan,
}
