"""How LTX-2 is sampled, from its card: a guidance of each kind for the picture and for the sound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import torch

from vidgen.backends import stages
from vidgen.backends.port import Tensors
from vidgen.backends.stages import Stage
from vidgen.core.card import ModelCard
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job

CONNECTED = ("prompt_embeds", "audio_prompt_embeds", "prompt_mask")
"""What the connectors give, in its order."""

STATISTICS = ("latents_mean", "latents_std")
"""Of a VAE's latents, for each channel."""

PIXELS = 32
"""The pipelines refuse sides that are not multiples of this, whatever the VAE."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The `[settings]` of an LTX-2 card. Its guidance counts for a guided request; else all of it is off.

    `stg`: spatio-temporal guidance, away from a pass whose `stg_blocks` do not attend. `modality`: away from a pass in
    which picture and sound know nothing of each other; 1 is none. `cross_timestep`: each is told the other's noise, as
    from LTX-2.3 on.
    """

    cross_timestep: bool
    audio_guidance_scale: float = 1.0
    audio_guidance_rescale: float = 0.0
    stg_scale: float = 0.0
    audio_stg_scale: float = 0.0
    stg_blocks: Sequence[int] = ()
    modality_scale: float = 1.0
    audio_modality_scale: float = 1.0

    @property
    def perturbs(self) -> bool:
        """Whether a pass of perturbed blocks belongs to the guidance."""
        return self.stg_scale > 0 or self.audio_stg_scale > 0


class Connected:
    """Stands in a pipeline for the connectors, where their work is done: whatever it is given, it gives that.

    `own`: the transformer is about to wear the model's own LoRA, which is for the connectors too. Its makers wear it
    when the prompt has been connected long since, and so does this.
    """

    def __init__(self, conditioning: Tensors, *, own: bool = False) -> None:
        self._given = tuple(conditioning[name] for name in CONNECTED)
        self._own = own

    def __call__(self, *_: Any, **__: Any) -> tuple[torch.Tensor, ...]:
        """What the connectors gave."""
        return self._given

    def of(self, stage: Stage) -> "Connected":
        """What a stage reads of it: without guidance the prompt alone, and not the negative one before it."""
        own, first = bool(stage.refine and stage.refine.lora), 0 if stage.scale > 1 else -1
        given = {name: tensor[first:] for name, tensor in zip(CONNECTED, self._given, strict=True)}
        return Connected(given, own=own)

    def load_lora_adapter(self, *_: Any, **__: Any) -> None:
        """Refused, unless it is the model's own: a prompt is connected once, whatever LoRAs its clips wear."""
        if not self._own:
            raise ValueError("it changes the text connectors too, which is not supported")


class Bare:
    """Stands in a pipeline for a VAE that encodes nothing: how it compresses, and its statistics."""

    def __init__(self, vae: Any, statistics: Tensors) -> None:
        self.config = vae.config
        self.spatial_compression_ratio = vae.spatial_compression_ratio
        self.temporal_compression_ratio = vae.temporal_compression_ratio
        self.latents_mean, self.latents_std = (statistics[name] for name in STATISTICS)
        self.dtype = self.latents_mean.dtype


def settings(card: ModelCard) -> Settings:
    """The settings of `card`; WeightsRefused (exit 4) for those that Diffusers would not follow, and not say so."""
    try:
        found = Settings(**card.settings)  # type: ignore[arg-type]
    except TypeError as error:
        raise _wrong(card, f"has settings that family {card.family} does not read: {error}") from error
    pairs = (
        ("stg_scale", found.stg_scale, found.audio_stg_scale),
        ("modality_scale", found.modality_scale, found.audio_modality_scale),
        ("guidance_rescale", card.schedule.guidance_rescale, found.audio_guidance_rescale),
    )
    for name, picture, sound in pairs:
        if picture and not sound:  # Diffusers takes a nought for nothing said
            raise _wrong(card, f"has audio_{name} = 0, which Diffusers takes for the {name} of {picture:g}")
    return found


