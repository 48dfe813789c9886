"""LTX-2, split into verbs, draws and sounds what one call of the Diffusers pipeline does, in one stage and in two."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file, save_file

from tests import twins
from tests.backends.films import through_disk
from vidgen.backends import ltx2
from vidgen.backends.port import State, Step, Tensors
from vidgen.backends.quiet import quickly
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin
from vidgen.core.card import ModelCard, TwinPart
from vidgen.core.plan import Job, Placement, Precision, Rung
from vidgen.core.request import Keyframe, Mode

MODULES = {
    "LTX2Pipeline": "pipeline_ltx2",
    "LTX2ImageToVideoPipeline": "pipeline_ltx2_image2video",
    "LTX2ConditionPipeline": "pipeline_ltx2_condition",
}
RESIDENT = Rung(precision=Precision.FP32, placement=Placement.RESIDENT)
MODES = [(Mode.T2V, ()), (Mode.I2V, (1,)), (Mode.KEYFRAME, (1, 2))]
ENDS = (Keyframe(picture=Path("a.png"), strength=1.0), Keyframe(picture=Path("b.png"), frame=6, strength=0.6))
FIRST = (Keyframe(picture=Path("a.png")),)

Heard = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Frames, and samples."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LTX-2 in miniature, with what doubles its sides."""
    described = twin("ltx2")
    upscaler = TwinPart(
        kind="LTX2LatentUpsamplerModel",
        arguments={"in_channels": 8, "mid_channels": 32, "num_blocks_per_stage": 1},
    )
    parts = {**described.parts, "latent_upsampler": upscaler}
    made = build(replace(described, parts=parts), tmp_path_factory.mktemp("ltx2") / "twin", pipeline="LTX2Pipeline")
    _stirred(made)
    return made


