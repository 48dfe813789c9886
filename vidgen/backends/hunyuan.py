"""The HunyuanVideo family: text to video, and a picture to video by either of two conditionings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import torch
from PIL import Image

from vidgen.backends import attention, llama, onward, pipes, pixels, quiet
from vidgen.backends.pipes import Kind, Parts
from vidgen.backends.port import Film, Look, Step, Tensors
from vidgen.core.card import Guidance, Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job

VAES = "diffusers.models.autoencoders.autoencoder_kl_hunyuan_video"
KINDS: Mapping[str, Kind] = {
    **llama.KINDS,
    "AutoencoderKLHunyuanVideo": Kind(module=VAES, read=pipes.model),
    "HunyuanVideoTransformer3DModel": Kind(
        module="diffusers.models.transformers.transformer_hunyuan_video", read=pipes.model
    ),
    "LlavaForConditionalGeneration": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    # by Pillow whether or not torchvision is there, which would resize a little otherwise
    "CLIPImageProcessor": Kind(
        module="transformers", read=pipes.light, card="preprocessor_config.json", instead="CLIPImageProcessorPil"
    ),
}

COMPONENTS = ("transformer", "vae", "scheduler", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")

PIXELS = 16
"""The pipelines refuse sides that are not multiples of this, whatever the VAE."""

NEGATIVE_INTERLEAVE = 2
"""Of the negative prompt's black picture every second token is read, whatever the conditioning: the call says none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One pipeline: where it is, whether its encoder `sees` the picture, and its components beside the usual ones."""

    module: str
    sees: bool = False
    extras: tuple[str, ...] = ()


