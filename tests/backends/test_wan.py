"""Wan, split into verbs, draws what one call of the Diffusers pipeline draws, and says no where that would lie."""

import inspect
import json
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.backends import tiny
from tests.conftest import ANSWER
from tests.twins import lora
from vidgen.backends import wan
from vidgen.backends.port import State, opened
from vidgen.backends.quiet import quickly
from vidgen.catalog import cards
from vidgen.core.card import Grid, ModelCard
from vidgen.core.errors import Stopped, UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job
from vidgen.core.request import Keyframe, Lora, Mode
from vidgen.media.inspect import inspect as seen
from vidgen.planning.check import check

NAMES = (
    "wan-2.1-t2v-14b",
    "wan-2.1-i2v-14b-480p",
    "wan-2.1-flf2v-14b-720p",
    "wan-2.2-ti2v-5b",
    "wan-2.2-t2v-a14b",
    "wan-2.2-i2v-a14b",
)
"""One card for each kind of model that there is."""
WAYS = tiny.modes(*NAMES)
T2V, FLF, TI2V, A14B = NAMES[0], NAMES[2], NAMES[3], NAMES[4]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the twins are."""
    found = tmp_path_factory.mktemp("wan")
    for name in NAMES:
        tiny.folder(name, found)
    return found


def card(place: Path, name: str) -> ModelCard:
    return tiny.card(place / name)


def whole(job: Job) -> np.ndarray[Any, Any]:
    """The frames by one call of the pipeline, as its documentation has it."""
    way, canvas, request = job.card.ways[job.request.mode], job.canvas, job.request
    route = wan.ROUTES[way.pipeline]
    assert job.card.folder is not None
    wide = ("vae", "image_encoder")
    pipe = tiny.pipeline(route.module, way.pipeline, job.card.folder, job.plan.rung.precision, wide)
    with quickly():
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, flow_shift=wan._shift(job))
    # the pipeline from pictures wants this library for its prompt; that from words does without
    vars(import_module(route.module))["ftfy"] = SimpleNamespace(fix_text=lambda text: text)
    pictures = tiny.pictures(job)
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
        **({"guidance_scale_2": wan._second(job)} if pipe.config.boundary_ratio else {}),
        **({"image": pictures[0], "last_image": pictures[1] if pictures[1:] else None} if pictures else {}),
    ).frames[0]
    frames: np.ndarray[Any, Any] = (film * 255).round().astype(np.uint8)
    return frames


@pytest.mark.parametrize("guidance", [5.0, 1.0])
@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_split_equals_whole(place: Path, name: str, mode: Mode, guidance: float) -> None:
    job = tiny.job(card(place, name), mode, guidance_scale=guidance)
    ours = tiny.split(job)
    np.testing.assert_array_equal(ours, whole(job))
    assert tiny.sized(ours, job)


@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_split_equals_whole_in_bfloat16_with_a_wide_vae(place: Path, name: str, mode: Mode) -> None:
    job = tiny.job(card(place, name), mode, rung=tiny.COARSE)
    np.testing.assert_array_equal(tiny.split(job), whole(job))


@pytest.mark.parametrize("rung", [tiny.FINE, tiny.COARSE], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_every_mode_goes_on_from_every_step(place: Path, name: str, mode: Mode, rung: Any) -> None:
    tiny.every_step_goes_on(tiny.job(card(place, name), mode, rung=rung, steps=5))


def test_going_on_with_what_the_scheduler_remembered_earlier_draws_something_else(place: Path) -> None:
    """The proof that those tests would notice: UniPC corrects each step by the one before."""
    job, states = tiny.job(card(place, T2V), Mode.T2V), []

    def step(done: int, total: int, state: State | None = None, /) -> None:
        assert state is not None
        states.append(state())

    with opened(job) as backend:
        conditioning = backend.encode([job], lambda _: ())[0]
        undisturbed = backend.denoise(job, conditioning, (), step)["latents"]
        stale = {name: kept for name, kept in states[0].items() if name.startswith("scheduler.")}
        assert "scheduler.last_sample" in stale
        wrong = {**states[1], **stale}
        assert not torch.equal(undisturbed, backend.denoise(job, conditioning, (), tiny.no_step, wrong)["latents"])


def test_both_transformers_draw_and_the_second_scale_stands_to_the_first_as_on_the_card(place: Path) -> None:
    job = tiny.job(card(place, A14B), Mode.T2V, guidance_scale=8.0)
    assert wan._second(job) == pytest.approx(6.0)
    one = replace(job, card=replace(job.card, settings={**job.card.settings, "guidance_scale_2": 0.5}))
    assert (tiny.split(job) != tiny.split(one)).any()


@pytest.mark.parametrize(
    ("name", "size", "shift"),
    [
        (T2V, (832, 480), 3.0),
        (T2V, (480, 832), 3.0),
        (T2V, (960, 544), 5.0),
        (T2V, (1920, 1088), 5.0),
        ("wan-2.1-t2v-1.3b", (832, 480), 8.0),
        (FLF, (1280, 720), 16.0),
        (A14B, (832, 480), 12.0),
    ],
)
def test_the_shift_goes_by_the_size_of_the_canvas(name: str, size: tuple[int, int], shift: float) -> None:
    job = tiny.job(cards.card(name), next(iter(cards.card(name).ways)), width=size[0], height=size[1])
    assert wan._shift(job) == shift


@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_every_argument_is_said(place: Path, name: str, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when Diffusers grows an argument with a default: say it, or write here why not."""
    job = tiny.job(card(place, name), mode)
    drawing = job.card.ways[mode].pipeline
    said = {}
    for kind, verb in ((wan.ENCODING, "encode_prompt"), (drawing, "__call__")):
        with quickly():
            pipeline = getattr(import_module(wan.ROUTES[kind].module), kind)
        said[verb] = (set(inspect.signature(getattr(pipeline, verb)).parameters) - {"self"}, given := set[str]())
        monkeypatch.setattr(pipeline, verb, _noting(given))
    embeds = torch.zeros(1, 16, 32)
    with opened(job) as backend:
        with pytest.raises(Stopped):
            backend.encode([job], lambda _: ())
        conditioning = {"prompt_embeds": embeds, "negative_prompt_embeds": embeds}
        with pytest.raises(Stopped):
            backend.denoise(job, conditioning, tiny.pictures(job), tiny.no_step)
    for wanted, given in said.values():
        assert given == wanted