def refuse_blocks(card: ModelCard, transformer: Any) -> None:
    """Refuse (exit 4) a guidance by perturbed blocks that a `transformer` of that configuration does not have."""
    blocks = settings(card).stg_blocks
    if not transformer.perturbed_attn:
        raise _wrong(card, "perturbs blocks, and its transformer cannot: a pass for nothing")
    if not blocks or max(blocks) >= transformer.num_layers:
        raise _wrong(card, f"perturbs blocks {list(blocks)} of a transformer of {transformer.num_layers}")


def refuse_size(job: Job, vae: Any) -> None:
    """Refuse a canvas off the grid of `vae` (exit 4), and one that it would draw and could not decode (exit 2)."""
    canvas, frames = job.canvas, vae.temporal_compression_ratio
    size = lcm(vae.spatial_compression_ratio, PIXELS) * len(stages.every(job))
    if canvas.width % size or canvas.height % size or (canvas.frames - 1) % frames:
        raise WeightsRefused(
            f"the canvas {canvas.width}x{canvas.height}, {canvas.frames} frames, is off the grid of these weights: "
            f"sides in multiples of {size}, frames {frames}k+1",
            f"correct the grid in the card of {job.card.name}",
        )
    least = 2 * vae.spatial_compression_ratio if vae.config.decoder_spatial_padding_mode == "reflect" else 0
    if min(canvas.width, canvas.height) < least:
        raise UsageRefused(
            f"{job.card.name} cannot decode sides of {min(canvas.width, canvas.height)} pixels",
            f"ask for sides of more than {least - vae.spatial_compression_ratio}",
        )


def arguments(job: Job, stage: Stage, begun: Tensors) -> dict[str, Any]:
    """What all pipelines take, but for prompts and the callback; `begun`: the latents of an earlier stage.

    Everything is said: Diffusers' defaults move between versions.
    """
    return {
        "prompt": None,
        "negative_prompt": None,
        "height": stage.height,
        "width": stage.width,
        "num_frames": job.canvas.frames,
        "min_seconds": 1.0,
        "max_seconds": 20.0,
        "frame_rate": float(job.request.fps),
        "motion_speed": 1.0,
        "num_inference_steps": stage.steps,
        "sigmas": stage.sigmas or None,
        "timesteps": None,
        **_guidance(job, stage),
        "noise_scale": stage.sigmas[0] if stage.sigmas else 1.0,
        "num_videos_per_prompt": 1,
        "latents": begun.get("latents"),
        "audio_latents": begun.get("audio_latents"),
        "decode_timestep": job.card.schedule.decode_timestep,
        "decode_noise_scale": job.card.schedule.decode_noise_scale,
        "system_prompt": None,
        "enable_prompt_enhancement": False,
        "prompt_max_new_tokens": None,
        "prompt_enhancement_kwargs": None,
        "prompt_enhancement_seed": 10,
        "output_type": "latent",
        "return_dict": False,
        "attention_kwargs": None,
        "max_sequence_length": job.card.tokens,
    }


