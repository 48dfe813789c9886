"""LTX-2, split into verbs, draws and sounds what one call of the Diffusers pipeline does, in one stage and in two."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
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
from tests.backends.films import recorded, through_disk
from tests.conftest import ANSWER
from vidgen import prepare, run
from vidgen.backends import attention, ltx2, multimodal, pixels
from vidgen.backends.port import State, Step, Tensors
from vidgen.backends.quiet import found, quickly
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin
from vidgen.core.card import NAMED, ModelCard, TwinPart
from vidgen.core.errors import ChecksFailed, InputRefused, Stopped, UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job, Placement, Precision, Rung
from vidgen.core.request import Keyframe, Lora, Mode
from vidgen.core.result import Event
from vidgen.media import ffmpeg
from vidgen.media.inspect import digest
from vidgen.media.inspect import inspect as look
from vidgen.resume import finalize

MODULES = {
    "LTX2Pipeline": "pipeline_ltx2",
    "LTX2ImageToVideoPipeline": "pipeline_ltx2_image2video",
    "LTX2ConditionPipeline": "pipeline_ltx2_condition",
}
FULL = "ltx-2-19b-dev-x2"
"""The card of full weights in two stages."""

RESIDENT = Rung(precision=Precision.FP32, placement=Placement.RESIDENT)
MODES = [(Mode.T2V, ()), (Mode.I2V, (1,)), (Mode.KEYFRAME, (1, 2))]
ENDS = (Keyframe(picture=Path("a.png"), strength=1.0), Keyframe(picture=Path("b.png"), frame=6, strength=0.6))
FIRST = (Keyframe(picture=Path("a.png")),)

Heard = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Frames, and samples."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LTX-2 in miniature, with what doubles its sides and what its full weights wear then."""
    described = twin("ltx2")
    upscaler = TwinPart(
        kind="LTX2LatentUpsamplerModel",
        arguments={"in_channels": 8, "mid_channels": 32, "num_blocks_per_stage": 1},
    )
    parts = {**described.parts, "latent_upsampler": upscaler}
    made = build(replace(described, parts=parts), tmp_path_factory.mktemp("ltx2") / "twin", pipeline="LTX2Pipeline")
    _stirred(made)
    twins.lora(made / "ltx-2-19b-distilled-lora-384.safetensors", width=24)
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
    conditioning = through_disk(backend.encode([job], lambda _: ())[0])
    backend.close()
    backend = ltx2.open(job)
    latents = through_disk(backend.denoise(job, conditioning, pictures, step, since))
    backend.close()
    return latents


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
    refine = job.card.refine
    last: dict[str, Any] = {"height": canvas.height, "width": canvas.width, "num_inference_steps": request.steps}
    with quickly(), ExitStack() as after, attention.unmasked(pipe.transformer):
        if refine:
            half = {"height": canvas.height // 2, "width": canvas.width // 2}
            second = [moment / 1000 for moment in refine.timesteps]
            times = {"sigmas": sigmas or None, "num_inference_steps": request.steps}
            video, audio = pipe(**words, **half, **times, output_type="latent", return_dict=False)
            doubled = upscaler(job.card.folder, pipe)(latents=video, output_type="latent", return_dict=False, **half)[0]
            last |= {"sigmas": second, "num_inference_steps": len(second), "noise_scale": second[0]}
            last |= {"latents": doubled, "audio_latents": audio}
            words |= guided(replace(job, request=replace(request, guidance_scale=1.0)))
            if refine.lora:
                after.enter_context(distilled(pipe, job.card.folder / job.card.component(refine.lora).file))
        elif sigmas:
            last["sigmas"] = sigmas
        video, audio = pipe(**words, **last, output_type="np", return_dict=False)
    frames: np.ndarray[Any, Any] = (video[0] * 255).round().astype(np.uint8)
    samples = audio[0].float().numpy()
    if not cut:
        return frames, samples
    rows = slice(canvas.top, canvas.top + request.height)
    return frames[: request.frames, rows, canvas.left : canvas.left + request.width], samples


@contextmanager
def distilled(pipe: Any, file: Path) -> Iterator[None]:
    """Full weights as distilled ones: wearing the makers' LoRA, with a scheduler that follows its sigmas."""
    own = pipe.scheduler
    pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="distilled")
    pipe.scheduler = type(own).from_config(own.config, use_dynamic_shifting=False, shift_terminal=None)
    try:
        yield
    finally:
        pipe.unload_lora_weights()
        pipe.scheduler = own


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


