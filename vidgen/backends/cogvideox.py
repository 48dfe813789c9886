"""The CogVideoX family, 1.0 and 1.5: text or a first picture to video. The card says which model, solver and guidance.

The pipelines take lengths of which the decoder makes another number of frames; the card's grid has none of those.
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

SOLVERS: Mapping[str, Kind] = {
    "CogVideoXDDIMScheduler": Kind(
        module="diffusers.schedulers.scheduling_ddim_cogvideox", read=pipes.light, card="scheduler_config.json"
    ),
    "CogVideoXDPMScheduler": Kind(
        module="diffusers.schedulers.scheduling_dpm_cogvideox", read=pipes.light, card="scheduler_config.json"
    ),
}

KINDS: Mapping[str, Kind] = {
    **SOLVERS,
    "AutoencoderKLCogVideoX": Kind(module="diffusers.models.autoencoders.autoencoder_kl_cogvideox", read=pipes.model),
    "CogVideoXTransformer3DModel": Kind(
        module="diffusers.models.transformers.cogvideox_transformer_3d", read=pipes.model
    ),
}

COMPONENTS = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")


def _words(pictures: "Sequence[Image]") -> dict[str, Any]:
    return {}


def _first_picture(pictures: "Sequence[Image]") -> dict[str, Any]:
    return {"image": pictures[0]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One pipeline: where it is, and what it takes beside the rest."""

    module: str
    extras: "Callable[[Sequence[Image]], dict[str, Any]]"


ROUTES: Mapping[str, Route] = {
    "CogVideoXPipeline": Route(module="diffusers.pipelines.cogvideo.pipeline_cogvideox", extras=_words),
    "CogVideoXImageToVideoPipeline": Route(
        module="diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video", extras=_first_picture
    ),
}


def open(job: Job) -> "CogVideoX":  # noqa: A001 - the port's word
    """The family at work on the model of `job`. Refuses a card of no pipeline, and other weights (exit 4)."""
    _route(job)
    parts, says = Parts(job, KINDS), _transformer(job)
    if says:  # loading refuses a configuration that cannot be read, by name
        _same_model(job, says)
        _within(job, says, _compression(parts.skeleton("vae")))
    return CogVideoX(parts)


class CogVideoX:
    """One CogVideoX model. Frames are bit for bit those of one call of the Diffusers pipeline."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def encode(self, jobs: Sequence[Job], look: Look) -> list[Tensors]:
        """Embeddings (1, tokens, channels) of each prompt, and of the negative prompt where guidance uses one."""
        return prompts.embedded(jobs, self._embed)

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: "Sequence[Image]", step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Scaled latents (1, frames, channels, height, width), without the frames that only fill a patch of time."""
        route, pipe = _route(job), self._drawing_pipe(job)
        generator = torch.Generator("cpu").manual_seed(job.request.seed)
        drawn = pipe.transformer.config.out_channels
        with (
            pipes.wearing(pipe, job.request.loras),
            pipes.seeded(job.request.seed),
            onward.stepping(
                job, pipe, generator, step, since, onward.Walk(dreamt=lambda taken: taken[:, :, :drawn])
            ) as after,
        ):
            latents = pipe(
                **_arguments(job, generator, after),
                **_texts(job, conditioning, self._parts.device.value),
                **route.extras(pictures),
            ).frames
        shown = (job.canvas.frames - 1) // pipe.vae_scale_factor_temporal + 1
        return pipes.on_disk({"latents": latents[:, -shown:]})

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip; the frames are drawn at once and handed out one by one."""
        vae = self._parts.hold(job.card.ways[job.request.mode].phases[Phase.DECODE])["vae"]
        drawn = latents["latents"].to(vae.device, vae.dtype).permute(0, 2, 1, 3, 4)
        with torch.no_grad(), pipes.seeded(job.request.seed), pixels.tiled(vae, _tiles(self._parts.rung.tiling)):
            video = vae.decode(1 / vae.config.scaling_factor * drawn, return_dict=False)[0]
        pixels.check(job, video)
        return Film(frames=pixels.frames(job, video))

    def close(self) -> None:
        """Let go of every weight."""
        self._parts.close()

    def _embed(self, job: Job, text: str) -> Tensors:
        pipe = self._pipe(job, Phase.ENCODE)
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

    def _pipe(self, job: Job, phase: Phase) -> Any:
        """The pipeline with the components of `phase` alone."""
        way = job.card.ways[job.request.mode]
        kind = quiet.found(_route(job).module, way.pipeline)
        held = self._parts.hold(way.phases[phase])
        with quiet.quickly():
            pipe = kind(**{**dict.fromkeys(COMPONENTS), **held})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _drawing_pipe(self, job: Job) -> Any:
        """The pipeline of the denoise phase: with the card's solver, and told how the VAE compresses."""
        vae, pipe = self._parts.skeleton("vae"), self._pipe(job, Phase.DENOISE)
        space, time = _compression(vae), vae.config.temporal_compression_ratio
        _on_grid(job, space * pipe.transformer.config.patch_size, 2 * time)
        pipe.vae_scale_factor_spatial, pipe.vae_scale_factor_temporal = space, time
        solver = str(job.card.settings["solver"])
        kind = quiet.found(SOLVERS[solver].module, solver)
        pipe.scheduler = kind.from_config(pipe.scheduler.config, timestep_spacing="trailing")
        return pipe


