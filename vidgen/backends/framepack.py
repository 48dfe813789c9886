"""The FramePack family: a picture to a clip of any length, section by section, each seeing the others ever smaller.

Neither the transformer nor the decoder holds more than one section, however long the clip is.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log
from typing import TYPE_CHECKING, Any

import torch

from vidgen.backends import llama, onward, pipes, pixels, quiet
from vidgen.backends.pipes import Kind, Parts
from vidgen.backends.port import Film, Look, Step, Tensors
from vidgen.core.card import Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job
from vidgen.core.request import Mode

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

PIPELINE = "HunyuanVideoFramepackPipeline"
MODULE = "diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_framepack"

KINDS: Mapping[str, Kind] = {
    **llama.KINDS,
    "AutoencoderKLHunyuanVideo": Kind(
        module="diffusers.models.autoencoders.autoencoder_kl_hunyuan_video", read=pipes.model
    ),
    "HunyuanVideoFramepackTransformer3DModel": Kind(
        module="diffusers.models.transformers.transformer_hunyuan_video_framepack", read=pipes.model
    ),
    "SiglipVisionModel": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    # by Pillow whether or not torchvision is there, which would resize a little otherwise
    "SiglipImageProcessor": Kind(
        module="transformers", read=pipes.light, card="preprocessor_config.json", instead="SiglipImageProcessorPil"
    ),
}

COMPONENTS = (
    *("transformer", "vae", "scheduler", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
    *("image_encoder", "feature_extractor"),
)

RATIO, SIDE = 4, 16
"""Frames for each latent, and what the pipeline wants sides to be multiples of."""

BACKWARDS, FORWARDS = "inverted_anti_drifting", "vanilla"
"""How sections follow: from the last to the first, or as they play."""


def open(job: Job) -> "Framepack":  # noqa: A001 - the port's word
    """The family at work on the model of `job`. Refuses what the pipeline would round or ignore (exit 2 or 4)."""
    if job.card.ways[job.request.mode].pipeline != PIPELINE:
        raise WeightsRefused(
            f"{job.request.mode} of {job.card.name} needs {job.card.ways[job.request.mode].pipeline}, "
            f"which family {job.card.family} does not know",
            f"use {PIPELINE} in the model's card",
        )
    _pictures(job)
    return Framepack(Parts(job, KINDS))


class Framepack:
    """One FramePack model. Frames are bit for bit those of one call of the Diffusers pipeline."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def encode(self, jobs: Sequence[Job], look: Look) -> list[Tensors]:
        """Embeddings, pooled embeddings and mask of each prompt, and of the negative prompt where true CFG uses one."""
        embedded: dict[str, Tensors] = {}
        return [self._conditioning(job, embedded) for job in jobs]

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: "Sequence[Image]", step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Latents (1, channels, frames, height, width) of the whole clip, in the order in which it plays; float32."""
        _pictures(job)
        first, *last = sorted(zip(job.request.keyframes, pictures, strict=True), key=lambda pair: pair[0].frame)
        pipe, sections = self._drawing_pipe(job), _sections(job)
        generator = torch.Generator("cpu").manual_seed(job.request.seed)
        with (
            pipes.wearing(pipe, job.request.loras),
            pipes.seeded(job.request.seed),
            onward.stepping(job, pipe, generator, step, since, onward.Walk(pieces=sections)) as after,
        ):
            drawn = pipe(
                **_arguments(job, generator, after),
                **llama.texts(job, conditioning, self._parts.device.value),
                image=first[1],
                last_image=last[0][1] if last else None,
            ).frames
        return pipes.on_disk({"latents": drawn[-1], "generator": generator.get_state()})

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip; each section is decoded when its first frame is asked for."""
        return Film(frames=self._frames(job, latents["latents"]))

    def close(self) -> None:
        """Let go of every weight."""
        self._parts.close()

    def _conditioning(self, job: Job, embedded: dict[str, Tensors]) -> Tensors:
        texts = {"": job.request.prompt}
        if llama.true_cfg_scale(job) > 1:
            texts["negative_"] = job.request.negative
        tensors: dict[str, torch.Tensor] = {}
        for prefix, text in texts.items():
            if text not in embedded:
                embedded[text] = llama.embed(self._pipe(job, Phase.ENCODE), job, text, {})
            tensors |= {prefix + name: tensor for name, tensor in embedded[text].items()}
        return tensors

    def _pipe(self, job: Job, phase: Phase) -> Any:
        """The pipeline with the components of `phase` alone."""
        kind = quiet.found(MODULE, PIPELINE)
        held = self._parts.hold(job.card.ways[job.request.mode].phases[phase])
        with quiet.quickly():
            pipe = kind(**{**dict.fromkeys(COMPONENTS), **held})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _drawing_pipe(self, job: Job) -> Any:
        """The pipeline of the denoise phase, its scheduler shifted as the makers' own is."""
        pipe = self._pipe(job, Phase.DENOISE)
        _on_grid(job, pipe.vae)
        pipe.scheduler.set_shift(_shift(job, pipe.vae.spatial_compression_ratio))
        return pipe

    def _frames(self, job: Job, latents: torch.Tensor) -> "Iterator[np.ndarray[Any, Any]]":
        overlap = (_window(job) - 1) * RATIO + 1
        return pixels.joined(job, ((self._decoded(job, piece), last) for piece, last in _pieces(job, latents)), overlap)

    def _decoded(self, job: Job, piece: torch.Tensor) -> torch.Tensor:
        """One piece as the pipeline decodes it."""
        vae = self._parts.hold(job.card.ways[job.request.mode].phases[Phase.DECODE])["vae"]
        scaled = piece.to(self._parts.device.value, vae.dtype) / vae.config.scaling_factor
        with torch.no_grad(), pixels.tiled(vae, pixels.squares(vae, min(job.card.cost.tile, self._parts.rung.tiling))):
            video: torch.Tensor = vae.decode(scaled, return_dict=False)[0]
        pixels.check(job, video, least=(piece.shape[2] - 1) * RATIO + 1)
        return video


