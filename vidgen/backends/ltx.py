"""The LTX-Video family: text, pictures and keyframes to video. Knows LTX's pipelines, and the card says which."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import lcm
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from vidgen.backends import attention, onward, pipes, pixels, prompts, quiet, stages
from vidgen.backends.pipes import Kind, Parts
from vidgen.backends.port import Film, Look, Step, Tensors
from vidgen.backends.stages import Stage
from vidgen.core.card import Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS: Mapping[str, Kind] = {
    "AutoencoderKLLTXVideo": Kind(module="diffusers.models.autoencoders.autoencoder_kl_ltx", read=pipes.model),
    "LTXEulerAncestralRFScheduler": Kind(
        module="diffusers.schedulers.scheduling_ltx_euler_ancestral_rf", read=pipes.light, card="scheduler_config.json"
    ),
    "LTXLatentUpsamplerModel": Kind(module="diffusers.pipelines.ltx.modeling_latent_upsampler", read=pipes.model),
    "LTXVideoTransformer3DModel": Kind(module="diffusers.models.transformers.transformer_ltx", read=pipes.model),
}

COMPONENTS = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")

PIXELS = 32
"""The pipelines refuse sides that are not multiples of this, whatever the VAE."""


def _words(job: Job, stage: Stage, pictures: "Sequence[Image]") -> dict[str, Any]:
    return {}


def _first_picture(job: Job, stage: Stage, pictures: "Sequence[Image]") -> dict[str, Any]:
    return {"image": pictures[0]}


def _conditions(job: Job, stage: Stage, pictures: "Sequence[Image]") -> dict[str, Any]:
    kind = quiet.found("diffusers.pipelines.ltx.pipeline_ltx_condition", "LTXVideoCondition")
    conditions = [
        kind(image=picture, video=None, frame_index=keyframe.frame, strength=keyframe.strength)
        for keyframe, picture in zip(job.request.keyframes, pictures, strict=True)
    ]
    return {
        "conditions": conditions or None,
        "image": None,
        "video": None,
        "frame_index": 0,
        "strength": 1.0,
        "denoise_strength": stage.refine.strength if stage.refine else 1.0,
        "image_cond_noise_scale": job.card.schedule.image_cond_noise_scale,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One pipeline: where it is, and what it takes beside the rest.

    `conditions`: it takes pictures at any frame and strength, a card's own timesteps and what it is to refine, and its
    latents are a video; the others' come as tokens. `works`: the module at work with it, where that is not this one.
    """

    module: str
    extras: "Callable[[Job, Stage, Sequence[Image]], dict[str, Any]]"
    conditions: bool = False
    works: str = ""


ROUTES: Mapping[str, Route] = {
    "LTXPipeline": Route(module="diffusers.pipelines.ltx.pipeline_ltx", extras=_words),
    "LTXImageToVideoPipeline": Route(module="diffusers.pipelines.ltx.pipeline_ltx_image2video", extras=_first_picture),
    "LTXConditionPipeline": Route(
        module="diffusers.pipelines.ltx.pipeline_ltx_condition", extras=_conditions, conditions=True
    ),
    "LTXI2VLongMultiPromptPipeline": Route(
        module="diffusers.pipelines.ltx.pipeline_ltx_i2v_long_multi_prompt",
        extras=_words,
        conditions=True,
        works="vidgen.backends.ltx_long",
    ),
}


def open(job: Job) -> "Ltx":  # noqa: A001 - the port's word
    """The family at work on the model of `job`. Refuses a card that no pipeline can serve (exit 4)."""
    works = _route(job).works
    backend: Ltx = import_module(works).begun(job) if works else Ltx(Parts(job, KINDS))
    return backend


