"""The LTX-2 family: text, pictures and keyframes to video with sound. Knows its pipelines; the card says which."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from vidgen.backends import attention, gemma, multimodal, onward, pipes, pixels, quiet, stages
from vidgen.backends.pipes import Kind, Parts
from vidgen.backends.port import Film, Look, Step, Tensors
from vidgen.backends.stages import Stage
from vidgen.core.card import Phase
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Job

if TYPE_CHECKING:
    from PIL.Image import Image

PIPELINES = "diffusers.pipelines.ltx2"
AUTOENCODERS = "diffusers.models.autoencoders.autoencoder_kl_ltx2"

KINDS: Mapping[str, Kind] = {
    "AutoencoderKLLTX2Audio": Kind(module=f"{AUTOENCODERS}_audio", read=pipes.model),
    "AutoencoderKLLTX2Video": Kind(module=AUTOENCODERS, read=pipes.model),
    "Gemma3ForConditionalGeneration": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    "Gemma4UnifiedForConditionalGeneration": Kind(module="transformers", read=pipes.encoder, bare=pipes.bare_encoder),
    "GemmaTokenizer": Kind(module="transformers", read=pipes.tokenizer, card="tokenizer_config.json"),
    "GemmaTokenizerFast": Kind(module="transformers", read=pipes.tokenizer, card="tokenizer_config.json"),
    "LTX2DurationHead": Kind(module=f"{PIPELINES}.duration_head", read=pipes.model),
    "LTX2LatentUpsamplerModel": Kind(module=f"{PIPELINES}.latent_upsampler", read=pipes.model),
    "LTX2TextConnectors": Kind(module=f"{PIPELINES}.connectors", read=pipes.model),
    "LTX2VideoTransformer3DModel": Kind(module="diffusers.models.transformers.transformer_ltx2", read=pipes.model),
    "LTX2Vocoder": Kind(module=f"{PIPELINES}.vocoder", read=pipes.model),
    "LTX2VocoderWithBWE": Kind(module=f"{PIPELINES}.vocoder", read=pipes.model),
}

COMPONENTS = ("scheduler", "vae", "audio_vae", "text_encoder", "tokenizer", "connectors", "transformer", "vocoder")

OF_SOUND = ("audio_vae", "vocoder")
"""What a silent clip can do without, once it is drawn."""

BESIDE = {"audio_latents": "audio_hidden_states"}
"""What the pipelines draw beside the video's latents, and the transformer's name for it."""


def _words(job: Job, pictures: "Sequence[Image]") -> dict[str, Any]:
    return {}


def _first_picture(job: Job, pictures: "Sequence[Image]") -> dict[str, Any]:
    return {"image": pictures[0], "image_crf": 0}


def _conditions(job: Job, pictures: "Sequence[Image]") -> dict[str, Any]:
    kind = quiet.found(f"{PIPELINES}.pipeline_ltx2_condition", "LTX2VideoCondition")
    conditions = [
        kind(
            frames=picture,
            index=multimodal.place(keyframe.frame, job.card.grid.frames),
            strength=keyframe.strength,
            crf=0,
        )
        for keyframe, picture in zip(job.request.keyframes, pictures, strict=True)
    ]
    return {"conditions": conditions}


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One pipeline: where it is, and what it takes beside the rest. `anywhere`: pictures at any frame and strength."""

    module: str
    extras: "Callable[[Job, Sequence[Image]], dict[str, Any]]"
    anywhere: bool = False


ROUTES: Mapping[str, Route] = {
    "LTX2Pipeline": Route(module=f"{PIPELINES}.pipeline_ltx2", extras=_words),
    "LTX2ImageToVideoPipeline": Route(module=f"{PIPELINES}.pipeline_ltx2_image2video", extras=_first_picture),
    "LTX2ConditionPipeline": Route(module=f"{PIPELINES}.pipeline_ltx2_condition", extras=_conditions, anywhere=True),
}


def open(job: Job) -> "Ltx2":  # noqa: A001 - the port's word
    """The family at work on the model of `job`. Refuses a card that no pipeline can serve (exit 4)."""
    _route(job)
    parts = Parts(job, KINDS)
    if multimodal.settings(job.card).perturbs:
        multimodal.refuse_blocks(job.card, parts.skeleton("transformer").config)
    return Ltx2(parts)


