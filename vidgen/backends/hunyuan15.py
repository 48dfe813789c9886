"""The HunyuanVideo-1.5 family: text to video, and a picture to video, by a guider; with and without distillation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from vidgen.backends import attention, chunks, onward, pipes, pixels, quiet, qwen
from vidgen.backends.pipes import Kind, Parts
from vidgen.backends.port import Film, Look, Step, Tensors
from vidgen.core.card import Guidance, Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job

if TYPE_CHECKING:
    from PIL.Image import Image

PACKAGE = "diffusers.pipelines.hunyuan_video1_5"
VAES = "diffusers.models.autoencoders.autoencoder_kl_hunyuanvideo15"
TRANSFORMERS = "diffusers.models.transformers.transformer_hunyuan_video15"

KINDS: Mapping[str, Kind] = {
    **qwen.KINDS,
    "AutoencoderKLHunyuanVideo15": Kind(module=VAES, read=pipes.model),
    "HunyuanVideo15Transformer3DModel": Kind(module=TRANSFORMERS, read=pipes.model),
    "ClassifierFreeGuidance": Kind(
        module="diffusers.guiders.classifier_free_guidance", read=pipes.light, card="guider_config.json"
    ),
    "SiglipVisionModel": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    # by Pillow whether or not torchvision is there, which would resize a little otherwise
    "SiglipImageProcessor": Kind(
        module="transformers", read=pipes.light, card="preprocessor_config.json", instead="SiglipImageProcessorPil"
    ),
}

COMPONENTS = ("transformer", "vae", "scheduler", "guider", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")

CHUNK = 2
"""Latent frames that are decoded at a time where the decoder is to take little memory: any draws the same."""

EDGE = 4
"""Tiles are cut and blended rightly only in multiples of so many latents: a quarter of each overlaps the next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One pipeline: its module, whether it `sees` a picture, and its components beside the usual ones."""

    module: str
    sees: bool = False
    extras: tuple[str, ...] = ()


ROUTES: Mapping[str, Route] = {
    "HunyuanVideo15Pipeline": Route(module=f"{PACKAGE}.pipeline_hunyuan_video1_5"),
    "HunyuanVideo15ImageToVideoPipeline": Route(
        module=f"{PACKAGE}.pipeline_hunyuan_video1_5_image2video",
        sees=True,
        extras=("image_encoder", "feature_extractor"),
    ),
}


def open(job: Job) -> "Hunyuan15":  # noqa: A001 - the port's word
    """The family at work on the model of `job`. Refuses weights of another variant than its card's (exit 4)."""
    _route(job)
    parts = Parts(job, KINDS)
    if job.card.folder is not None:
        _as_the_card_says(job, parts)
    return Hunyuan15(parts)


class Hunyuan15:
    """One HunyuanVideo-1.5 model. Frames are bit for bit those of one call of the Diffusers pipeline."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def encode(self, jobs: Sequence[Job], look: Look) -> list[Tensors]:
        """Embeddings and masks by both encoders of each prompt, and of the negative prompt where guidance uses one."""
        for job in jobs:
            qwen.quotes(job)
        embedded: dict[tuple[str, int], Tensors] = {}
        return [self._conditioning(job, embedded) for job in jobs]

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: "Sequence[Image]", step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Latents (1, channels, frames, height, width) as the decoder takes them, but for their scale."""
        route, pipe = _route(job), self._drawing_pipe(job)
        channels = pipe.num_channels_latents
        walk = onward.Walk(dreamt=lambda taken: taken[:, :channels])
        generator = torch.Generator("cpu").manual_seed(job.request.seed)
        with (
            pipes.wearing(_Wardrobe(pipe.transformer), job.request.loras),
            pipes.seeded(job.request.seed),
            attention.unmasked(pipe.transformer),
            onward.stepping(job, pipe, generator, step, since, walk) as after,
            onward.listening(pipe, after),
        ):
            latents = pipe(
                **_arguments(job, generator),
                **qwen.texts(job, conditioning, self._parts.device.value),
                **({"image": pictures[0]} if route.sees else _size(job.canvas)),
            ).frames
        return pipes.on_disk({"latents": latents, "generator": generator.get_state()})

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip; the frames are drawn at once and handed out one by one."""
        vae = self._parts.hold(job.card.ways[job.request.mode].phases[Phase.DECODE])["vae"]
        side = self._parts.rung.tiling
        scaled = latents["latents"].to(self._parts.device.value, vae.dtype) / vae.config.scaling_factor
        with (
            torch.no_grad(),
            pixels.tiled(vae, tiles(vae, side)),
            chunks.chunked(vae.decoder, CHUNK if side else 0),
        ):
            video = vae.decode(scaled, return_dict=False)[0]
        pixels.check(job, video)
        return Film(frames=pixels.frames(job, video))

    def close(self) -> None:
        """Let go of every weight."""
        self._parts.close()

    def _conditioning(self, job: Job, embedded: dict[tuple[str, int], Tensors]) -> Tensors:
        """The tensors of one job. What was embedded for another is not embedded again."""
        texts = {"": job.request.prompt}
        if qwen.guided(job):
            texts["negative_"] = job.request.negative
        tensors: dict[str, torch.Tensor] = {}
        for prefix, text in texts.items():
            key = (text, job.card.tokens)
            if key not in embedded:
                embedded[key] = qwen.embed(self._pipe(job, Phase.ENCODE), job, text, self._parts.dtype)
            tensors |= {prefix + name: tensor for name, tensor in embedded[key].items()}
        return tensors

    def _pipe(self, job: Job, phase: Phase) -> Any:
        """The pipeline with the components of `phase` alone, told what it would ask of a VAE that is not held."""
        way, route = job.card.ways[job.request.mode], _route(job)
        kind = quiet.found(route.module, way.pipeline)
        held, vae = self._parts.hold(way.phases[phase]), self._parts.skeleton("vae")
        asked = _Asked(
            config=vae.config,
            spatial_compression_ratio=vae.spatial_compression_ratio,
            temporal_compression_ratio=vae.temporal_compression_ratio,
        )
        with quiet.quickly():
            pipe = kind(**{**dict.fromkeys([*COMPONENTS, *route.extras]), "vae": asked, **held})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _drawing_pipe(self, job: Job) -> Any:
        """The pipeline of the denoise phase, with the guidance, the schedule and the canvas of `job`."""
        pipe, canvas = self._pipe(job, Phase.DENOISE), job.canvas
        _on_grid(job, pipe)
        with quiet.quickly():
            pipe.guider = type(pipe.guider)(
                guidance_scale=job.request.guidance_scale,
                guidance_rescale=job.card.schedule.guidance_rescale,
                use_original_formulation=False,
                start=0.0,
                stop=1.0,
                enabled=qwen.guided(job),
            )
        pipe.scheduler.set_shift(float(str(job.card.settings["shift"])))
        # it would take the nearest of its own sizes: pictures come in that of the canvas
        pipe.video_processor.calculate_default_height_width = lambda **_: (canvas.height, canvas.width)
        return pipe


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What a pipeline asks of its VAE when it is made. From one without weights it would take its device."""

    config: Any
    spatial_compression_ratio: int
    temporal_compression_ratio: int


