"""Mochi, split into verbs, draws what one call of the Diffusers pipeline draws, and says no where that would lie."""

import inspect
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.backends import tiny
from tests.conftest import ANSWER
from tests.twins import lora
from vidgen.backends import mochi
from vidgen.backends.port import opened
from vidgen.backends.quiet import quickly
from vidgen.catalog import cards
from vidgen.core.card import Grid, ModelCard
from vidgen.core.errors import Stopped, UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job
from vidgen.core.request import Lora, Mode
from vidgen.media.inspect import inspect as seen

NAME = "mochi-1"


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """The card of a tiny Mochi."""
    return tiny.card(tiny.folder(NAME, tmp_path_factory.mktemp("mochi")))


def whole(job: Job) -> np.ndarray[Any, Any]:
    """The frames by one call of the pipeline, as its documentation has it."""
    canvas, request = job.canvas, job.request
    assert job.card.folder is not None
    pipe = tiny.pipeline(mochi.MODULE, mochi.PIPELINE, job.card.folder, job.plan.rung.precision, ())
    with quickly():
        film = pipe(
            prompt=request.prompt,
            negative_prompt=request.negative,
            height=canvas.height,
            width=canvas.width,
            num_frames=canvas.frames,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
            max_sequence_length=job.card.tokens,
            output_type="np",
        ).frames[0]
    frames: np.ndarray[Any, Any] = (film * 255).round().astype(np.uint8)
    return frames


@pytest.mark.parametrize(
    ("guidance", "rung"),
    [(4.5, tiny.FINE), (1.0, tiny.FINE), *(pytest.param(g, tiny.COARSE, marks=pytest.mark.slow) for g in (4.5, 1.0))],
    ids=["4.5-fp32", "1.0-fp32", "4.5-bf16", "1.0-bf16"],
)
def test_split_equals_whole(twin: ModelCard, guidance: float, rung: Any) -> None:
    job = tiny.job(twin, Mode.T2V, guidance_scale=guidance, rung=rung)
    ours = tiny.split(job)
    np.testing.assert_array_equal(ours, whole(job))
    assert tiny.sized(ours, job)


@pytest.mark.parametrize("rung", [tiny.FINE, tiny.COARSE], ids=["fp32", "bf16"])
@pytest.mark.parametrize("guidance", [4.5, 1.0])
def test_it_goes_on_from_every_step(twin: ModelCard, guidance: float, rung: Any) -> None:
    tiny.every_step_goes_on(tiny.job(twin, Mode.T2V, guidance_scale=guidance, rung=rung))


def test_every_argument_is_said(twin: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when Diffusers grows an argument with a default: say it, or write here why not."""
    job, said = tiny.job(twin, Mode.T2V), {}
    with quickly():
        pipeline = getattr(import_module(mochi.MODULE), mochi.PIPELINE)
    for verb in ("encode_prompt", "__call__"):
        said[verb] = (set(inspect.signature(getattr(pipeline, verb)).parameters) - {"self"}, given := set[str]())
        monkeypatch.setattr(pipeline, verb, _noting(given))
    names = [prefix + name for prefix in ("", "negative_") for name in mochi.TEXTS]
    with opened(job) as backend:
        with pytest.raises(Stopped):
            backend.encode([job], lambda _: ())
        with pytest.raises(Stopped):
            backend.denoise(job, dict.fromkeys(names, torch.zeros(1)), (), tiny.no_step)
    for wanted, given in said.values():
        assert given == wanted


def _noting(given: set[str]) -> Any:
    def note(self: Any, **arguments: Any) -> None:
        given.update(arguments)
        raise Stopped("stop", "")

    return note


def test_tiles_give_the_whole_picture(twin: ModelCard) -> None:
    job = tiny.job(twin, Mode.T2V, width=192, height=160, frames=7, steps=2)
    with opened(replace(job, plan=replace(job.plan, rung=replace(tiny.FINE, tiling=128)))) as backend:
        tiled = tiny.straight(backend, job)
    plain = tiny.split(job)
    assert tiled.shape == plain.shape == (7, 160, 192, 3)
    assert 0 < np.abs(tiled.astype(int) - plain).mean() < 20


def test_lora_changes_the_picture_and_leaves_no_trace(twin: ModelCard) -> None:
    bare = tiny.job(twin, Mode.T2V)
    file = lora(Path("style.safetensors"), width=16)
    dressed = replace(bare, request=replace(bare.request, loras=(Lora(path=file),)))
    with opened(bare) as backend:
        before, changed, after = (tiny.straight(backend, job) for job in (bare, dressed, bare))
    np.testing.assert_array_equal(before, after)
    assert (before != changed).any()


def test_one_step_is_refused_before_it_divides_by_nothing(twin: ModelCard) -> None:
    with pytest.raises(UsageRefused, match="one step"), opened(tiny.job(twin, Mode.T2V, steps=1)):
        pass


def test_a_canvas_off_the_grid_of_the_weights_is_refused(twin: ModelCard) -> None:
    wrong = replace(twin, grid=Grid(size=8, frames=2))
    for canvas in (Canvas(width=72, height=32, frames=7), Canvas(width=64, height=32, frames=9)):
        with pytest.raises(WeightsRefused, match="multiples of 16, frames 6k"):
            tiny.split(replace(tiny.job(wrong, Mode.T2V), canvas=canvas))


def test_an_unknown_pipeline_is_refused(twin: ModelCard) -> None:
    ways = {Mode.T2V: replace(twin.ways[Mode.T2V], pipeline="MochaPipeline")}
    with pytest.raises(WeightsRefused, match="MochaPipeline"), opened(tiny.job(replace(twin, ways=ways), Mode.T2V)):
        pass


def test_a_clip_by_the_command_has_what_was_asked(twin: ModelCard, vidgen: ANSWER) -> None:
    line = ("t2v", "a red circle", "--model", str(twin.folder), "--steps", "3", "--seed", "1", "-o", "a.mp4")
    answer = vidgen(*line, "--size", "72x40", "--frames", "6", "--fps", "30")
    assert answer.code == 0, answer.err
    facts = seen(Path("a.mp4"))
    assert (facts.width, facts.height, facts.frames, float(facts.fps)) == (72, 40, 6, 30.0)


def test_its_card_serves_its_pipeline_and_names_its_repository() -> None:
    known = cards.card("mochi")
    assert (known.name, known.serves, known.repository) == (NAME, (mochi.PIPELINE,), "genmo/mochi-1-preview")
