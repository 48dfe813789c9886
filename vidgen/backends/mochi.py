"""The Mochi family: text to video. Its pipeline cuts lengths and sides down to its grid; here they are refused."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from vidgen.backends import onward, pipes, pixels, prompts, quiet
from vidgen.backends.pipes import Kind, Parts
from vidgen.backends.port import Film, Look, Step, Tensors
from vidgen.core.card import Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS: Mapping[str, Kind] = {
    "AutoencoderKLMochi": Kind(module="diffusers.models.autoencoders.autoencoder_kl_mochi", read=pipes.model),
    "MochiTransformer3DModel": Kind(module="diffusers.models.transformers.transformer_mochi", read=pipes.model),
}

PIPELINE = "MochiPipeline"
MODULE = "diffusers.pipelines.mochi.pipeline_mochi"
COMPONENTS = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")

TEXTS = ("prompt_embeds", "prompt_attention_mask")
FEWEST = 2
"""Steps: half of them are spaced evenly, and the pipeline divides by their number."""


def open(job: Job) -> "Mochi":  # noqa: A001 - the port's word
    """The family at work on the model of `job`. Refuses a card of another pipeline (exit 4), and one step (exit 2)."""
    named = job.card.ways[job.request.mode].pipeline
    if named != PIPELINE:
        raise WeightsRefused(
            f"{job.request.mode} of {job.card.name} needs {named}, which family {job.card.family} does not know",
            f"use {PIPELINE} in the model's card",
        )
    if job.request.steps < FEWEST:
        raise UsageRefused(f"{job.card.name} cannot draw in one step", f"use --steps {FEWEST} or more")
    return Mochi(Parts(job, KINDS))


class Mochi:
    """One Mochi model. Frames are bit for bit those of one call of the Diffusers pipeline."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def encode(self, jobs: Sequence[Job], look: Look) -> list[Tensors]:
        """Embeddings and masks of each prompt, and of the negative prompt where guidance uses one."""
        return prompts.embedded(jobs, self._embed)

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: "Sequence[Image]", step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Normalised latents (1, channels, frames, height, width)."""
        pipe = self._pipe(job, Phase.DENOISE)
        _on_grid(job, self._parts.skeleton("vae"), pipe)
        generator = torch.Generator("cpu").manual_seed(job.request.seed)
        with (
            pipes.wearing(pipe, job.request.loras),
            pipes.seeded(job.request.seed),
            onward.stepping(job, pipe, generator, step, since) as after,
        ):
            latents = pipe(
                **_arguments(job, generator, after), **_texts(job, conditioning, self._parts.device.value)
            ).frames
        return pipes.on_disk({"latents": latents})

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip; the frames are drawn at once and handed out one by one."""
        vae = self._parts.hold(job.card.ways[job.request.mode].phases[Phase.DECODE])["vae"]
        drawn = latents["latents"].to(vae.device, vae.dtype)
        mean, deviation = (
            torch.tensor(stat).view(1, -1, 1, 1, 1).to(drawn)
            for stat in (vae.config.latents_mean, vae.config.latents_std)
        )
        with torch.no_grad(), pipes.seeded(job.request.seed), pixels.tiled(vae, _tiles(self._parts.rung.tiling)):
            video = vae.decode(drawn * deviation / vae.config.scaling_factor + mean, return_dict=False)[0]
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
        kind = quiet.found(MODULE, PIPELINE)
        held = self._parts.hold(job.card.ways[job.request.mode].phases[phase])
        zeros = bool(job.card.settings["force_zeros_for_empty_prompt"])
        with quiet.quickly():
            pipe = kind(**{**dict.fromkeys(COMPONENTS), **held}, force_zeros_for_empty_prompt=zeros)
        pipe.set_progress_bar_config(disable=True)
        return pipe


def _on_grid(job: Job, vae: Any, pipe: Any) -> None:
    """Refuse a canvas that the weights do not draw, and weights that are not as the pipeline takes them to be."""
    canvas, size, frames = job.canvas, vae.spatial_compression_ratio, vae.temporal_compression_ratio
    side = size * pipe.transformer.config.patch_size
    if (size, frames) != (pipe.vae_spatial_scale_factor, pipe.vae_temporal_scale_factor):
        raise WeightsRefused(
            f"the VAE of {job.card.name} compresses by {size} and {frames}", "these are not Mochi's files"
        )
    if canvas.width % side or canvas.height % side or (canvas.frames - 1) % frames:
        raise WeightsRefused(
            f"the canvas {canvas.width}x{canvas.height}, {canvas.frames} frames, is off the grid of these weights: "
            f"sides in multiples of {side}, frames {frames}k+1",
            f"correct the grid in the card of {job.card.name}",
        )


def _tiles(side: int) -> dict[str, float]:
    """Tiles of space, in the VAE's words; none for 0. A quarter of each overlaps the next."""
    return {
        f"tile_sample_{part}_{name}": side * share // 4
        for name in ("height", "width")
        for part, share in (("min", 4), ("stride", 3))
        if side
    }


def _arguments(job: Job, generator: torch.Generator, after: onward.Callback) -> dict[str, Any]:
    """What the pipeline takes. Everything is said: Diffusers' defaults move between versions."""
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


def _texts(job: Job, conditioning: Tensors, device: str) -> dict[str, torch.Tensor | None]:
    negatives = [f"negative_{name}" for name in TEXTS]
    names = [*TEXTS, *negatives] if job.request.guidance_scale > 1 else TEXTS
    return {**dict.fromkeys(negatives), **{name: conditioning[name].to(device) for name in names}}