class _Wardrobe:
    """A transformer with the words of a pipeline that wears LoRAs: these pipelines have none of their own."""

    def __init__(self, transformer: Any) -> None:
        self._transformer = transformer
        self.components = {"transformer": transformer}

    def load_lora_weights(self, folder: str, **options: Any) -> None:
        self._transformer.load_lora_adapter(folder, prefix="transformer", **options)

    def set_adapters(self, names: list[str], weights: list[float]) -> None:
        self._transformer.set_adapters(names, weights)

    def get_list_adapters(self) -> dict[str, list[str]]:
        return {"transformer": list(vars(self._transformer).get("peft_config", ()))}

    def unload_lora_weights(self) -> None:
        self._transformer.unload_lora()


def tiles(vae: Any, side: int) -> dict[str, float]:
    """Tiles of `side` pixels, in pixels and in latents: Diffusers derives neither from the other. 0: none."""
    if not side:
        return {}
    ratio = vae.spatial_compression_ratio
    latents = max(side // ratio // EDGE, 1) * EDGE
    sizes = {"latent": latents, "sample": latents * ratio}
    named = {f"tile_{part}_min_{name}": size for part, size in sizes.items() for name in ("height", "width")}
    return {**named, "tile_overlap_factor": 1 / EDGE}


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


def _as_the_card_says(job: Job, parts: Parts) -> None:
    """Refuse weights of another variant than the card's: they would be drawn by its schedule and guidance."""
    config, guider = parts.skeleton("transformer").config, parts.hold(["guider"])["guider"]
    settings, distilled = job.card.settings, job.card.schedule.guidance is Guidance.DISTILLED
    said = (settings["target_size"], settings["meanflow"], distilled)
    found = (config.target_size, config.use_meanflow, guider.config.guidance_scale <= 1)
    for what, one, other in zip(("target size", "mean flow", "CFG distillation"), said, found, strict=True):
        if one != other:
            raise WeightsRefused(
                f"the weights of {job.card.name} are another variant's than its card's: {what} {other}, not {one}",
                'name their card in model_index.json: "_vidgen_card": "hunyuan-video-1.5-...", see vidgen models',
            )


def _on_grid(job: Job, pipe: Any) -> None:
    """Refuse (exit 4) a canvas that the pipeline would round."""
    canvas, config = job.canvas, pipe.transformer.config
    size, frames = pipe.vae_scale_factor_spatial * config.patch_size, pipe.vae_scale_factor_temporal
    if canvas.width % size or canvas.height % size or (canvas.frames - 1) % frames:
        raise WeightsRefused(
            f"the canvas {canvas.width}x{canvas.height}, {canvas.frames} frames, is off the grid of these weights: "
            f"sides in multiples of {size}, frames {frames}k+1",
            f"correct the grid in the card of {job.card.name}",
        )


def _size(canvas: Canvas) -> dict[str, int]:
    return {"height": canvas.height, "width": canvas.width}


def _arguments(job: Job, generator: torch.Generator) -> dict[str, Any]:
    """What both pipelines take. Everything is said: Diffusers' defaults move between versions."""
    return {
        "prompt": None,
        "negative_prompt": None,
        "num_frames": job.canvas.frames,
        "num_inference_steps": job.request.steps,
        "sigmas": None,
        "num_videos_per_prompt": 1,
        "generator": generator,
        "latents": None,
        "output_type": "latent",
        "return_dict": True,
        "attention_kwargs": None,
    }