def _noting(given: set[str]) -> Any:
    def note(self: Any, **arguments: Any) -> None:
        given.update(arguments)
        raise Stopped("stop", "")

    return note


@pytest.mark.parametrize("name", [T2V, TI2V])
def test_tiles_give_the_whole_picture(place: Path, name: str) -> None:
    job = tiny.job(card(place, name), Mode.T2V, width=320, height=160, frames=5, steps=1)
    with opened(replace(job, plan=replace(job.plan, rung=replace(tiny.FINE, tiling=128)))) as backend:
        tiled = tiny.straight(backend, job)
    plain = tiny.split(job)
    assert tiled.shape == plain.shape == (5, 160, 320, 3)
    assert 0 < np.abs(tiled.astype(int) - plain).mean() < 20


def test_lora_changes_the_picture_and_leaves_no_trace(place: Path) -> None:
    bare = tiny.job(card(place, T2V), Mode.T2V)
    file = lora(Path("style.safetensors"), prefix="transformer", layer="blocks.{}.attn1")
    dressed = replace(bare, request=replace(bare.request, loras=(Lora(path=file),)))
    with opened(bare) as backend:
        before, changed, after = (tiny.straight(backend, job) for job in (bare, dressed, bare))
    np.testing.assert_array_equal(before, after)
    assert (before != changed).any()
    tiny.every_step_goes_on(dressed)


@pytest.mark.parametrize("name", [T2V, TI2V])
def test_placements_draw_the_same(place: Path, name: str) -> None:
    job = tiny.job(card(place, name), Mode.T2V)
    with opened(job) as backend:
        resident = tiny.straight(backend, job)
    np.testing.assert_array_equal(resident, tiny.split(job))