def _window(job: Job) -> int:
    """Latents of a section."""
    return int(str(job.card.settings["window"]))


def _sampling(job: Job) -> str:
    return str(job.card.settings["sampling"])


def _sections(job: Job) -> int:
    return max((job.canvas.frames - 1) // (RATIO * _window(job)), 1)


def _pieces(job: Job, latents: torch.Tensor) -> Iterator[tuple[torch.Tensor, bool]]:
    """What is decoded at a time, in the order in which it plays, and whether it is the last: a section with the one
    that was there before it was drawn."""
    window, sections = _window(job), _sections(job)
    for number in range(sections):
        begin = number * window + 1 if number else 0
        end = begin + (2 * window if number else 2 * window + 1)
        if _sampling(job) == FORWARDS:
            begin, end = max(begin - window, 0), (number + 1) * window + 1
        yield latents[:, :, begin:end], number == sections - 1


def _shift(job: Job, ratio: int) -> float:
    """The makers' shift for the tokens of a section: from e^0.5 at 256 to e^1.15 at 4096 and on, but at most 7.

    The pipeline computes it too, and its scheduler ignores it unless it shifts by length.
    """
    tokens = _window(job) * (job.canvas.height // ratio) * (job.canvas.width // ratio) / 4
    return exp(min(0.5 + (tokens - 256) * (1.15 - 0.5) / (4096 - 256), log(7.0)))


def _pictures(job: Job) -> None:
    """Refuse pictures that would be moved or ignored (exit 2): one is first, another is last."""
    request, ends = job.request, {0, job.request.frames - 1}
    marks = sorted(request.keyframes, key=lambda mark: mark.frame)
    last = request.mode is Mode.KEYFRAME and len(marks) > 1
    if marks[0].frame or any(mark.strength != 1 or mark.frame not in ends for mark in marks):
        raise UsageRefused(
            f"{job.card.name} takes a picture at frame 0{' and one at the last' if last else ''}, at strength 1",
            "write --at 0:first.png --at -1:last.png",
        )
    if last and request.frames != job.canvas.frames:
        grid = job.card.grid.frames
        raise UsageRefused(
            f"the last picture would be at frame {job.canvas.frames - 1}, beyond the {request.frames} frames asked for",
            f"ask for {grid}k+1 frames, such as --frames {job.canvas.frames}",
        )


def _on_grid(job: Job, vae: Any) -> None:
    """Refuse (exit 4) a card or canvas that is not of whole sections."""
    canvas, section = job.canvas, vae.temporal_compression_ratio * _window(job)
    if _sampling(job) not in (BACKWARDS, FORWARDS) or vae.temporal_compression_ratio != RATIO:
        raise WeightsRefused(
            f"{job.card.name} draws by {_sampling(job)!r} with {vae.temporal_compression_ratio} frames a latent, "
            f"which family {job.card.family} does not know",
            f"write sampling = {BACKWARDS} or {FORWARDS} in the model's card",
        )
    if canvas.width % SIDE or canvas.height % SIDE or (canvas.frames - 1) % section:
        raise WeightsRefused(
            f"the canvas {canvas.width}x{canvas.height}, {canvas.frames} frames, is off the grid of these weights: "
            f"sides in multiples of {SIDE}, frames {section}k+1",
            f"correct the grid in the card of {job.card.name}",
        )


def _arguments(job: Job, generator: torch.Generator, after: onward.Callback) -> dict[str, Any]:
    """What the pipeline takes beside prompts and pictures. Everything is said: defaults move between versions."""
    canvas, request, window = job.canvas, job.request, _window(job)
    return {
        "prompt": None,
        "prompt_2": None,
        "negative_prompt": None,
        "negative_prompt_2": None,
        "height": canvas.height,
        "width": canvas.width,
        # it counts sections without what they overlap: so many frames make exactly ours
        "num_frames": _sections(job) * ((window - 1) * RATIO + 1),
        "latent_window_size": window,
        "num_inference_steps": request.steps,
        "sigmas": None,
        "true_cfg_scale": llama.true_cfg_scale(job),
        "guidance_scale": request.guidance_scale,
        "num_videos_per_prompt": 1,
        "generator": generator,
        "image_latents": None,
        "last_image_latents": None,
        "output_type": "latent",
        "return_dict": True,
        "attention_kwargs": None,
        "callback_on_step_end": after,
        "callback_on_step_end_tensor_inputs": ["latents"],
        "prompt_template": quiet.found(MODULE, "DEFAULT_PROMPT_TEMPLATE"),
        "max_sequence_length": job.card.tokens,
        "sampling_type": _sampling(job),
    }
