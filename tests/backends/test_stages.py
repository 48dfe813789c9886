"""LTX-Video in two stages draws what its pipelines do, called one after the other, and goes on from any step."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image

from tests.backends import films, tiny
from vidgen.backends.port import State, opened
from vidgen.backends.quiet import found, quickly
from vidgen.catalog import cards
from vidgen.core.card import ModelCard
from vidgen.core.errors import Stopped, WeightsRefused
from vidgen.core.plan import Canvas, Job, Rung
from vidgen.core.request import Keyframe, Mode
from vidgen.planning.drafts import first_stage

NAME = "ltx-video-13b-0.9.8-distilled-x2"
PAGES: dict[str, dict[str, Any]] = {
    NAME: {"timesteps": [1000, 909, 725, 421, 0], "denoise_strength": 0.999},
    "ltx-video-13b-0.9.7-distilled-x2": {"timesteps": [1000, 909, 725, 421, 0], "denoise_strength": 0.999},
    "ltx-video-13b-0.9.7-dev-x2": {"num_inference_steps": 10, "denoise_strength": 0.4},
}
"""What the page of Diffusers gives the pipeline for the second stage of each model."""

DOUBLED: dict[str, dict[str, Any]] = {
    NAME: {"adain_factor": 1.0, "tone_map_compression_ratio": 0.6},
    "ltx-video-13b-0.9.7-distilled-x2": {"adain_factor": 1.0},
    "ltx-video-13b-0.9.7-dev-x2": {},
}
"""What it gives the upscaler."""

ENDS = (Keyframe(picture=Path("a.png")), Keyframe(picture=Path("b.png"), frame=9, strength=0.6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twin of two stages, with a decoder that is told the time, as the released ones are."""
    return tiny.folder(NAME, tmp_path_factory.mktemp("stages"), vae={"timestep_conditioning": True})


def card(folder: Path, name: str = NAME) -> ModelCard:
    return replace(cards.card(name), folder=folder, tokens=16)


def asked(known: ModelCard, mode: Mode = Mode.T2V, *, rung: Rung = tiny.FINE, **words: Any) -> Job:
    steps = len(known.schedule.timesteps) or 3
    return tiny.job(known, mode, rung=rung, **{"steps": steps, "width": 128, "height": 64, **words})