@pytest.mark.parametrize(("mode", "seeds"), MODES)
def test_two_stages_of_full_weights_that_wear_the_makers_lora_in_the_second(
    folder: Path, mode: Mode, seeds: tuple[int, ...]
) -> None:
    same(asked(card(folder, FULL), mode), seeds)


def test_what_the_second_stage_wears_counts_beside_ones_own_lora_and_leaves_no_trace(
    folder: Path, tmp_path: Path
) -> None:
    own = Lora(path=twins.lora(Path("style.safetensors"), width=24, rank=2))
    bare, dressed = asked(card(folder, FULL)), asked(card(folder, FULL), loras=[own])
    backend = ltx2.open(bare)
    conditioning = backend.encode([bare], lambda _: ())[0]
    before, changed, after = (backend.denoise(job, conditioning, (), quiet_step) for job in (bare, dressed, bare))
    assert torch.equal(before["latents"], after["latents"])
    assert (before["latents"] != changed["latents"]).any()
    other = shutil.copytree(folder, tmp_path / "other")
    twins.lora(other / "ltx-2-19b-distilled-lora-384.safetensors", width=24, rank=2)
    assert (before["latents"] != latents_of(asked(card(other, FULL)), ())["latents"]).any()


def test_the_makers_lora_changes_the_transformer_alone_though_it_is_for_the_connectors_too(
    folder: Path, tmp_path: Path
) -> None:
    """As the makers' own code has it: the prompt is read once, before anything is worn."""
    other = shutil.copytree(folder, tmp_path / "other")
    file = other / "ltx-2-19b-distilled-lora-384.safetensors"
    place = "connectors.video_connector.transformer_blocks.0.attn1.to_q"
    more = {f"{place}.lora_A.weight": torch.ones(4, 32), f"{place}.lora_B.weight": torch.ones(32, 4)}
    save_file({**load_file(file), **more}, file)
    found = latents_of(asked(card(other, FULL)), ())
    assert torch.equal(found["latents"], latents_of(asked(card(folder, FULL)), ())["latents"])