def _route(job: Job) -> Route:
    """The route of the job's mode, once it is sure to do all that the request asks."""
    request, canvas, settings = job.request, job.canvas, job.card.settings
    name = job.card.ways[request.mode].pipeline
    if name not in ROUTES:
        raise WeightsRefused(
            f"{request.mode} of {job.card.name} needs {name}, which family {job.card.family} does not know",
            f"use one of {', '.join(ROUTES)} in the model's card",
        )
    if any(keyframe.frame or keyframe.strength != 1 for keyframe in request.keyframes):
        raise UsageRefused(
            f"{job.card.name} takes its picture at frame 0 and strength 1 in {request.mode}", "use another model"
        )
    if settings.get("only", drawn := f"{canvas.width}x{canvas.height}") != drawn:
        raise UsageRefused(
            f"{job.card.name} draws {settings['only']} alone, not {drawn}", f"drop --size, or use {settings['only']}"
        )
    return ROUTES[name]


def _transformer(job: Job) -> Mapping[str, Any]:
    """What the configuration of the transformer says; nothing where it cannot be read."""
    assert job.weights.folder is not None
    try:
        found = json.loads((job.weights.of("transformer") / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _same_model(job: Job, says: Mapping[str, Any]) -> None:
    """Refuse weights of another CogVideoX than the card's: some would draw, and draw wrongly."""
    wanted = dict(job.card.settings["transformer"])  # type: ignore[call-overload]
    said = {name: says.get(name) or 0 for name in wanted}
    if said != wanted:
        raise WeightsRefused(
            f"{job.weights.folder} holds another CogVideoX than {job.card.name}: its transformer says {said}",
            f'name the right card in its model_index.json: "{NAMED}": "cogvideox-2b"',
        )


def _within(job: Job, says: Mapping[str, Any], size: int) -> None:
    """Refuse a canvas beyond the marks of place of 1.5, which would fail in the midst of the work."""
    canvas, most = job.canvas, (says.get("sample_width", 0) * size, says.get("sample_height", 0) * size)
    if says.get("patch_size_t") and (canvas.width > most[0] or canvas.height > most[1]):
        raise UsageRefused(
            f"{job.card.name} draws at most {most[0]}x{most[1]}, not {canvas.width}x{canvas.height}",
            "ask for a smaller --size",
        )


def _compression(vae: Any) -> int:
    """Pixels to a latent, on each side."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def _on_grid(job: Job, size: int, frames: int) -> None:
    canvas = job.canvas
    if canvas.width % size or canvas.height % size or (canvas.frames - 1) % frames:
        raise WeightsRefused(
            f"the canvas {canvas.width}x{canvas.height}, {canvas.frames} frames, is off the grid of these weights: "
            f"sides in multiples of {size}, frames {frames}k+1",
            f"correct the grid in the card of {job.card.name}",
        )


def _tiles(side: int) -> dict[str, float]:
    """Tiles of space, in the VAE's words; none for 0. A quarter overlaps: its own shares do not add up to the size."""
    if not side:
        return {}
    sides = {"tile_sample_min_height": side, "tile_sample_min_width": side}
    return {**sides, "tile_overlap_factor_height": 0.25, "tile_overlap_factor_width": 0.25}


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
        "timesteps": None,
        "guidance_scale": request.guidance_scale,
        "use_dynamic_cfg": bool(job.card.settings["dynamic_guidance"]),
        "num_videos_per_prompt": 1,
        "eta": 0.0,
        "generator": generator,
        "latents": None,
        "output_type": "latent",
        "return_dict": True,
        "attention_kwargs": None,
        "callback_on_step_end": after,
        "callback_on_step_end_tensor_inputs": ["latents"],
        "max_sequence_length": job.card.tokens,
    }


def _texts(job: Job, conditioning: Tensors, device: str) -> dict[str, torch.Tensor | None]:
    guided = job.request.guidance_scale > 1
    negative = conditioning["negative_prompt_embeds"].to(device) if guided else None
    return {"prompt_embeds": conditioning["prompt_embeds"].to(device), "negative_prompt_embeds": negative}