def _stirred(folder: Path) -> None:
    """Give both VAEs statistics of their own, as trained ones have: new ones have nought and one."""
    for name in ("vae", "audio_vae"):
        file = folder / name / "diffusion_pytorch_model.safetensors"
        tensors = load_file(file)
        generator = torch.Generator().manual_seed(3)
        for stat, base in (("latents_mean", 0.0), ("latents_std", 1.0)):
            tensors[stat] = base + 0.1 * torch.randn(tensors[stat].shape, generator=generator)
        save_file(tensors, file, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LTX-2.3 in miniature: gates, blocks that can be perturbed, a projection for each of the two, a second vocoder."""
    described = twin("ltx2")
    gates = {"gated_attn": True, "cross_attn_mod": True, "audio_gated_attn": True, "audio_cross_attn_mod": True}
    changed: dict[str, dict[str, Any]] = {
        "transformer": {**gates, "use_prompt_embeddings": False, "perturbed_attn": True},
        "connectors": {
            "video_connector_num_attention_heads": 2,
            "video_connector_attention_head_dim": 12,
            "audio_connector_num_attention_heads": 2,
            "video_gated_attn": True,
            "audio_gated_attn": True,
            "per_modality_projections": True,
            "video_hidden_dim": 24,
            "audio_hidden_dim": 16,
            "proj_bias": True,
        },
    }
    parts = {
        name: replace(part, arguments={**part.arguments, **changed.get(name, {})})
        for name, part in described.parts.items()
    }
    kernels = {"resnet_kernel_sizes": [3], "resnet_dilations": [[1, 3, 5]]}
    parts["vocoder"] = TwinPart(
        kind="LTX2VocoderWithBWE",
        arguments={
            "in_channels": 16,
            "hidden_channels": 64,
            "bwe_in_channels": 16,
            "bwe_hidden_channels": 32,
            "num_mel_channels": 8,
            **kernels,
            **{f"bwe_{name}": value for name, value in kernels.items()},
        },
    )
    made = build(replace(described, parts=parts), tmp_path_factory.mktemp("newer") / "twin", pipeline="LTX2Pipeline")
    _stirred(made)
    return made


def card(folder: Path, name: str = "ltx-2-19b-dev", **changed: Any) -> ModelCard:
    """A shipped card for the weights in `folder`, reading but 64 tokens; `changed` are some of its settings."""
    known = cards.card(name)
    return replace(known, folder=folder, tokens=64, settings={**known.settings, **changed})


def two_stages(folder: Path) -> ModelCard:
    return card(folder, "ltx-2-19b-distilled-x2")


def newest(folder: Path) -> ModelCard:
    """The guided card of LTX-2.3, which perturbs the last block of its twin."""
    return card(folder, "ltx-2.3-dev", stg_blocks=[1])


def asked(known: ModelCard, mode: Mode = Mode.T2V, **words: Any) -> Job:
    """A job that the card can serve: distilled ones with all of their steps and no guidance."""
    fixed = len(known.schedule.timesteps)
    own: dict[str, Any] = {"steps": fixed, "guidance_scale": 1.0} if fixed else {"steps": 3}
    if mode is Mode.KEYFRAME:
        own["keyframes"] = ENDS
    own |= {"width": 128 if known.grid.size == 64 else 96, "height": 64}
    return twins.job(known, mode, **{**own, **words})


def drawn(job: Job, seeds: Sequence[int]) -> list[Image]:
    return [twins.picture(job.canvas.width, job.canvas.height, seed) for seed in seeds]


def quiet_step(done: int, total: int, state: State | None = None, /) -> None:
    """Nobody listens."""


def latents_of(job: Job, pictures: Sequence[Image], step: Step = quiet_step, since: Tensors | None = None) -> Tensors:
    """The final latents, each verb by a backend of its own and each artefact through a file."""
    backend = ltx2.open(job)
    conditioning = through_disk(backend.encode([job])[0])
    backend.close()
    backend = ltx2.open(job)
    found = through_disk(backend.denoise(job, conditioning, pictures, step, since))
    backend.close()
    return found


def shown(job: Job, latents: Tensors) -> Heard:
    backend = ltx2.open(job)
    film = backend.decode(job, latents)
    frames = np.stack(list(film.frames))
    backend.close()
    assert film.samples is not None
    return frames, film.samples


def split(job: Job, pictures: Sequence[Image]) -> Heard:
    return shown(job, latents_of(job, pictures))


def guided(job: Job) -> dict[str, Any]:
    """The guidance, as the card has it for a guided request: for another all of it is off."""
    wanted, scale = job.card.settings, job.request.guidance_scale
    on = scale > 1
    return {
        "guidance_scale": scale,
        "guidance_rescale": job.card.schedule.guidance_rescale if on else 0.0,
        "audio_guidance_scale": wanted["audio_guidance_scale"] if on else 1.0,
        "audio_guidance_rescale": wanted["audio_guidance_rescale"] if on else 0.0,
        "stg_scale": wanted.get("stg_scale", 0.0) if on else 0.0,
        "audio_stg_scale": wanted.get("audio_stg_scale", 0.0) if on else 0.0,
        "spatio_temporal_guidance_blocks": wanted.get("stg_blocks") if on else None,
        "modality_scale": wanted["modality_scale"] if on else 1.0,
        "audio_modality_scale": wanted["audio_modality_scale"] if on else 1.0,
        "use_cross_timestep": wanted["cross_timestep"],
    }


def whole(job: Job, pictures: Sequence[Image], *, cut: bool = True) -> Heard:
    """Frames and samples as the page of Diffusers has it: one call of a pipeline, or two and the upscaler between."""
    request, canvas, name = job.request, job.canvas, job.card.ways[job.request.mode].pipeline
    assert job.card.folder is not None
    pipe = pipeline(job.card.folder, name, job.plan.rung.precision, bool(job.card.schedule.timesteps))
    sigmas = [moment / 1000 for moment in job.card.schedule.timesteps]
    words = {
        "prompt": request.prompt,
        "negative_prompt": request.negative,
        "num_frames": canvas.frames,
        "frame_rate": float(request.fps),
        "generator": torch.Generator().manual_seed(request.seed),
        "max_sequence_length": job.card.tokens,
        **guided(job),
        **_own(job, name, pictures),
    }
    refine = int(str(job.card.settings.get("refine", 0)))
    last: dict[str, Any] = {"height": canvas.height, "width": canvas.width, "num_inference_steps": request.steps}
    with quickly():
        if refine:
            half = {"height": canvas.height // 2, "width": canvas.width // 2}
            first, second = sigmas[:-refine], sigmas[-refine:]
            video, audio = pipe(
                **words, **half, sigmas=first, num_inference_steps=len(first), output_type="latent", return_dict=False
            )
            doubled = upscaler(job.card.folder, pipe)(latents=video, output_type="latent", return_dict=False, **half)[0]
            last |= {"sigmas": second, "num_inference_steps": refine, "noise_scale": second[0]}
            last |= {"latents": doubled, "audio_latents": audio}
        elif sigmas:
            last["sigmas"] = sigmas
        video, audio = pipe(**words, **last, output_type="np", return_dict=False)
    frames: np.ndarray[Any, Any] = (video[0] * 255).round().astype(np.uint8)
    samples = audio[0].float().numpy()
    if not cut:
        return frames, samples
    rows = slice(canvas.top, canvas.top + request.height)
    return frames[: request.frames, rows, canvas.left : canvas.left + request.width], samples


@cache
def pipeline(folder: Path, name: str, precision: Precision, distilled: bool) -> Any:
    """The loaded pipeline of Diffusers; for distilled weights with a scheduler that follows their sigmas."""
    dtype = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}[precision]
    with quickly():
        kind = getattr(import_module(f"diffusers.pipelines.ltx2.{MODULES[name]}"), name)
    with quickly():
        pipe = kind.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
    if distilled:
        scheduler = type(pipe.scheduler)
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config, use_dynamic_shifting=False, shift_terminal=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def upscaler(folder: Path, pipe: Any) -> Any:
    with quickly():
        kind = import_module("diffusers.pipelines.ltx2.pipeline_ltx2_latent_upsample").LTX2LatentUpsamplePipeline
        model = import_module("diffusers.pipelines.ltx2.latent_upsampler").LTX2LatentUpsamplerModel
        upscaler = model.from_pretrained(folder / "latent_upsampler", torch_dtype=pipe.vae.dtype, local_files_only=True)
    return kind(vae=pipe.vae, latent_upsampler=upscaler)


def _own(job: Job, name: str, pictures: Sequence[Image]) -> dict[str, Any]:
    if name == "LTX2ImageToVideoPipeline":
        return {"image": pictures[0], "image_crf": 0}
    if name == "LTX2Pipeline":
        return {}
    kind = import_module("diffusers.pipelines.ltx2.pipeline_ltx2_condition").LTX2VideoCondition
    return {
        "conditions": [
            kind(frames=picture, index=(mark.frame + 7) / 8 if mark.frame else 0, strength=mark.strength, crf=0)
            for mark, picture in zip(job.request.keyframes, pictures, strict=True)
        ]
    }


def same(job: Job, seeds: Sequence[int] = ()) -> Heard:
    """Split equals whole, bit for bit, in picture and sound."""
    pictures = drawn(job, seeds)
    ours, theirs = split(job, pictures), whole(job, pictures)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)
    frames, samples = ours
    assert frames.shape == (job.request.frames, job.request.height, job.request.width, 3)
    assert frames.std() > 1
    assert samples.shape[0] == 2
    assert samples.std() > 1e-4
    return ours


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize(("mode", "seeds"), MODES)
def test_split_equals_whole(folder: Path, mode: Mode, seeds: tuple[int, ...], guidance: float) -> None:
    same(asked(card(folder), mode, guidance_scale=guidance), seeds)


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize(("mode", "seeds"), MODES)
def test_the_newer_weights_with_every_kind_of_guidance(
    newer: Path, mode: Mode, seeds: tuple[int, ...], guidance: float
) -> None:
    same(asked(newest(newer), mode, guidance_scale=guidance), seeds)


@pytest.mark.parametrize(("mode", "seeds"), MODES)
def test_distilled_weights_keep_their_sigmas_in_every_mode(folder: Path, mode: Mode, seeds: tuple[int, ...]) -> None:
    same(asked(card(folder, "ltx-2-19b-distilled"), mode), seeds)


@pytest.mark.parametrize(("mode", "seeds"), MODES)
def test_two_stages(folder: Path, mode: Mode, seeds: tuple[int, ...]) -> None:
    same(asked(two_stages(folder), mode), seeds)


@pytest.mark.parametrize("name", ["ltx-2-19b-dev", "ltx-2-19b-distilled-x2"])
@pytest.mark.parametrize(("mode", "seeds"), MODES)
def test_bfloat16(folder: Path, mode: Mode, seeds: tuple[int, ...], name: str) -> None:
    rung = Rung(precision=Precision.BF16, placement=Placement.PHASE)
    same(asked(card(folder, name), mode, rung=rung), seeds)