class Ltx:
    """One LTX model. Frames are bit for bit those of one call of the Diffusers pipeline."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def encode(self, jobs: Sequence[Job], look: "Look | None" = None) -> list[Tensors]:
        """Embeddings and masks of each prompt, and of the negative prompt where guidance uses one."""
        return prompts.embedded(jobs, self._embed)

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: "Sequence[Image]", step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Normalised latents (1, channels, frames, height, width), and the state of the generator of all stages."""
        route, pipe, latents = _route(job), self._drawing_pipe(job), torch.empty(0)
        generator = torch.Generator("cpu").manual_seed(job.request.seed)
        with pipes.seeded(job.request.seed), attention.unmasked(pipe.transformer):
            for stage, kept in stages.left(job, since):
                begun = self._begun(pipe, job, latents, kept) if stage.refine else None
                with (
                    pipes.wearing(pipe, stages.worn(job, stage, self._parts)),
                    onward.stepping(job, pipe, generator, step, kept, stages.walk(job, stage)) as after,
                ):
                    latents = pipe(
                        **_arguments(job, stage, generator, after),
                        **_texts(job, stage, conditioning, self._parts.device.value),
                        **route.extras(job, stage, pictures),
                        latents=begun,
                    ).frames
        if not route.conditions:
            latents = _unpacked(pipe, job, latents)
        return pipes.on_disk({"latents": latents, "generator": generator.get_state()})

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip; the frames are drawn at once and handed out one by one."""
        vae = self._parts.hold(job.card.ways[job.request.mode].phases[Phase.DECODE])["vae"]
        with (
            torch.no_grad(),
            pipes.seeded(job.request.seed),
            pixels.tiled(vae, pixels.tiles(job.canvas, self._parts.rung.tiling, vae.spatial_compression_ratio)),
        ):
            video = self._pixels(job, vae, latents)
        pixels.check(job, video)
        return Film(frames=pixels.frames(job, video))

    def close(self) -> None:
        """Let go of every weight."""
        self._parts.close()

    def _embed(self, job: Job, text: str) -> Tensors:
        pipe = self._pipe(job, Phase.ENCODE)
        with torch.no_grad(), quiet.hushed():
            embeds, mask, _, _ = pipe.encode_prompt(
                prompt=text,
                negative_prompt=None,
                do_classifier_free_guidance=False,
                num_videos_per_prompt=1,
                prompt_embeds=None,
                negative_prompt_embeds=None,
                prompt_attention_mask=None,
                negative_prompt_attention_mask=None,
                max_sequence_length=job.card.tokens,
                device=None,
                dtype=self._parts.dtype,
            )
        return pipes.on_disk({"prompt_embeds": embeds, "prompt_attention_mask": mask})

    def _pipe(self, job: Job, phase: Phase) -> Any:
        """The pipeline with the components of `phase` alone."""
        way = job.card.ways[job.request.mode]
        kind, held = quiet.found(_route(job).module, way.pipeline), self._parts.hold(way.phases[phase])
        with quiet.quickly():
            pipe = kind(**{name: held.get(name) for name in COMPONENTS})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _drawing_pipe(self, job: Job) -> Any:
        """The pipeline of the denoise phase, told how the VAE compresses: without one it would assume 32 and 8."""
        pipe, vae = self._pipe(job, Phase.DENOISE), self._parts.skeleton("vae")
        _on_grid(job, vae.spatial_compression_ratio, vae.temporal_compression_ratio)
        if _route(job).conditions and pipe.scheduler.config.use_dynamic_shifting:
            raise WeightsRefused(
                f"the scheduler of {job.card.name} shifts by length, which its pipeline cannot",
                "serve this mode with another pipeline: check the model's card",
            )
        pipe.vae = pipe.vae or SimpleNamespace(dtype=self._parts.dtype)  # all that words alone ask of it
        pipe.vae_spatial_compression_ratio = vae.spatial_compression_ratio
        pipe.vae_temporal_compression_ratio = vae.temporal_compression_ratio
        return pipe

    def _begun(self, pipe: Any, job: Job, drawn: torch.Tensor, kept: Tensors | None) -> torch.Tensor:
        """What a second stage begins with: what a first one drew, doubled; where it goes on, only of the same shape."""
        if kept:
            return torch.zeros(1, pipe.transformer.config.in_channels, *_latent(pipe, job.canvas))
        kind = quiet.found("diffusers.pipelines.ltx.pipeline_ltx_latent_upsample", "LTXLatentUpsamplePipeline")
        return stages.doubled(job, self._parts, kind, pipe.vae, latents=drawn)

    def _pixels(self, job: Job, vae: Any, artefact: Tensors) -> torch.Tensor:
        """The decoded video (1, 3, frames, height, width)."""
        video: torch.Tensor = vae.decode(*self._ready(job, vae, artefact), return_dict=False)[0]
        return video

    def _ready(self, job: Job, vae: Any, artefact: Tensors) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Latents as the decoder takes them, and its timestep, as the pipelines' own last lines have them."""
        device, schedule = self._parts.device.value, job.card.schedule
        latents = artefact["latents"].to(device)
        mean, deviation = (
            stat.view(1, -1, 1, 1, 1).to(device, latents.dtype) for stat in (vae.latents_mean, vae.latents_std)
        )
        latents = (latents * deviation / vae.config.scaling_factor + mean).to(self._parts.dtype)
        moment = None
        if vae.config.timestep_conditioning:
            moment = torch.tensor([schedule.decode_timestep], device=device, dtype=latents.dtype)
            scale = schedule.decode_timestep if schedule.decode_noise_scale is None else schedule.decode_noise_scale
            share = torch.tensor([scale], device=device, dtype=latents.dtype)[:, None, None, None, None]
            latents = (1 - share) * latents + share * pixels.noise(artefact["generator"], latents)
        return latents, moment