ROUTES: Mapping[str, Route] = {
    "HunyuanVideoPipeline": Route(module="diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video"),
    "HunyuanVideoImageToVideoPipeline": Route(
        module="diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video",
        sees=True,
        extras=("image_processor",),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditioning:
    """How a picture reaches the transformer.

    `interleave`: every which of the picture's tokens the prompt is read with. `lead`: frames at the beginning that are
    the picture's own, and no part of the clip.
    """

    interleave: int = 0
    lead: int = 0


CONDITIONINGS: Mapping[str, Conditioning] = {
    "": Conditioning(),
    "token_replace": Conditioning(interleave=4),
    "latent_concat": Conditioning(interleave=2, lead=4),
}


def open(job: Job) -> "Hunyuan":  # noqa: A001 - the port's word
    """The family at work on the model of `job`. Refuses weights that are not as its card says (exit 4)."""
    _route(job)
    parts = Parts(job, KINDS)
    _as_the_card_says(job, parts.skeleton("transformer").config)
    return Hunyuan(parts)


class Hunyuan:
    """One HunyuanVideo model. Frames are bit for bit those of one call of the Diffusers pipeline."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def encode(self, jobs: Sequence[Job], look: Look) -> list[Tensors]:
        """Embeddings, pooled embeddings and mask of each prompt, and of the negative prompt where true CFG uses one."""
        embedded: dict[Any, Tensors] = {}
        return [self._conditioning(job, look, embedded) for job in jobs]

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: Sequence[Image.Image], step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Latents (1, channels, frames, height, width) as the decoder takes them, but for their scale; float32."""
        route, pipe = _route(job), self._drawing_pipe(job)
        channels = pipe.transformer.config.out_channels
        walk = onward.Walk(dreamt=lambda taken: taken[:, :channels])
        generator = torch.Generator("cpu").manual_seed(job.request.seed)
        with (
            pipes.wearing(pipe, job.request.loras),
            pipes.seeded(job.request.seed),
            attention.unmasked(pipe.transformer),
            onward.stepping(job, pipe, generator, step, since, walk) as after,
        ):
            last = onward.Last(after)
            pipe(
                **_arguments(job, generator, last),
                **llama.texts(job, conditioning, self._parts.device.value),
                **({"image": pictures[0], "image_embed_interleave": _kind(job).interleave} if route.sees else {}),
            )
        return pipes.on_disk({"latents": last.latents, "generator": generator.get_state()})

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip; the frames are drawn at once and handed out one by one."""
        vae = self._parts.hold(job.card.ways[job.request.mode].phases[Phase.DECODE])["vae"]
        scaled = latents["latents"].to(self._parts.device.value, vae.dtype) / vae.config.scaling_factor
        with torch.no_grad(), pixels.tiled(vae, pixels.squares(vae, min(job.card.cost.tile, self._parts.rung.tiling))):
            video = vae.decode(scaled, return_dict=False)[0][:, :, _kind(job).lead :]
        pixels.check(job, video)
        return Film(frames=pixels.frames(job, video))

    def close(self) -> None:
        """Let go of every weight."""
        self._parts.close()

    def _conditioning(self, job: Job, look: Look, embedded: dict[Any, Tensors]) -> Tensors:
        """The tensors of one job. What was embedded for another is not embedded again."""
        request, sees = job.request, _route(job).sees
        wanted = {"": (request.prompt, look if sees else None, _kind(job).interleave)}
        if llama.true_cfg_scale(job) > 1:
            wanted["negative_"] = (request.negative, _black if sees else None, NEGATIVE_INTERLEAVE)
        tensors: dict[str, torch.Tensor] = {}
        for prefix, (text, seen, interleave) in wanted.items():
            frame = (request.keyframes, request.width, request.height, request.fit, request.background, job.canvas)
            key = (text, interleave, seen is _black, frame if sees else None)
            if key not in embedded:
                pictures = {"image": seen(job)[0], "image_embed_interleave": interleave} if seen else {}
                embedded[key] = llama.embed(self._pipe(job, Phase.ENCODE), job, text, pictures)
            tensors |= {prefix + name: tensor for name, tensor in embedded[key].items()}
        return tensors

    def _pipe(self, job: Job, phase: Phase) -> Any:
        """The pipeline with the components of `phase` alone."""
        way, route = job.card.ways[job.request.mode], _route(job)
        kind = quiet.found(route.module, way.pipeline)
        held = self._parts.hold(way.phases[phase])
        with quiet.quickly():
            pipe = kind(**{**dict.fromkeys([*COMPONENTS, *route.extras]), **held})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _drawing_pipe(self, job: Job) -> Any:
        """The pipeline of the denoise phase, told how the VAE compresses: without one it would assume 8 and 4."""
        pipe, vae = self._pipe(job, Phase.DENOISE), self._parts.skeleton("vae")
        _on_grid(job, vae)
        pipe.vae_scale_factor_spatial = vae.spatial_compression_ratio
        pipe.vae_scale_factor_temporal = vae.temporal_compression_ratio
        pipe.scheduler.set_shift(_shift(job))
        return pipe


def _on_grid(job: Job, vae: Any) -> None:
    """Refuse (exit 4) a canvas that the pipeline would round."""
    canvas, size, frames = job.canvas, lcm(2 * vae.spatial_compression_ratio, PIXELS), vae.temporal_compression_ratio
    if canvas.width % size or canvas.height % size or (canvas.frames - 1) % frames:
        raise WeightsRefused(
            f"the canvas {canvas.width}x{canvas.height}, {canvas.frames} frames, is off the grid of these weights: "
            f"sides in multiples of {size}, frames {frames}k+1",
            f"correct the grid in the card of {job.card.name}",
        )


def _route(job: Job) -> Route:
    """The route of the job's mode, once it is sure to do all that the request asks."""
    request = job.request
    name = job.card.ways[request.mode].pipeline
    if name not in ROUTES:
        raise WeightsRefused(
            f"{request.mode} of {job.card.name} needs {name}, which family {job.card.family} does not know",
            f"use one of {', '.join(ROUTES)} in the model's card",
        )
    if any(keyframe.frame or keyframe.strength != 1 for keyframe in request.keyframes):
        raise UsageRefused(
            f"{job.card.name} takes its picture at frame 0 and strength 1 in {request.mode}",
            "use another model, or leave out frame and strength",
        )
    return ROUTES[name]


def _kind(job: Job) -> Conditioning:
    """How the picture of the job reaches the transformer, as its card says."""
    name = str(job.card.settings.get("conditioning", ""))
    if name not in CONDITIONINGS:
        raise WeightsRefused(
            f"{job.card.name} conditions by {name!r}, which family {job.card.family} does not know",
            "write conditioning = token_replace or latent_concat in the model's card",
        )
    return CONDITIONINGS[name]


def _as_the_card_says(job: Job, config: Any) -> None:
    """Refuse weights that are conditioned or guided otherwise than the card says: what is said would be ignored."""
    said = (str(job.card.settings.get("conditioning", "")), job.card.schedule.guidance is Guidance.EMBEDDED)
    found = (config.image_condition_type or "", bool(config.guidance_embeds))
    _kind(job)
    if said != found:
        raise WeightsRefused(
            f"{job.card.name} is conditioned by {found[0] or 'text'} and has {'' if found[1] else 'no '}embedded "
            f"guidance; its card says {said[0] or 'text'} and {'' if said[1] else 'no '}embedded guidance",
            'name the right card in its model_index.json: "_vidgen_card": "hunyuan-video-i2v-33ch"',
        )


def _shift(job: Job) -> float:
    """The shift for the canvas: that of the largest size in the card's table which is not larger."""
    pixels_drawn = job.canvas.width * job.canvas.height
    table: Mapping[str, float] = job.card.settings["shift"]  # type: ignore[assignment]
    return float(table[str(max(size for size in map(int, table) if size <= pixels_drawn))])


def _black(job: Job) -> list[Image.Image]:
    """What the negative prompt is read with."""
    return [Image.new("RGB", (job.canvas.width, job.canvas.height), 0)]


def _arguments(job: Job, generator: torch.Generator, after: onward.Callback) -> dict[str, Any]:
    """What both pipelines take. Everything is said: Diffusers' defaults move between versions."""
    canvas, request = job.canvas, job.request
    embedded = job.card.schedule.guidance is Guidance.EMBEDDED
    return {
        "prompt": None,
        "prompt_2": None,
        "negative_prompt": None,
        "negative_prompt_2": None,
        "height": canvas.height,
        "width": canvas.width,
        "num_frames": canvas.frames + _kind(job).lead,
        "num_inference_steps": request.steps,
        "sigmas": None,
        "true_cfg_scale": llama.true_cfg_scale(job),
        "guidance_scale": request.guidance_scale if embedded else 1.0,
        "num_videos_per_prompt": 1,
        "generator": generator,
        "latents": None,
        "output_type": "latent",
        "return_dict": True,
        "attention_kwargs": None,
        "callback_on_step_end": after,
        "callback_on_step_end_tensor_inputs": ["latents"],
        "prompt_template": quiet.found(_route(job).module, "DEFAULT_PROMPT_TEMPLATE"),
        "max_sequence_length": job.card.tokens,
    }
