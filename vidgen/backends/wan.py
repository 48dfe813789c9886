"""The Wan family, 2.1 and 2.2: text, a first picture, or a first and a last one, to video. The card says which model.

Wan 2.2 A14B has two transformers, one for the noisy steps and one for the rest. Wan 2.1 sees pictures by a CLIP too.
The pipelines floor sizes and lengths that are off their grid; here they are refused.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from vidgen.backends import onward, pipes, pixels, prompts, quiet
from vidgen.backends.pipes import Kind, Parts
from vidgen.backends.port import Film, Look, Step, Tensors
from vidgen.core.card import NAMED, Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS: Mapping[str, Kind] = {
    "AutoencoderKLWan": Kind(module="diffusers.models.autoencoders.autoencoder_kl_wan", read=pipes.model),
    "CLIPImageProcessor": Kind(module="transformers", read=pipes.light, card="preprocessor_config.json"),
    "CLIPVisionModel": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    "T5TokenizerFast": Kind(module="transformers", read=pipes.tokenizer, card="tokenizer_config.json"),
    "UMT5EncoderModel": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    "UniPCMultistepScheduler": Kind(
        module="diffusers.schedulers.scheduling_unipc_multistep", read=pipes.light, card="scheduler_config.json"
    ),
    "WanTransformer3DModel": Kind(module="diffusers.models.transformers.transformer_wan", read=pipes.model),
}

WORDS = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer", "transformer_2")
MASK = 4
"""Channels of the mask that says which frames are given: the frames of one latent."""


def _words(pictures: "Sequence[Image]") -> dict[str, Any]:
    return {}


def _ends(pictures: "Sequence[Image]") -> dict[str, Any]:
    first, *last = pictures
    return {"image": first, "last_image": last[0] if last else None, "image_embeds": None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One pipeline: where it is, its components, and what it takes beside the rest."""

    module: str
    components: tuple[str, ...]
    extras: "Callable[[Sequence[Image]], dict[str, Any]]"
    pictured: bool = False


ENCODING = "WanPipeline"
"""Reads the prompt in every mode: the other one wants a library for it that it does not need."""

ROUTES: Mapping[str, Route] = {
    ENCODING: Route(module="diffusers.pipelines.wan.pipeline_wan", components=WORDS, extras=_words),
    "WanImageToVideoPipeline": Route(
        module="diffusers.pipelines.wan.pipeline_wan_i2v",
        components=(*WORDS, "image_encoder", "image_processor"),
        extras=_ends,
        pictured=True,
    ),
}


def open(job: Job) -> "Wan":  # noqa: A001 - the port's word
    """The family at work on the model of `job`. Refuses a card of no pipeline, and other weights (exit 4)."""
    _route(job)
    parts = Parts(job, KINDS)
    _same_model(job)
    return Wan(parts)


class Wan:
    """One Wan model. Frames are bit for bit those of one call of the Diffusers pipeline."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def encode(self, jobs: Sequence[Job], look: Look) -> list[Tensors]:
        """Embeddings (1, tokens, channels) of each prompt, and of the negative prompt where guidance uses one."""
        return prompts.embedded(jobs, self._embed)

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: "Sequence[Image]", step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Normalised latents (1, channels, frames, height, width), float32."""
        route, pipe = _route(job), self._drawing_pipe(job)
        generator = torch.Generator("cpu").manual_seed(job.request.seed)
        drawn = pipe.transformer.config.out_channels
        with (
            pipes.wearing(pipe, job.request.loras),
            pipes.seeded(job.request.seed),
            onward.stepping(
                job, pipe, generator, step, since, onward.Walk(dreamt=lambda taken: taken[:, :drawn])
            ) as after,
        ):
            latents = pipe(
                **_arguments(job, generator, after),
                **_texts(job, conditioning, self._parts.device.value),
                **route.extras(pictures),
            ).frames
        return pipes.on_disk({"latents": latents})

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip; the frames are drawn at once and handed out one by one."""
        vae = self._parts.hold(job.card.ways[job.request.mode].phases[Phase.DECODE])["vae"]
        with torch.no_grad(), pipes.seeded(job.request.seed), pixels.tiled(vae, _tiles(self._parts.rung.tiling)):
            video = vae.decode(_denormalised(vae, latents["latents"]), return_dict=False)[0]
        pixels.check(job, video)
        return Film(frames=pixels.frames(job, video))

    def close(self) -> None:
        """Let go of every weight."""
        self._parts.close()

    def _embed(self, job: Job, text: str) -> Tensors:
        pipe = self._pipe(job, Phase.ENCODE, ENCODING)
        with torch.no_grad(), quiet.hushed():
            embeds, _ = pipe.encode_prompt(
                prompt=text,
                negative_prompt=None,
                do_classifier_free_guidance=False,
                num_videos_per_prompt=1,
                prompt_embeds=None,
                negative_prompt_embeds=None,
                max_sequence_length=job.card.tokens,
                device=None,
                dtype=self._parts.dtype,
            )
        return pipes.on_disk({"prompt_embeds": embeds})

    def _pipe(self, job: Job, phase: Phase, name: str) -> Any:
        """The pipeline `name` with the components of `phase` alone."""
        route = ROUTES[name]
        kind = quiet.found(route.module, name)
        held = self._parts.hold(job.card.ways[job.request.mode].phases[phase])
        settings = job.card.settings
        with quiet.quickly():
            pipe = kind(
                **{**dict.fromkeys(route.components), **held},
                boundary_ratio=settings.get("boundary_ratio"),
                expand_timesteps=bool(settings.get("expand_timesteps", False)),
            )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _drawing_pipe(self, job: Job) -> Any:
        """The pipeline of the denoise phase: with the shift of this size, and told how the VAE compresses."""
        vae = self._parts.skeleton("vae")
        pipe = self._pipe(job, Phase.DENOISE, job.card.ways[job.request.mode].pipeline)
        space, time = vae.config.scale_factor_spatial, vae.config.scale_factor_temporal
        _on_grid(job, space * pipe.transformer.config.patch_size[1], time)
        pipe.vae_scale_factor_spatial, pipe.vae_scale_factor_temporal = space, time
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, flow_shift=_shift(job))
        return pipe


def _route(job: Job) -> Route:
    """The route of the job's mode, once it is sure to do all that the request asks."""
    request = job.request
    way = job.card.ways[request.mode]
    if way.pipeline not in ROUTES:
        raise WeightsRefused(
            f"{request.mode} of {job.card.name} needs {way.pipeline}, which family {job.card.family} does not know",
            f"use one of {', '.join(ROUTES)} in the model's card",
        )
    if not way.ends and any(keyframe.frame or keyframe.strength != 1 for keyframe in request.keyframes):
        raise UsageRefused(
            f"{job.card.name} takes its picture at frame 0 and strength 1 in {request.mode}", "use another model"
        )
    return ROUTES[way.pipeline]