def unread(stage: Stage, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """Prompts of one number each, where the connectors' work is done: only their number and dtype are looked at."""
    nothing, mask = torch.zeros(1, 1, 1, device=device, dtype=dtype), torch.ones(1, 1, device=device, dtype=torch.int64)
    guided = stage.scale > 1
    return {
        "prompt_embeds": nothing,
        "prompt_attention_mask": mask,
        "negative_prompt_embeds": nothing if guided else None,
        "negative_prompt_attention_mask": mask if guided else None,
    }


DOUBLING: Mapping[str, Any] = {"spatial_patch_size": 1, "temporal_patch_size": 1, "latents_normalized": True}
"""What the pipeline that doubles the sides takes beside the rest, for the normalised latents of a first stage."""


def following(job: Job, stage: Stage, scheduler: Any) -> Any:
    """The scheduler, made to follow the card's own sigmas to the letter; refused (exit 4) when another model's."""
    if stage.timesteps:
        return type(scheduler).from_config(scheduler.config, use_dynamic_shifting=False, shift=1.0, shift_terminal=None)
    if not scheduler.config.use_dynamic_shifting and not job.card.schedule.timesteps:
        raise WeightsRefused(
            f"the scheduler of {job.card.name} shifts nothing: these are the weights of a distilled model",
            "put the card of a distilled model into their folder, as card.toml",
        )
    if scheduler.config.shift_terminal and job.request.steps < 2:  # it would be stretched between one and one
        raise UsageRefused(f"{job.card.name} cannot be drawn in one step", "ask for two or more: --steps 30")
    return scheduler


def video(pipe: Any, job: Job, stage: Stage, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens (1, tokens, channels) as a video (1, channels, frames, height, width), without those of keyframes."""
    frames, height, width = _latent(pipe, job, stage)
    drawn: torch.Tensor = pipe._unpack_latents(
        tokens[:, : frames * height * width],
        frames,
        height,
        width,
        pipe.transformer_spatial_patch_size,
        pipe.transformer_temporal_patch_size,
    )
    return drawn


def blank(pipe: Any, job: Job, stage: Stage) -> dict[str, torch.Tensor]:
    """What a later stage begins with that goes on from its middle: of the right shapes and types, and nothing else."""
    sound, device, dtype = pipe.audio_vae.config, pipe._execution_device, pipe.vae.dtype
    a_second = pipe.audio_sampling_rate / pipe.audio_hop_length / float(pipe.audio_vae_temporal_compression_ratio)
    length = round(job.canvas.frames / float(job.request.fps) * a_second)
    bins = sound.mel_bins // pipe.audio_vae_mel_compression_ratio
    channels = pipe.transformer.config.in_channels
    return {
        "latents": torch.zeros(1, channels, *_latent(pipe, job, stage), device=device, dtype=dtype),
        "audio_latents": torch.zeros(1, sound.latent_channels, length, bins, device=device),
    }


def _latent(pipe: Any, job: Job, stage: Stage) -> tuple[int, int, int]:
    """Frames, height and width of a stage's video latents."""
    height, width = (side // pipe.vae_spatial_compression_ratio for side in (stage.height, stage.width))
    return (job.canvas.frames - 1) // pipe.vae_temporal_compression_ratio + 1, height, width


def place(frame: int, apart: int) -> float:
    """Where the pipeline is to put a picture, so that it stands at `frame`: it counts latents, `apart` frames each.

    Whole numbers would leave seven frames of eight without a place; the makers' own code counts in frames.
    """
    return (frame - 1) / apart + 1 if frame else 0


def _guidance(job: Job, stage: Stage) -> dict[str, Any]:
    """The card's guidance for a stage that is guided; all of it off for another."""
    wanted, scale = settings(job.card), stage.scale
    guided = scale > 1
    used = wanted if guided else Settings(cross_timestep=wanted.cross_timestep)
    return {
        "guidance_scale": scale if guided else 1.0,
        "guidance_rescale": job.card.schedule.guidance_rescale if guided else 0.0,
        "audio_guidance_scale": used.audio_guidance_scale,
        "audio_guidance_rescale": used.audio_guidance_rescale,
        "stg_scale": used.stg_scale,
        "audio_stg_scale": used.audio_stg_scale,
        "spatio_temporal_guidance_blocks": list(used.stg_blocks) or None,
        "modality_scale": used.modality_scale,
        "audio_modality_scale": used.audio_modality_scale,
        "use_cross_timestep": wanted.cross_timestep,
    }


def _wrong(card: ModelCard, said: str) -> WeightsRefused:
    return WeightsRefused(f"{card.name} {said}", "correct the [settings] of the model's card")