def whole(job: Job, pictures: Sequence[Image]) -> np.ndarray[Any, Any]:
    """The frames by the pipelines themselves: small, doubled, and drawn over; of one generator."""
    known, canvas, request = job.card, job.canvas, job.request
    assert known.folder is not None
    pipe = films.pipeline(known.folder, "LTXConditionPipeline", job.plan.rung.precision)
    model = found("diffusers.pipelines.ltx.modeling_latent_upsampler", "LTXLatentUpsamplerModel")
    kind = found("diffusers.pipelines.ltx.pipeline_ltx_latent_upsample", "LTXLatentUpsamplePipeline")
    half = {"height": canvas.height // 2, "width": canvas.width // 2}
    words = {
        "prompt": request.prompt,
        "negative_prompt": request.negative,
        "num_frames": canvas.frames,
        "frame_rate": float(request.fps),
        "guidance_scale": request.guidance_scale,
        "guidance_rescale": known.schedule.guidance_rescale,
        "generator": torch.Generator().manual_seed(request.seed),
        "decode_timestep": known.schedule.decode_timestep,
        "decode_noise_scale": known.schedule.decode_noise_scale,
        "max_sequence_length": known.tokens,
        "image_cond_noise_scale": 0.0,
    }
    if pictures:
        marks = request.keyframes
        words |= {"image": list(pictures), "video": [None] * len(marks)}
        words |= {"frame_index": [mark.frame for mark in marks], "strength": [mark.strength for mark in marks]}
    moments = known.schedule.at(request.steps)
    times = {"timesteps": list(moments)} if moments else {}
    with quickly():
        upscaler = model.from_pretrained(known.folder / "latent_upsampler", torch_dtype=pipe.vae.dtype)
        torch.manual_seed(request.seed)
        small = pipe(**words, **half, **times, num_inference_steps=request.steps, output_type="latent").frames
        upscale = kind(vae=pipe.vae, latent_upsampler=upscaler)
        doubled = upscale(latents=small, output_type="latent", **half, **DOUBLED[_page(job)]).frames
        sides = {"height": canvas.height, "width": canvas.width}
        film = pipe(**words, **sides, **PAGES[_page(job)], latents=doubled, output_type="np").frames[0]
    frames: np.ndarray[Any, Any] = (film * 255).round().astype(np.uint8)
    rows = slice(canvas.top, canvas.top + request.height)
    return frames[: request.frames, rows, canvas.left : canvas.left + request.width]


def _page(job: Job) -> str:
    return job.card.name


def same(job: Job) -> None:
    """Split equals whole, bit for bit."""
    frames = tiny.split(job)
    np.testing.assert_array_equal(frames, whole(job, tiny.pictures(job)))
    assert tiny.sized(frames, job)


@pytest.mark.parametrize("rung", [tiny.FINE, tiny.COARSE], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    ("mode", "keyframes"), [(Mode.T2V, ()), (Mode.I2V, ENDS[:1]), (Mode.KEYFRAME, ENDS)], ids=["t2v", "i2v", "keyframe"]
)
def test_two_stages_draw_what_the_pipelines_do_by_hand_the_last_empty_step_left_out(
    folder: Path, mode: Mode, keyframes: tuple[Keyframe, ...], rung: Rung
) -> None:
    same(replaced(asked(card(folder), mode, rung=rung), keyframes))


@pytest.mark.parametrize("name", [name for name in PAGES if name != NAME])
@pytest.mark.parametrize(("mode", "keyframes"), [(Mode.T2V, ()), (Mode.KEYFRAME, ENDS)], ids=["t2v", "keyframe"])
def test_the_other_models_of_two_stages_too(
    folder: Path, name: str, mode: Mode, keyframes: tuple[Keyframe, ...]
) -> None:
    same(replaced(asked(card(folder, name), mode), keyframes))


def replaced(job: Job, keyframes: tuple[Keyframe, ...]) -> Job:
    return replace(job, request=replace(job.request, keyframes=keyframes))


def test_other_steps_that_are_forced_are_those_of_the_first_stage(folder: Path) -> None:
    job = asked(card(folder), steps=2, force=True)
    assert job.steps == 5
    same(job)


def test_the_clip_is_cut_from_the_whole_canvas(folder: Path) -> None:
    canvas = Canvas(width=128, height=64, frames=9, left=15, top=14)
    job = asked(card(folder), width=98, height=36, frames=8, fps=Fraction(24000, 1001))
    same(replace(job, canvas=canvas))


@pytest.mark.parametrize(
    ("name", "steps"), [(NAME, 6), pytest.param("ltx-video-13b-0.9.7-dev-x2", 7, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("mode", "keyframes"),
    [pytest.param(Mode.T2V, (), marks=pytest.mark.slow), (Mode.KEYFRAME, ENDS)],
    ids=["t2v", "keyframe"],
)
def test_every_step_of_both_stages_goes_on(
    folder: Path, name: str, steps: int, mode: Mode, keyframes: tuple[Keyframe, ...]
) -> None:
    """Three steps of the first stage will do."""
    known = card(folder, name)
    schedule = replace(known.schedule, timesteps=known.schedule.timesteps[-3:])
    job = asked(replace(known, schedule=schedule), mode)
    assert job.steps == steps
    tiny.every_step_goes_on(replaced(job, keyframes))


def test_a_stage_that_was_done_is_not_drawn_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, states = asked(card(folder)), dict[int, Any]()

    def keep(done: int, total: int, state: State | None = None, /) -> None:
        assert state is not None
        states[done] = state()

    kind, calls = found("diffusers.models.transformers.transformer_ltx", "LTXVideoTransformer3DModel"), list[int]()
    own = kind.forward

    def forward(self: Any, *words: Any, **more: Any) -> Any:
        calls.append(1)
        return own(self, *words, **more)

    monkeypatch.setattr(kind, "forward", forward)
    with opened(job) as backend:
        conditioning = backend.encode([job], lambda _: ())[0]
        backend.denoise(job, conditioning, (), keep)
        assert len(calls) == job.steps == 11
        calls.clear()
        backend.denoise(job, conditioning, (), tiny.no_step, states[9])
    assert len(calls) == 2


def test_every_argument_of_what_doubles_the_sides_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = found("diffusers.pipelines.ltx.pipeline_ltx_latent_upsample", "LTXLatentUpsamplePipeline")
    wanted, given = films.recorded(monkeypatch, kind, "__call__")
    with pytest.raises(Stopped):
        tiny.split(asked(card(folder)))
    assert set(wanted) - {"self"} == set(given)


def test_a_pipeline_that_cannot_refine_is_refused(folder: Path) -> None:
    known = card(folder)
    ways = {Mode.T2V: replace(known.ways[Mode.T2V], pipeline="LTXPipeline")}
    with (
        pytest.raises(WeightsRefused, match="draws in two stages, which LTXPipeline cannot follow"),
        opened(asked(replace(known, ways=ways))),
    ):
        pass


def test_an_upscaler_that_is_not_held_is_refused(folder: Path) -> None:
    known = card(folder)
    with pytest.raises(WeightsRefused, match="refines by 'latent_upsampler', which its t2v does not hold"):
        tiny.split(asked(replace(first_stage(known), refine=known.refine, grid=known.grid)))


def test_a_canvas_off_the_grid_of_the_first_stage_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsRefused, match="multiples of 64"):
        tiny.split(asked(card(folder), width=96))