def _same_model(job: Job) -> None:
    """Refuse weights of another Wan than the card's: most would draw, and draw wrongly."""
    folder, settings, way = job.weights.folder, job.card.settings, job.card.ways[job.request.mode]
    assert folder is not None
    index, transformer = (
        _facts(path) for path in (folder / "model_index.json", job.weights.of("transformer") / "config.json")
    )
    given = not settings.get("expand_timesteps", False) and ROUTES[way.pipeline].pictured
    drawn = transformer.get("out_channels") or 0
    said = {
        "boundary_ratio": (settings.get("boundary_ratio"), index.get("boundary_ratio")),
        "expand_timesteps": (bool(settings.get("expand_timesteps")), bool(index.get("expand_timesteps"))),
        "in_channels": (drawn + given * (drawn + MASK), transformer.get("in_channels")),
        "image_dim": ("image_encoder" in way.phases[Phase.DENOISE], transformer.get("image_dim") is not None),
    }
    for name, (wanted, found) in said.items():
        if transformer and wanted != found:
            raise WeightsRefused(
                f"{folder} holds another Wan than {job.card.name}: its {name} is {found}, not {wanted}",
                f'name the right card in its model_index.json: "{NAMED}": "wan-2.2-ti2v-5b"',
            )


def _facts(path: Any) -> Mapping[str, Any]:
    """What a JSON file says; nothing where it cannot be read, which loading refuses by name."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _on_grid(job: Job, size: int, frames: int) -> None:
    canvas = job.canvas
    if canvas.width % size or canvas.height % size or (canvas.frames - 1) % frames:
        raise WeightsRefused(
            f"the canvas {canvas.width}x{canvas.height}, {canvas.frames} frames, is off the grid of these weights: "
            f"sides in multiples of {size}, frames {frames}k+1",
            f"correct the grid in the card of {job.card.name}",
        )


def _shift(job: Job) -> float:
    """The flow shift for the canvas: that of the smallest size in the card that is as large, else of the largest."""
    shifts = {_area(size): float(shift) for size, shift in dict(job.card.settings["flow_shift"]).items()}  # type: ignore[call-overload]
    large = [area for area in shifts if area >= job.canvas.width * job.canvas.height]
    return shifts[min(large, default=max(shifts))]


def _area(size: str) -> int:
    width, height = size.split("x")
    return int(width) * int(height)


def _tiles(side: int) -> dict[str, int]:
    """Tiles of space, in the VAE's words; none for 0. A quarter of each overlaps the next. Time is streamed anyway."""
    return {
        f"tile_sample_{part}_{name}": side * share // 4
        for name in ("height", "width")
        for part, share in (("min", 4), ("stride", 3))
        if side
    }


def _denormalised(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents as the decoder wants them, as the pipelines' own last lines have it."""
    latents = latents.to(vae.device, vae.dtype)
    mean, deviation = (
        torch.tensor(stat).view(1, -1, 1, 1, 1) for stat in (vae.config.latents_mean, vae.config.latents_std)
    )
    return latents / (1.0 / deviation.to(latents)) + mean.to(latents)


def _arguments(job: Job, generator: torch.Generator, after: onward.Callback) -> dict[str, Any]:
    """What both pipelines take. Everything is said: Diffusers' defaults move between versions."""
    canvas, request = job.canvas, job.request
    return {
        "prompt": None,
        "negative_prompt": None,
        "height": canvas.height,
        "width": canvas.width,
        "num_frames": canvas.frames,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "guidance_scale_2": _second(job),
        "num_videos_per_prompt": 1,
        "generator": generator,
        "latents": None,
        "output_type": "latent",
        "return_dict": True,
        "attention_kwargs": None,
        "callback_on_step_end": after,
        "callback_on_step_end_tensor_inputs": ["latents"],
        "max_sequence_length": job.card.tokens,
    }


def _second(job: Job) -> float | None:
    """The guidance scale of the second transformer: it stands to the first's as the makers' two do."""
    settings, scale = job.card.settings, job.request.guidance_scale
    if "boundary_ratio" not in settings:
        return None
    return scale * float(str(settings["guidance_scale_2"])) / float(str(job.card.defaults["guidance_scale"]))


def _texts(job: Job, conditioning: Tensors, device: str) -> dict[str, torch.Tensor | None]:
    guided = job.request.guidance_scale > 1
    negative = conditioning["negative_prompt_embeds"].to(device) if guided else None
    return {"prompt_embeds": conditioning["prompt_embeds"].to(device), "negative_prompt_embeds": negative}
