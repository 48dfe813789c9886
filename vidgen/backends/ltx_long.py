"""LTX-Video's long clips: windows that slide along, each beginning with the end of the one before; several prompts.

Neither the transformer nor the decoder holds more than one window, however long the clip is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from vidgen.backends import attention, ltx, onward, pipes, pixels, prompts, quiet, stages
from vidgen.backends.pipes import Parts
from vidgen.backends.port import Film, Look, Step, Tensors
from vidgen.core.card import Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job
from vidgen.core.windows import windows
from vidgen.core.words import parted

if TYPE_CHECKING:
    from PIL.Image import Image

RATIO = 8
"""Frames of a latent."""

PIECE, SHARED = 8, 3
"""Latents that are decoded at a time, and how many of them the next time again: 57 frames, of which 16 go over."""

TEXTS = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
"""What `encode_prompt` gives, in its order."""


def begun(job: Job) -> "Long":
    """LTX-Video at work on long clips. Refuses what the pipeline would round or ignore (exit 2 or 4)."""
    _settled(job)
    _pictured(job)
    return Long(Parts(job, ltx.KINDS))


class Long(ltx.Ltx):
    """One LTX model. Latents are bit for bit those of one call of the Diffusers pipeline, and frames of one piece."""

    def encode(self, jobs: Sequence[Job], look: "Look | None" = None) -> list[Tensors]:
        """Embeddings and masks of each prompt of a job, a row for each, and as many of its negative prompt."""
        told = [_told(job) for job in jobs]
        rows = iter(prompts.embedded([one for each in told for one in each], self._embed))
        return [_stacked(list(islice(rows, len(each)))) for each in told]

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: "Sequence[Image]", step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Normalised latents (1, channels, frames, height, width) of the whole clip; float32."""
        pipe, request = self._drawing_pipe(job), job.request
        pipe.encode_prompt = _embedded(conditioning, self._parts.device.value)
        generator = torch.Generator("cpu").manual_seed(request.seed)
        walk = onward.Walk(pieces=windows(job.card, job.canvas.frames), steps=request.steps)
        with (
            pipes.seeded(request.seed),
            pipes.wearing(pipe, request.loras),
            attention.unmasked(pipe.transformer),
            onward.stepping(job, pipe, generator, step, since, walk) as after,
        ):
            latents = pipe(
                **_arguments(job, generator, after),
                **_sliding(job),
                **_conditioned(job, pictures),
                prompt_segments=_segments(windows(job.card, job.canvas.frames), len(conditioning[TEXTS[0]])),
            ).frames
        return pipes.on_disk({"latents": latents, "generator": generator.get_state()})

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip; each piece is decoded when its first frame is asked for."""
        return Film(frames=pixels.joined(job, self._pieces(job, latents), (SHARED - 1) * RATIO))

    def _drawing_pipe(self, job: Job) -> Any:
        """The pipeline of the denoise phase, with the solver that it is made for in place of that of the weights."""
        pipe = super()._drawing_pipe(job)
        name = "LTXEulerAncestralRFScheduler"
        pipe.scheduler = quiet.found(ltx.KINDS[name].module, name).from_config(pipe.scheduler.config)
        if pipe.vae_temporal_compression_ratio != RATIO:
            raise WeightsRefused(
                f"{job.card.name} has {pipe.vae_temporal_compression_ratio} frames a latent, not {RATIO}",
                "serve its modes with another pipeline: check the model's card",
            )
        return pipe

    def _pieces(self, job: Job, artefact: Tensors) -> Iterator[tuple[torch.Tensor, bool]]:
        """The clip in pieces, and whether each is the last. The last latent stands twice, as the pipeline has it."""
        latents = artefact["latents"]
        doubled = {**artefact, "latents": torch.cat([latents, latents[:, :, -1:]], dim=2)}
        ready, moment = self._ready(job, self._vae(job), doubled)
        count = ready.shape[2]
        for begin in range(0, max(count - SHARED, 1), PIECE - SHARED):
            video = self._decoded(job, ready[:, :, begin : begin + PIECE], moment)
            # the first latent of a piece is one frame, which the piece before has too
            yield video[:, :, min(begin, 1) :], begin + PIECE >= count

    def _decoded(self, job: Job, piece: torch.Tensor, moment: torch.Tensor | None) -> torch.Tensor:
        vae = self._vae(job)
        tiles = pixels.tiles(job.canvas, self._parts.rung.tiling, vae.spatial_compression_ratio)
        whole = dict.fromkeys(("tile_sample_min_num_frames", "tile_sample_stride_num_frames"), PIECE * RATIO)
        with torch.no_grad(), pipes.seeded(job.request.seed), pixels.tiled(vae, {**tiles, **whole} if tiles else {}):
            video: torch.Tensor = vae.decode(piece, moment, return_dict=False)[0]
        pixels.check(job, video, least=(piece.shape[2] - 1) * RATIO + 1)
        return video

    def _vae(self, job: Job) -> Any:
        return self._parts.hold(job.card.ways[job.request.mode].phases[Phase.DECODE])["vae"]


def _segments(windows: int, told: int) -> list[dict[str, Any]]:
    """Which window reads which prompt, by its number: they share the windows evenly."""
    read = [window * told // windows for window in range(windows)]
    return [{"start_window": window, "end_window": window, "text": str(row)} for window, row in enumerate(read)]


def _told(job: Job) -> list[Job]:
    """The job once for each of its prompts."""
    # an enhanced prompt is one, whatever its writer puts in
    told = (job.request.prompt,) if job.enhanced else parted(job.request.prompt)
    return [replace(job, request=replace(job.request, prompt=one)) for one in told]


def _stacked(rows: Sequence[Tensors]) -> Tensors:
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def _embedded(conditioning: Tensors, device: str) -> Callable[..., tuple[torch.Tensor | None, ...]]:
    """In place of `encode_prompt`: what was embedded, by the number of the prompt."""

    def encode_prompt(prompt: list[str], **words: Any) -> tuple[torch.Tensor | None, ...]:
        row = int(prompt[0])
        kept = (conditioning.get(name) for name in TEXTS)
        return tuple(None if every is None else every[row : row + 1].to(device) for every in kept)

    return encode_prompt


def _conditioned(job: Job, pictures: "Sequence[Image]") -> dict[str, Any]:
    marks = job.request.keyframes
    return {"cond_image": pictures[0] if marks else None, "cond_strength": marks[0].strength if marks else 1.0}


def _sliding(job: Job) -> dict[str, Any]:
    """How windows follow each other, and what else they could be drawn after: nothing."""
    settings = job.card.settings
    return {
        "temporal_tile_size": settings["window"],
        "temporal_overlap": settings["overlap"],
        "temporal_overlap_cond_strength": settings["held"],
        "adain_factor": settings["adain"],
        "guidance_latents": None,
        "guiding_strength": 1.0,
        "negative_index_latents": None,
        "negative_index_strength": 1.0,
    }


def _settled(job: Job) -> None:
    """Refuse a card or steps that the pipeline would round, ignore or go wrong by (exit 4 or 2)."""
    card, settings = job.card, job.card.settings
    window, overlap = (int(str(settings[name])) for name in ("window", "overlap"))
    held, adain = (float(str(settings[name])) for name in ("held", "adain"))
    if card.refine or window % RATIO or overlap % RATIO or not (0 < overlap < window and 0 < held <= 1 >= adain >= 0):
        raise WeightsRefused(
            f"{card.name} asks for what {card.ways[job.request.mode].pipeline} cannot: window = {window}, "
            f"overlap = {overlap}, held = {held:g}, adain = {adain:g}{', two stages' if card.refine else ''}",
            f"take window and overlap in multiples of {RATIO}, held and adain up to 1, and no [refine]",
        )
    if not card.schedule.at(job.request.steps):
        raise UsageRefused(
            f"{card.name} walks its own {len(card.schedule.timesteps)} timesteps in every window", "drop --steps"
        )


def _pictured(job: Job) -> None:
    if any(mark.frame or not mark.strength for mark in job.request.keyframes):
        raise UsageRefused(f"{job.card.name} takes a picture at frame 0 and a strength beyond 0", "use another model")


def _arguments(job: Job, generator: torch.Generator, after: onward.Callback) -> dict[str, Any]:
    """What the pipeline takes beside prompts and pictures. Everything is said: defaults move between versions."""
    canvas, request, schedule = job.canvas, job.request, job.card.schedule
    (stage,) = stages.every(job)

    def packed(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return after(pipe, index, timestep, {"latents": tensors["latents_packed"]})

    return {
        "prompt": "",
        "negative_prompt": None,
        "height": canvas.height,
        "width": canvas.width,
        "num_frames": canvas.frames,
        "frame_rate": float(request.fps),
        "guidance_scale": request.guidance_scale,
        "guidance_rescale": schedule.guidance_rescale,
        "num_inference_steps": request.steps,
        "sigmas": [*stage.sigmas, 0.0],
        "generator": generator,
        # a seed would make a generator on the device for each window
        "seed": None,
        "latents": None,
        "skip_steps_sigma_threshold": None,
        "decode_timestep": schedule.decode_timestep,
        "decode_noise_scale": schedule.decode_noise_scale,
        "decode_horizontal_tiles": 1,
        "decode_vertical_tiles": 1,
        "decode_overlap": 0,
        "output_type": "latent",
        "return_dict": True,
        "attention_kwargs": None,
        "callback_on_step_end": packed,
        "callback_on_step_end_tensor_inputs": ["latents_packed"],
        "max_sequence_length": job.card.tokens,
    }