def _route(job: Job) -> Route:
    """The route of the job's mode, once it is sure to do all that the card and the request ask."""
    request, schedule = job.request, job.card.schedule
    name = job.card.ways[request.mode].pipeline
    if name not in ROUTES:
        raise WeightsRefused(
            f"{request.mode} of {job.card.name} needs {name}, which family {job.card.family} does not know",
            f"use one of {', '.join(ROUTES)} in the model's card",
        )
    route = ROUTES[name]
    if (schedule.timesteps or job.card.refine) and not route.conditions:
        said = "draws in two stages" if job.card.refine else "fixes its timesteps"
        raise WeightsRefused(
            f"{job.card.name} {said}, which {name} cannot follow",
            f"serve {request.mode} with LTXConditionPipeline in the model's card",
        )
    if not route.conditions and any(keyframe.frame or keyframe.strength != 1 for keyframe in request.keyframes):
        raise UsageRefused(
            f"{job.card.name} takes its picture at frame 0 and strength 1 in {request.mode}",
            "use 'vidgen keyframe' or another model",
        )
    return route


def _on_grid(job: Job, size: int, frames: int) -> None:
    canvas, size = job.canvas, lcm(size, PIXELS) * len(stages.every(job))
    if canvas.width % size or canvas.height % size or (canvas.frames - 1) % frames:
        raise WeightsRefused(
            f"the canvas {canvas.width}x{canvas.height}, {canvas.frames} frames, is off the grid of these weights: "
            f"sides in multiples of {size}, frames {frames}k+1",
            f"correct the grid in the card of {job.card.name}",
        )


def _arguments(job: Job, stage: Stage, generator: torch.Generator, after: onward.Callback) -> dict[str, Any]:
    """What all three pipelines take. Everything is said: Diffusers' defaults move between versions."""
    schedule = job.card.schedule
    return {
        "prompt": None,
        "negative_prompt": None,
        "height": stage.height,
        "width": stage.width,
        "num_frames": job.canvas.frames,
        "frame_rate": float(job.request.fps),
        "num_inference_steps": stage.scheduled,
        "timesteps": list(stage.timesteps) or None,
        "guidance_scale": stage.scale,
        "guidance_rescale": schedule.guidance_rescale,
        "num_videos_per_prompt": 1,
        "generator": generator,
        "decode_timestep": schedule.decode_timestep,
        "decode_noise_scale": schedule.decode_noise_scale,
        "output_type": "latent",
        "return_dict": True,
        "attention_kwargs": None,
        "callback_on_step_end": after,
        "callback_on_step_end_tensor_inputs": ["latents"],
        "max_sequence_length": job.card.tokens,
    }


def _texts(job: Job, stage: Stage, conditioning: Tensors, device: str) -> dict[str, torch.Tensor | None]:
    names = ["prompt_embeds", "prompt_attention_mask"]
    negatives = [f"negative_{name}" for name in names]
    read = names + negatives if stage.scale > 1 else names
    return {**dict.fromkeys(negatives), **{name: conditioning[name].to(device) for name in read}}


def _unpacked(pipe: Any, job: Job, latents: torch.Tensor) -> torch.Tensor:
    """Tokens (1, tokens, channels) as (1, channels, frames, height, width)."""
    unpacked: torch.Tensor = pipe._unpack_latents(
        latents,
        *_latent(pipe, job.canvas),
        pipe.transformer_spatial_patch_size,
        pipe.transformer_temporal_patch_size,
    )
    return unpacked


def _latent(pipe: Any, canvas: Canvas) -> tuple[int, int, int]:
    """Frames, height and width of a canvas in latents."""
    height, width = (side // pipe.vae_spatial_compression_ratio for side in (canvas.height, canvas.width))
    return (canvas.frames - 1) // pipe.vae_temporal_compression_ratio + 1, height, width