@pytest.mark.parametrize(
    ("name", "held", "fault"),
    [(T2V, A14B, "boundary_ratio"), (T2V, TI2V, "expand_timesteps"), (T2V, NAMES[5], "boundary_ratio")],
)
def test_weights_of_another_wan_are_refused(place: Path, name: str, held: str, fault: str) -> None:
    weights = replace(tiny.job(card(place, held), next(iter(card(place, held).ways))).weights, folder=place / held)
    job = replace(tiny.job(card(place, name), Mode.T2V), weights=weights)
    with pytest.raises(WeightsRefused, match=f"holds another Wan.*{fault}") as refused, opened(job):
        pass
    assert "_vidgen_card" in refused.value.remedy


def test_a_transformer_that_takes_pictures_is_refused_for_words(place: Path) -> None:
    shutil.copytree(place / T2V, "mixed")
    file = Path("mixed/transformer/config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "in_channels": 20}))
    job = tiny.job(tiny.card(Path("mixed")), Mode.T2V)
    with pytest.raises(WeightsRefused, match="in_channels is 20, not 8"), opened(job):
        pass


@pytest.mark.parametrize(
    ("name", "said"),
    [(T2V, T2V), (TI2V, TI2V), (A14B, A14B), (NAMES[1], NAMES[1]), (NAMES[5], NAMES[5])],
)
def test_a_folder_without_a_name_gets_the_card_that_its_index_tells(place: Path, name: str, said: str) -> None:
    shutil.copytree(place / name, "own")
    index = Path("own/model_index.json")
    known = json.loads(index.read_text())
    index.write_text(json.dumps({key: value for key, value in known.items() if key != "_vidgen_card"}))
    assert cards.for_folder(Path("own")).title == cards.card(said).title


def test_a_canvas_off_the_grid_of_the_weights_is_refused(place: Path) -> None:
    card = tiny.card(place / TI2V)
    wrong = replace(card, grid=Grid(size=16, frames=4))
    for canvas in (Canvas(width=48, height=32, frames=9), Canvas(width=64, height=32, frames=10)):
        with pytest.raises(WeightsRefused, match="multiples of 32"):
            tiny.split(replace(tiny.job(wrong, Mode.T2V), canvas=canvas))


def test_an_unknown_pipeline_is_refused(place: Path) -> None:
    known = card(place, T2V)
    ways = {Mode.T2V: replace(known.ways[Mode.T2V], pipeline="WanMagicPipeline")}
    with pytest.raises(WeightsRefused, match="WanMagicPipeline"), opened(tiny.job(replace(known, ways=ways), Mode.T2V)):
        pass


def test_a_weak_first_picture_is_refused_where_it_would_be_ignored(place: Path) -> None:
    job = tiny.job(card(place, TI2V), Mode.I2V)
    weak = (Keyframe(picture=Path("a.png"), strength=0.5),)
    with (
        pytest.raises(UsageRefused, match="strength"),
        opened(replace(job, request=replace(job.request, keyframes=weak))),
    ):
        pass


@pytest.mark.parametrize(
    ("frames", "marks", "said"),
    [(81, (0,), "of the first frame and of the last"), (81, (0, 40), "of the last"), (80, (0, 79), "try --frames 77")],
)
def test_first_and_last_are_both_wanted_and_nothing_is_cut_off(frames: int, marks: tuple[int, ...], said: str) -> None:
    flf = cards.card(FLF)
    keyframes = tuple(Keyframe(picture=Path(f"{frame}.png"), frame=frame) for frame in marks)
    request = replace(tiny.job(flf, Mode.KEYFRAME).request, frames=frames, keyframes=keyframes)
    with pytest.raises(UsageRefused) as refused:
        check(request, flf)
    assert said in f"{refused.value.message} {refused.value.remedy}"


def test_a_clip_by_the_command_has_what_was_asked(place: Path, vidgen: ANSWER) -> None:
    line = ("t2v", "a red circle", "--model", str(place / A14B), "--steps", "3", "--seed", "1", "-o", "a.mp4")
    answer = vidgen(*line, "--size", "72x40", "--frames", "7", "--fps", "16")
    assert answer.code == 0, answer.err
    facts = seen(Path("a.mp4"))
    assert (facts.width, facts.height, facts.frames, float(facts.fps)) == (72, 40, 7, 16.0)