@pytest.mark.parametrize(
    "name", ["ltx-2-19b-dev", "ltx-2-19b-distilled-x2", pytest.param(FULL, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("mode", "seeds"), MODES)
def test_bfloat16(folder: Path, mode: Mode, seeds: tuple[int, ...], name: str) -> None:
    rung = Rung(precision=Precision.BF16, placement=Placement.PHASE)
    same(asked(card(folder, name), mode, rung=rung), seeds)


@pytest.mark.parametrize("frame", [0, 1, 2, 7, 8, 9, 120, 256])
def test_a_picture_stands_at_the_very_frame_that_was_asked_for(folder: Path, frame: int) -> None:
    """The pipeline counts latents, and turns them into frames so: (index - 1) * 8 + 1."""
    place = multimodal.place(frame, 8)
    assert frame == ((place - 1) * 8 + 1 if place else 0)
    if frame in (6, 7):
        marks = (Keyframe(picture=Path("a.png"), frame=frame),)
        same(asked(card(folder), Mode.KEYFRAME, keyframes=marks), (1,))


def test_a_later_picture_draws_another_clip(folder: Path) -> None:
    known, pictures = card(folder), [twins.picture(96, 64, 1)]
    clips = [
        split(asked(known, Mode.KEYFRAME, keyframes=(Keyframe(picture=Path("a.png"), frame=frame),)), pictures)
        for frame in (3, 4)
    ]
    assert (clips[0][0] != clips[1][0]).any()


@pytest.mark.parametrize("fps", ["24", "25", "30", "50", "24000/1001"])
def test_rates_draw_as_one_call_does_and_sound_as_long(folder: Path, fps: str) -> None:
    job = asked(card(folder), fps=Fraction(fps), frames=17)
    _, samples = same(job)
    assert samples.shape[1] / 24000 == pytest.approx(17 / Fraction(fps), abs=0.06)


def test_the_clip_is_cut_from_the_canvas(folder: Path) -> None:
    canvas = Canvas(width=96, height=64, frames=17, left=7, top=14)
    job = asked(card(folder), canvas=canvas, width=50, height=36, frames=12)
    frames, _ = split(job, ())
    np.testing.assert_array_equal(frames, whole(job, (), cut=False)[0][:12, 14:50, 7:57])


def test_placements_draw_and_sound_the_same(folder: Path) -> None:
    pictures, clips = [twins.picture(96, 64)], []
    for placement in Placement:
        job = asked(card(folder), Mode.I2V, rung=replace(RESIDENT, placement=placement))
        clips.append(split(job, pictures))
    for frames, samples in clips[1:]:
        np.testing.assert_array_equal(frames, clips[0][0])
        np.testing.assert_array_equal(samples, clips[0][1])


def test_a_batch_is_encoded_as_its_clips_are(folder: Path) -> None:
    known = card(folder)
    jobs = [asked(known), asked(known, prompt="a blue square"), asked(known, guidance_scale=1.0), asked(known, seed=8)]
    together = ltx2.open(jobs[0]).encode(jobs, lambda _: ())
    for job, tensors in zip(jobs, together, strict=True):
        alone = ltx2.open(job).encode([job], lambda _: ())[0]
        assert alone.keys() == tensors.keys()
        assert all(torch.equal(alone[name], tensors[name]) for name in alone)
    assert [tensors["prompt_embeds"].shape[0] for tensors in together] == [2, 2, 1, 2]


def test_a_clip_without_sound_asks_nothing_of_what_makes_it(folder: Path, tmp_path: Path) -> None:
    job = asked(card(folder), sound=False)
    latents = latents_of(job, ())
    shutil.copytree(folder, tmp_path / "silent")
    for name in ("audio_vae", "vocoder"):
        shutil.rmtree(tmp_path / "silent" / name)
    silent = replace(job, card=card(tmp_path / "silent"), weights=replace(job.weights, folder=tmp_path / "silent"))
    film = ltx2.open(silent).decode(silent, latents)
    assert (film.samples, film.rate) == (None, 0)
    np.testing.assert_array_equal(np.stack(list(film.frames)), whole(job, ())[0])


def test_sound_has_the_rate_of_its_vocoder(folder: Path, newer: Path) -> None:
    rates = []
    for job in (asked(card(folder)), asked(newest(newer))):
        latents = latents_of(job, ())
        rates.append(ltx2.open(job).decode(job, latents).rate)
    assert rates == [24000, 48000]


def kept(job: Job, pictures: Sequence[Image]) -> tuple[Tensors, list[Tensors]]:
    """The final latents, and the state after each step, each through a file."""
    states: list[Tensors] = []

    def step(done: int, total: int, state: State | None = None, /) -> None:
        assert state is not None
        states.append(through_disk(state()))

    return latents_of(job, pictures, step), states


def goes_on(job: Job, seeds: Sequence[int], steps: Sequence[int]) -> None:
    """From each of `steps`, to the very latents of a run that was never stopped."""
    pictures = drawn(job, seeds)
    undisturbed, states = kept(job, pictures)
    assert [int(state["step"]) for state in states] == list(range(1, job.steps + 1))
    for state in (states[step - 1] for step in steps):
        done: list[tuple[int, int]] = []
        latents = latents_of(
            job, pictures, lambda step, total, state=None, done=done: done.append((step, total)), state
        )
        assert latents.keys() == {"latents", "audio_latents", "generator"} == undisturbed.keys()
        for name in latents:
            assert torch.equal(latents[name], undisturbed[name]), (name, int(state["step"]))
        assert done == [(step, job.steps) for step in range(int(state["step"]) + 1, job.steps + 1)]


@pytest.mark.parametrize(("mode", "seeds"), MODES)
def test_every_mode_goes_on_from_every_step_sound_included(newer: Path, mode: Mode, seeds: tuple[int, ...]) -> None:
    goes_on(asked(newest(newer), mode), seeds, (1, 2, 3))


@pytest.mark.parametrize(
    ("mode", "seeds"), [MODES[0], *(pytest.param(*mode, marks=pytest.mark.slow) for mode in MODES[1:])]
)
def test_two_stages_go_on_from_the_first_and_the_last_step_of_each(
    folder: Path, mode: Mode, seeds: tuple[int, ...]
) -> None:
    rung = Rung(precision=Precision.BF16, placement=Placement.PHASE)
    goes_on(asked(two_stages(folder), mode, rung=rung), seeds, (1, 8, 9, 11))


@pytest.mark.slow
def test_two_stages_of_full_weights_go_on_from_the_first_and_the_last_step_of_each(folder: Path) -> None:
    goes_on(asked(card(folder, FULL), Mode.KEYFRAME), (1, 2), (1, 3, 4, 6))


def test_a_stage_that_was_done_costs_no_call_of_the_transformer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(two_stages(folder))
    _, states = kept(job, ())
    kind = found("diffusers.models.transformers.transformer_ltx2", "LTX2VideoTransformer3DModel")
    real, calls = kind.forward, list[int]()

    def forward(self: Any, *words: Any, **more: Any) -> Any:
        calls.append(1)
        return real(self, *words, **more)

    monkeypatch.setattr(kind, "forward", forward)
    latents_of(job, (), quiet_step, states[9])
    assert len(calls) == 1


@pytest.mark.parametrize("fault", [{"audio_latents": torch.zeros(1, 2, 3)}, {"latents": torch.zeros(1, 2, 3)}])
@pytest.mark.parametrize(("name", "step"), [("ltx-2-19b-dev", 2), ("ltx-2-19b-distilled-x2", 9)])
def test_what_was_kept_of_another_model_is_refused(
    folder: Path, name: str, step: int, fault: dict[str, torch.Tensor]
) -> None:
    job = asked(card(folder, name))
    _, states = kept(job, ())
    state = states[step - 1]
    deaf = {key: tensor for key, tensor in state.items() if key != "audio_latents"}
    for other in ({**state, **fault}, deaf, {**state, "step": torch.tensor(99)}):
        with pytest.raises(InputRefused, match="where this model draws"):
            latents_of(job, (), quiet_step, other)


@pytest.mark.parametrize(("mode", "seeds"), MODES)
def test_every_argument_is_said(
    folder: Path, mode: Mode, seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when Diffusers grows an argument with a default: say it, or write here why not."""
    job = asked(card(folder), mode)
    name = job.card.ways[mode].pipeline
    kind = found(f"diffusers.pipelines.ltx2.{MODULES[name]}", name)
    connectors = found("diffusers.pipelines.ltx2.connectors", "LTX2TextConnectors")
    conditioning = ltx2.open(job).encode([job], lambda _: ())[0]
    said = [recorded(monkeypatch, holder, verb) for holder, verb in ((kind, "__call__"), (connectors, "forward"))]
    for work in (
        lambda: ltx2.open(job).denoise(job, conditioning, drawn(job, seeds), quiet_step),
        lambda: ltx2.open(job).encode([job], lambda _: ()),
    ):
        with pytest.raises(Stopped):
            work()
    said.append(recorded(monkeypatch, kind, "encode_prompt"))
    with pytest.raises(Stopped):
        ltx2.open(job).encode([job], lambda _: ())
    for wanted, given in said:
        assert set(wanted) - {"self"} == set(given)


def test_every_argument_is_said_of_what_doubles_the_sides(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = asked(two_stages(folder))
    module = "diffusers.pipelines.ltx2.pipeline_ltx2_latent_upsample"
    wanted, given = recorded(monkeypatch, found(module, "LTX2LatentUpsamplePipeline"), "__call__")
    with pytest.raises(Stopped):
        latents_of(job, ())
    assert set(wanted) - {"self"} == set(given)


@pytest.mark.parametrize(
    ("side", "width"),
    [(64, 192), (128, 416), *(pytest.param(*tile, marks=pytest.mark.slow) for tile in ((100, 224), (512, 544)))],
)
def test_tiles_give_the_whole_picture(folder: Path, side: int, width: int) -> None:
    """Of any width: in tiles of 128 that begin each 96, one of 416 would end in a tile too narrow to be padded."""
    job = asked(card(folder), width=width, height=128, frames=73, steps=2)
    latents = latents_of(job, ())
    plain = shown(job, latents)
    tiled = shown(replace(job, plan=replace(job.plan, rung=replace(RESIDENT, tiling=side))), latents)
    assert tiled[0].shape == plain[0].shape == (73, 128, width, 3)
    assert 0 < np.abs(tiled[0].astype(int) - plain[0]).mean() < 30
    np.testing.assert_array_equal(tiled[1], plain[1])


def test_no_width_up_to_4k_leaves_a_tile_too_narrow_and_tiles_lie_over_each_other() -> None:
    for side in (128, 256, 512):
        for length in range(64, 4096 + 1, 32):
            found = pixels.tiles(Canvas(width=length, height=512, frames=9), side, 32)
            tile, stride = found["tile_sample_min_width"], found["tile_sample_stride_width"]
            assert side <= tile <= side + 96
            assert 0 < stride <= tile
            assert tile % 32 == stride % 32 == 0
            assert length % stride != 32


def test_no_tiles_no_change() -> None:
    assert pixels.tiles(Canvas(width=512, height=512, frames=9), 0, 32) == {}


def test_lora_changes_the_clip_and_leaves_no_trace(folder: Path) -> None:
    file = twins.lora(Path("style.safetensors"), width=24)
    bare, dressed = asked(card(folder)), asked(card(folder), loras=[Lora(path=file)])
    backend = ltx2.open(bare)
    conditioning = backend.encode([bare], lambda _: ())[0]
    before, changed, after = (backend.denoise(job, conditioning, (), quiet_step) for job in (bare, dressed, bare))
    assert torch.equal(before["latents"], after["latents"])
    assert (before["latents"] != changed["latents"]).any()
    assert (before["audio_latents"] != changed["audio_latents"]).any()
    pipe = pipeline(folder, "LTX2Pipeline", Precision.FP32, False)
    with quickly():
        pipe.load_lora_weights("style.safetensors", adapter_name="style")
    frames, samples = whole(bare, ())
    pipe.unload_lora_weights()
    np.testing.assert_array_equal(shown(dressed, changed)[0], frames)
    np.testing.assert_array_equal(shown(dressed, changed)[1], samples)


@pytest.mark.parametrize("fault", [{"prefix": "unet"}, {"width": 48}])
def test_lora_of_another_model_is_refused(folder: Path, fault: dict[str, Any]) -> None:
    file = twins.lora(Path("other.safetensors"), **{"width": 24, **fault})
    with pytest.raises(WeightsRefused, match=r"other\.safetensors"):
        latents_of(asked(card(folder), loras=[Lora(path=file)]), ())


def test_lora_that_changes_the_connectors_is_refused(folder: Path) -> None:
    """Prompts are connected once, before anything is worn: it would be half a LoRA."""
    tensors = load_file(twins.lora(Path("half.safetensors"), width=24))
    place = "connectors.video_connector.transformer_blocks.0.attn1.to_q"
    tensors |= {f"{place}.lora_A.weight": torch.ones(4, 32), f"{place}.lora_B.weight": torch.ones(32, 4)}
    save_file(tensors, "half.safetensors")
    with pytest.raises(WeightsRefused, match="text connectors"):
        latents_of(asked(card(folder), loras=[Lora(path=Path("half.safetensors"))]), ())


@pytest.mark.parametrize("name", ["proj_out.weight", "audio_proj_out.weight"])
def test_nan_is_refused_in_picture_and_in_sound(folder: Path, tmp_path: Path, name: str) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken")
    file = broken / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, name: tensors[name] * float("nan")}, file, metadata={"format": "pt"})
    with pytest.raises(ChecksFailed, match=r"NaN.*after step 1 of 3"):
        latents_of(asked(card(broken)), ())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"audio_modality_scale": 0.0}, "audio_modality_scale = 0, which Diffusers takes for the modality_scale of 3"),
        ({"stg_scale": 1.0, "audio_stg_scale": 1.0, "stg_blocks": [1]}, "perturbs blocks, and its transformer cannot"),
        ({"strength": 1.0}, "strength"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(folder: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(WeightsRefused, match=said):
        ltx2.open(asked(card(folder, **settings)))


def test_blocks_that_are_not_there_are_refused(newer: Path) -> None:
    with pytest.raises(WeightsRefused, match=r"perturbs blocks \[28\] of a transformer of 2"):
        ltx2.open(asked(card(newer, "ltx-2.3-dev")))


def test_distilled_weights_are_not_drawn_with_the_settings_of_full_ones(folder: Path, tmp_path: Path) -> None:
    distilled = shutil.copytree(folder, tmp_path / "distilled")
    file = distilled / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace('"use_dynamic_shifting": true', '"use_dynamic_shifting": false'))
    with pytest.raises(WeightsRefused, match="weights of a distilled model"):
        latents_of(asked(card(distilled)), ())
    same(asked(card(distilled, "ltx-2-19b-distilled")))


def test_distilled_weights_that_are_forced_into_other_steps_are_spaced_by_their_scheduler(folder: Path) -> None:
    forced = asked(card(folder, "ltx-2-19b-distilled"), steps=3, force=True)
    free = replace(forced.card, schedule=replace(forced.card.schedule, timesteps=()))
    for mine, other in zip(split(forced, ()), whole(replace(forced, card=free), ()), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_one_step_is_refused_where_the_schedule_would_be_no_numbers(folder: Path) -> None:
    with pytest.raises(UsageRefused, match="in one step"):
        latents_of(asked(card(folder), steps=1), ())


def test_a_weak_first_picture_is_refused_where_it_would_be_ignored(folder: Path) -> None:
    weak = [Keyframe(picture=Path("a.png"), strength=0.5)]
    with pytest.raises(UsageRefused, match="strength"):
        ltx2.open(asked(card(folder), Mode.I2V, keyframes=weak))
    same(asked(two_stages(folder), Mode.I2V, keyframes=weak), (1,))


def test_an_unknown_pipeline_is_refused(folder: Path) -> None:
    known = card(folder)
    ways = {Mode.T2V: replace(known.ways[Mode.T2V], pipeline="LTX2DFRPipeline")}
    with pytest.raises(WeightsRefused, match="LTX2DFRPipeline"):
        ltx2.open(asked(replace(known, ways=ways)))


def test_a_canvas_that_does_not_suit_the_weights_is_refused_before_a_prompt_is_read(folder: Path) -> None:
    backend = ltx2.open(asked(card(folder)))
    for size, refusal in (((96, 48), WeightsRefused), ((96, 32), UsageRefused)):
        with pytest.raises(refusal):
            backend.encode([asked(card(folder), width=size[0], height=size[1])], lambda _: ())
    with pytest.raises(WeightsRefused, match="multiples of 64"):
        backend.encode([asked(two_stages(folder), width=96, height=64)], lambda _: ())


def test_stopping_stops_at_once_in_the_second_stage_too(folder: Path) -> None:
    done: list[int] = []

    def step(index: int, total: int, state: State | None = None, /) -> None:
        done.append(index)
        if index == 9:
            raise Stopped("stopped", "")

    with pytest.raises(Stopped):
        latents_of(asked(two_stages(folder)), (), step)
    assert done == list(range(1, 10))


@pytest.fixture
def model(folder: Path) -> str:
    """The twin in this folder, as it would be downloaded."""
    shutil.copytree(folder, "tiny-ltx2")
    return "./tiny-ltx2"


def named(model: str, card: str) -> str:
    """The same weights, whose index names their card."""
    index = Path(model) / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), NAMED: card}))
    return model


def heard(path: Path) -> tuple[str, int]:
    """A hash of the decoded samples, and their rate in Hz."""
    words = ["-i", ffmpeg.name(path), "-map", "0:a", "-f", "framehash", "pipe:1"]
    with ffmpeg.running(words, reading=True) as child:
        text = child.output.read().decode()
        assert child.finish() == 0
    rate = next(line for line in text.splitlines() if line.startswith("#sample_rate"))
    return hashlib.sha256(text.encode()).hexdigest(), int(rate.rpartition(" ")[2])


@pytest.mark.parametrize(
    ("name", "fps", "frames", "codec", "rate"),
    [
        ("a.mp4", "24", 12, "aac", 24000),
        ("a.mov", "25", 17, "aac", 24000),
        ("a.webm", "30", 9, "opus", 48000),
        ("a.mkv", "50", 20, "opus", 48000),
    ],
)
def test_a_clip_and_its_sound_end_together_in_every_container(
    vidgen: ANSWER, model: str, name: str, fps: str, frames: int, codec: str, rate: int
) -> None:
    words = ("--size", "70x66", "--frames", f"{frames}", "--fps", fps, "--steps", "2", "--seed", "3", "-o", name)
    assert vidgen("t2v", "a red circle", "--model", model, *words).code == 0
    facts = look(Path(name))
    assert (facts.width, facts.height, facts.frames, facts.fps) == (70, 66, frames, Fraction(fps))
    assert facts.sound == codec
    assert abs(facts.sound_seconds - facts.seconds) <= 1 / Fraction(fps)
    assert heard(Path(name))[1] == rate
    told = vidgen("show", name).out
    assert f"70x66, {frames} frames, {fps} a second" in told
    assert f"{codec}, 24000 Hz" in told


def test_every_mode_makes_a_clip_with_sound_or_without(vidgen: ANSWER, model: str, picture: Path) -> None:
    usual = ("--model", model, "--size", "64x64", "--frames", "9", "--steps", "2", "--seed", "3")
    assert vidgen("i2v", str(picture), "a red circle", *usual, "-o", "i.mp4").code == 0
    marks = ("--at", f"0:{picture}", "--at", f"5:{picture}:0.7")
    assert vidgen("keyframe", "a red circle", *marks, *usual, "-o", "k.mp4").code == 0
    assert vidgen("t2v", "a red circle", *usual, "--no-sound", "-o", "t.mp4").code == 0
    assert vidgen("t2v", "a red circle", *usual, "-o", "loud.mp4").code == 0
    facts = [look(Path(name)) for name in ("i.mp4", "k.mp4", "t.mp4", "loud.mp4")]
    assert [fact.frames for fact in facts] == [9] * 4
    assert [fact.sound for fact in facts] == ["aac", "aac", "", "aac"]
    assert digest(Path("t.mp4")) == digest(Path("loud.mp4"))


def test_two_stages_from_the_command_line_twice_with_one_seed(vidgen: ANSWER, model: str, picture: Path) -> None:
    model = named(model, "ltx-2-19b-distilled-x2")
    usual = ("--model", model, "--size", "120x100", "--frames", "10", "--seed", "5", "--codec", "ffv1")
    for name in ("one.mkv", "two.mkv"):
        assert vidgen("t2v", "a red circle", *usual, "-o", name).code == 0
    assert digest(Path("one.mkv")) == digest(Path("two.mkv"))
    assert heard(Path("one.mkv")) == heard(Path("two.mkv"))
    facts = look(Path("one.mkv"))
    assert (facts.width, facts.height, facts.frames, facts.sound) == (120, 100, 10, "opus")
    told = json.loads(vidgen("show", "one.mkv", "--json").out)
    assert told["request"]["steps"] == 8
    assert told["canvas"]["width"] == 128
    refused = vidgen("t2v", "a red circle", *usual, "--steps", "11", "-o", "no.mkv")
    assert (refused.code, "is distilled to 8 steps" in refused.err) == (2, True)
    refused = vidgen("t2v", "a red circle", *usual, "--guidance-scale", "3", "-o", "no.mkv")
    assert (refused.code, "its guidance scale is 1" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("card", "steps"), [pytest.param("ltx-2-19b-distilled-x2", 8, marks=pytest.mark.slow), (FULL, 2)]
)
def test_a_draft_is_finalized_to_the_clip_of_both_stages_sound_included(model: str, card: str, steps: int) -> None:
    usual: dict[str, Any] = {
        "prompt": "a red circle",
        "model": named(model, card),
        "size": "256x128",
        "frames": 9,
        "steps": steps,
        "seed": 5,
        "codec": "ffv1",
    }
    for job in (*prepare("t2v", **usual, output="whole.mkv"), *prepare("t2v", **usual, draft=True, output="draft.mkv")):
        list(run([job]))
    facts = look(Path("draft.mkv"))
    assert (facts.width, facts.height, facts.frames, facts.sound) == (128, 64, 9, "opus")
    list(run([finalize("draft.mkv", output="film.mkv")]))
    assert digest(Path("film.mkv")) == digest(Path("whole.mkv"))
    assert heard(Path("film.mkv")) == heard(Path("whole.mkv"))


@pytest.mark.parametrize(("card", "steps"), [("ltx-2-19b-dev", 11), ("ltx-2-19b-distilled-x2", 8)])
def test_a_clip_that_was_stopped_ends_as_an_undisturbed_one_sound_included(
    model: str, card: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual: dict[str, Any] = {
        "prompt": "a red circle",
        "model": named(model, card),
        "size": "128x128",
        "frames": 9,
        "steps": steps,
        "seed": 5,
        "codec": "ffv1",
    }

    def stopping(event: Event) -> None:
        if (event.phase, event.done) == ("denoise", 9):
            raise Stopped("stopped", "")

    list(run(prepare("t2v", **usual, output="whole.mkv")))
    with pytest.raises(Stopped):
        list(run(prepare("t2v", **usual, output="again.mkv"), stopping))
    assert {"latents", "audio_latents"} < load_file("again.mkv.part/checkpoint.safetensors").keys()
    [job] = prepare("t2v", **usual, output="again.mkv")
    assert any("from step 9 of 11" in note for note in job.notes)
    list(run([job]))
    assert digest(Path("again.mkv")) == digest(Path("whole.mkv"))
    assert heard(Path("again.mkv")) == heard(Path("whole.mkv"))


def test_latents_alone_are_decoded_in_another_process_with_their_sound(vidgen: ANSWER, model: str) -> None:
    words = ("--size", "64x64", "--frames", "9", "--steps", "2", "--seed", "3", "--codec", "ffv1")
    made = vidgen("t2v", "a red circle", "--model", model, *words, "--keep-latents", "-o", "x.mkv")
    assert made.code == 0
    assert {"latents", "audio_latents"} < load_file("x.mkv.latents/latents.safetensors").keys()
    for name in ("transformer", "text_encoder", "connectors", "tokenizer", "scheduler"):
        shutil.rmtree(Path(model) / name)
    line = [sys.executable, "-m", "vidgen", "decode", "x.mkv.latents", "-o", "y.mkv"]
    subprocess.run(line, check=True, capture_output=True)
    assert digest(Path("y.mkv")) == digest(Path("x.mkv"))
    assert heard(Path("y.mkv")) == heard(Path("x.mkv"))


def test_what_the_model_would_not_read_is_shown_before_anything_is_loaded(vidgen: ANSWER, model: str) -> None:
    """The twin's tokens are letters: 1024 of them, the mark at the beginning counted."""
    prompt = "a" * 1022 + " bc"
    answer = vidgen("plan", "t2v", prompt, "--model", model, "--negative", "")
    assert "the prompt has 1026 tokens and tiny-ltx2 reads 1024; cut off: 'bc'" in answer.err + answer.out
    assert vidgen("t2v", prompt, "--model", model, "--negative", "", "--strict", "-o", "x.mp4").code == 2