class Ltx2:
    """One LTX-2 model. Frames and samples are bit for bit those of one call of the Diffusers pipeline."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def enhance(self, jobs: Sequence[Job]) -> list[str]:
        """What the text encoder makes of each prompt, where the card says that it can."""
        return gemma.rewritten(self._pipe(jobs[0], Phase.ENCODE), jobs)

    def seconds(self, job: Job) -> float:
        """How long the shot would naturally be that the prompt describes, by what the connectors make of it."""
        (connected,) = self.encode([job], lambda _: ())
        head = self._parts.hold((job.card.times,))[job.card.times]
        picture, sound = (connected[name][-1:].to(self._parts.device.value) for name in multimodal.CONNECTED[:2])
        with torch.no_grad():
            return float(head(picture, sound))

    def encode(self, jobs: Sequence[Job], look: Look) -> list[Tensors]:
        """What the connectors make of each prompt, after the negative one where guidance uses it.

        As the text encoder leaves it, with all its layers, a prompt would be twenty times as large.
        """
        vae = self._parts.skeleton("vae")
        for job in jobs:
            multimodal.refuse_size(job, vae)
        negatives: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        made: dict[tuple[str, ...], Tensors] = {}
        for job in jobs:
            if _texts(job) not in made:
                made[_texts(job)] = self._connected(job, negatives)
        return [made[_texts(job)] for job in jobs]

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: "Sequence[Image]", step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Video latents, normalised (1, channels, frames, height, width); audio latents (1, channels, length, bins).

        Both float32; with them the state of the generator, which all stages share.
        """
        pipe, drawn = self._drawing_pipe(job, conditioning), dict[str, torch.Tensor]()
        scheduler, connected = pipe.scheduler, pipe.connectors
        generator = torch.Generator("cpu").manual_seed(job.request.seed)
        with pipes.seeded(job.request.seed), attention.unmasked(pipe.transformer):
            for stage, kept in stages.left(job, since):
                if stage.refine:
                    drawn = multimodal.blank(pipe, job, stage) if kept else self._doubled(pipe, job, drawn)
                pipe.scheduler, pipe.connectors = multimodal.following(job, stage, scheduler), connected.of(stage)
                words = {**multimodal.arguments(job, stage, drawn), **_route(job).extras(job, pictures)}
                with (
                    pipes.wearing(pipe, stages.worn(job, stage, self._parts)),
                    onward.stepping(job, pipe, generator, step, kept, stages.walk(job, stage, BESIDE)) as after,
                ):
                    drawn = self._drawn(job, pipe, stage, {**words, "generator": generator}, after)
        return pipes.on_disk({**drawn, "generator": generator.get_state()})

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip; the frames are drawn at once and handed out one by one."""
        names = job.card.ways[job.request.mode].phases[Phase.DECODE]
        held = self._parts.hold([name for name in names if job.request.sound or name not in OF_SOUND])
        with torch.no_grad(), pipes.seeded(job.request.seed):
            with pixels.tiled(held["vae"], pixels.tiles(job.canvas, self._parts.rung.tiling, multimodal.PIXELS)):
                video = self._pixels(job, held["vae"], latents)
            pixels.check(job, video)
            if not job.request.sound:
                return Film(frames=pixels.frames(job, video))
            audio = latents["audio_latents"].to(self._parts.device.value, self._parts.dtype)
            samples = held["vocoder"](held["audio_vae"].decode(audio, return_dict=False)[0])[0]
        rate = held["vocoder"].config.output_sampling_rate
        return Film(frames=pixels.frames(job, video), samples=samples.float().cpu().numpy(), rate=rate)

    def close(self) -> None:
        """Let go of every weight."""
        self._parts.close()

    def _connected(self, job: Job, negatives: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> Tensors:
        pipe = self._pipe(job, Phase.ENCODE)
        *others, prompt = _texts(job)
        for text in others:
            if text not in negatives:
                negatives[text] = self._embedded(pipe, job, text)
        embeds, masks = zip(*(negatives[text] for text in others), self._embedded(pipe, job, prompt), strict=True)
        with torch.no_grad():
            connected = pipe.connectors(
                text_encoder_hidden_states=torch.cat(embeds),
                attention_mask=torch.cat(masks),
                padding_side="left",
                scale_factor=8,
            )
        return pipes.on_disk(dict(zip(multimodal.CONNECTED, connected, strict=True)))

    def _embedded(self, pipe: Any, job: Job, text: str) -> tuple[torch.Tensor, torch.Tensor]:
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
                scale_factor=8,
                device=None,
                dtype=self._parts.dtype,
            )
        return embeds, mask

    def _pipe(self, job: Job, phase: Phase, **others: Any) -> Any:
        """The pipeline with the components of `phase` alone, and `others` where it lacks one."""
        way = job.card.ways[job.request.mode]
        kind = quiet.found(_route(job).module, way.pipeline)
        held = self._parts.hold(way.phases[phase])
        with quiet.quickly():
            pipe = kind(**{name: held.get(name, others.get(name)) for name in COMPONENTS})
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _drawing_pipe(self, job: Job, conditioning: Tensors) -> Any:
        """The pipeline of the denoise phase: its prompts connected already, its VAE bare where it encodes nothing."""
        vae, device = self._parts.skeleton("vae"), self._parts.device.value
        multimodal.refuse_size(job, vae)
        connectors = multimodal.Connected({name: tensor.to(device) for name, tensor in conditioning.items()})
        bare = multimodal.Bare(vae, self._parts.tensors("vae", multimodal.STATISTICS))
        pipe = self._pipe(job, Phase.DENOISE, vae=bare, connectors=connectors)
        pipe._callback_tensor_inputs = ["latents", *BESIDE]
        return pipe

    def _drawn(
        self, job: Job, pipe: Any, stage: Stage, words: Mapping[str, Any], after: onward.Callback
    ) -> dict[str, torch.Tensor]:
        """What the pipeline draws in one stage. Its own last lines would mingle the video with the VAE's statistics."""
        last: dict[str, torch.Tensor] = {}

        def noting(pipe: Any, index: int, moment: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            changed = after(pipe, index, moment, tensors)
            last.update({**tensors, **changed})
            return changed

        _, audio = pipe(
            **words,
            **multimodal.unread(stage, self._parts.device.value, self._parts.dtype),
            callback_on_step_end=noting,
            callback_on_step_end_tensor_inputs=["latents", *BESIDE],
        )
        return {"latents": multimodal.video(pipe, job, stage, last["latents"]), "audio_latents": audio}

    def _doubled(self, pipe: Any, job: Job, drawn: Tensors) -> dict[str, torch.Tensor]:
        """What a first stage drew, for a second one: the video at twice its sides, and no longer normalised."""
        kind = quiet.found(f"{PIPELINES}.pipeline_ltx2_latent_upsample", "LTX2LatentUpsamplePipeline")
        words = {"latents": drawn["latents"], "num_frames": job.canvas.frames, **multimodal.DOUBLING}
        latents = stages.doubled(job, self._parts, kind, pipe.vae, **words)
        return {"latents": latents, "audio_latents": drawn["audio_latents"]}

    def _pixels(self, job: Job, vae: Any, artefact: Tensors) -> torch.Tensor:
        """The decoded video (1, 3, frames, height, width), as the pipelines' own last lines have it."""
        device, schedule = self._parts.device.value, job.card.schedule
        latents, moment = artefact["latents"].to(device, self._parts.dtype), None
        if vae.config.timestep_conditioning:
            moment = torch.tensor([schedule.decode_timestep], device=device, dtype=latents.dtype)
            scale = schedule.decode_timestep if schedule.decode_noise_scale is None else schedule.decode_noise_scale
            share = torch.tensor([scale], device=device, dtype=latents.dtype)[:, None, None, None, None]
            latents = (1 - share) * latents + share * pixels.noise(artefact["generator"], latents)
        mean, deviation = (
            stat.view(1, -1, 1, 1, 1).to(device, latents.dtype) for stat in (vae.latents_mean, vae.latents_std)
        )
        video: torch.Tensor = vae.decode(
            latents * deviation / vae.config.scaling_factor + mean, moment, return_dict=False
        )[0]
        return video


def _texts(job: Job) -> tuple[str, ...]:
    """The texts that are read, in the order in which the pipelines put them together."""
    return (job.request.negative, job.request.prompt) if job.request.guidance_scale > 1 else (job.request.prompt,)


def _route(job: Job) -> Route:
    """The route of the job's mode, once it is sure to do all that the card and the request ask."""
    request, name = job.request, job.card.ways[job.request.mode].pipeline
    if name not in ROUTES:
        raise WeightsRefused(
            f"{request.mode} of {job.card.name} needs {name}, which family {job.card.family} does not know",
            f"use one of {', '.join(ROUTES)} in the model's card",
        )
    route = ROUTES[name]
    if not route.anywhere and any(keyframe.frame or keyframe.strength != 1 for keyframe in request.keyframes):
        raise UsageRefused(
            f"{job.card.name} takes its picture at frame 0 and strength 1 in {request.mode}",
            "use 'vidgen keyframe' or another model",
        )
    return route
