"""CogVideoX, split into verbs, draws what one call of its pipeline draws, and says no where that would lie."""

import inspect
import json
import shutil
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
from vidgen.backends import cogvideox
from vidgen.backends.port import State, opened
from vidgen.backends.quiet import found, quickly
from vidgen.catalog import cards
from vidgen.core.card import Grid, ModelCard
from vidgen.core.errors import Stopped, UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job
from vidgen.core.request import Keyframe, Lora, Mode
from vidgen.media.inspect import inspect as seen

NAMES = ("cogvideox-2b", "cogvideox-5b", "cogvideox-5b-i2v", "cogvideox-1.5-5b", "cogvideox-1.5-5b-i2v")
WAYS = tiny.modes(*NAMES)
SMALL, WORDS, FIXED, LATER, PICTURED = NAMES
LEARNED = {"in_channels": 16, "sample_width": 8, "sample_height": 4, "use_learned_positional_embeddings": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the twins are; that of one card learned its places, for pictures of 64x32."""
    made = tmp_path_factory.mktemp("cogvideox")
    for name in NAMES:
        tiny.folder(name, made, **({"transformer": LEARNED} if name == FIXED else {}))
    return made


def card(place: Path, name: str) -> ModelCard:
    """The card of a twin, with as many tokens as its marks of place are for."""
    known = replace(tiny.card(place / name), tokens=226)
    settings = {**known.settings, "only": "64x32"} if name == FIXED else known.settings
    return replace(known, settings=settings)


def whole(job: Job) -> np.ndarray[Any, Any]:
    """The frames by one call of the pipeline, as its documentation has it."""
    way, canvas, request, settings = job.card.ways[job.request.mode], job.canvas, job.request, job.card.settings
    assert job.card.folder is not None
    module = cogvideox.ROUTES[way.pipeline].module
    pipe = tiny.pipeline(module, way.pipeline, job.card.folder, job.plan.rung.precision, ())
    solver = found("diffusers", str(settings["solver"]))
    pipe.scheduler = solver.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    pictures = tiny.pictures(job)
    film = pipe(
        prompt=request.prompt,
        negative_prompt=request.negative,
        height=canvas.height,
        width=canvas.width,
        num_frames=canvas.frames,
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        use_dynamic_cfg=bool(settings["dynamic_guidance"]),
        generator=torch.Generator().manual_seed(request.seed),
        max_sequence_length=job.card.tokens,
        output_type="np",
        **({"image": pictures[0]} if pictures else {}),
    ).frames[0]
    frames: np.ndarray[Any, Any] = (film * 255).round().astype(np.uint8)
    return frames


@pytest.mark.parametrize("guidance", [6.0, 1.0])
@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_split_equals_whole(place: Path, name: str, mode: Mode, guidance: float) -> None:
    job = tiny.job(card(place, name), mode, guidance_scale=guidance)
    ours = tiny.split(job)
    np.testing.assert_array_equal(ours, whole(job))
    assert tiny.sized(ours, job)


@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_split_equals_whole_in_bfloat16(place: Path, name: str, mode: Mode) -> None:
    job = tiny.job(card(place, name), mode, rung=tiny.COARSE)
    np.testing.assert_array_equal(tiny.split(job), whole(job))


@pytest.mark.parametrize("rung", [tiny.FINE, tiny.COARSE], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_every_mode_goes_on_from_every_step(place: Path, name: str, mode: Mode, rung: Any) -> None:
    tiny.every_step_goes_on(tiny.job(card(place, name), mode, rung=rung))


def test_going_on_without_what_the_solver_handed_on_draws_something_else(place: Path) -> None:
    """The proof that those tests would notice: DPM takes each step by what it foresaw at the one before."""
    job, states = tiny.job(card(place, WORDS), Mode.T2V), []

    def step(done: int, total: int, state: State | None = None, /) -> None:
        assert state is not None
        states.append(state())

    with opened(job) as backend:
        conditioning = backend.encode([job], lambda _: ())[0]
        undisturbed = backend.denoise(job, conditioning, (), step)["latents"]
        wrong = {**states[1], "scheduler.handed": states[0]["scheduler.handed"]}
        assert not torch.equal(undisturbed, backend.denoise(job, conditioning, (), tiny.no_step, wrong)["latents"])


@pytest.mark.parametrize(("name", "mode"), [(WORDS, Mode.T2V), (PICTURED, Mode.I2V)])
def test_every_argument_is_said(place: Path, name: str, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when Diffusers grows an argument with a default: say it, or write here why not."""
    job = tiny.job(card(place, name), mode)
    drawing, said = job.card.ways[mode].pipeline, {}
    with quickly():
        pipeline = getattr(import_module(cogvideox.ROUTES[drawing].module), drawing)
    for verb in ("encode_prompt", "__call__"):
        said[verb] = (set(inspect.signature(getattr(pipeline, verb)).parameters) - {"self"}, given := set[str]())
        monkeypatch.setattr(pipeline, verb, _noting(given))
    embeds = torch.zeros(1, 226, 32)
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


def test_tiles_give_the_whole_picture(place: Path) -> None:
    job = tiny.job(card(place, WORDS), Mode.T2V, width=320, height=160, frames=9, steps=1)
    with opened(replace(job, plan=replace(job.plan, rung=replace(tiny.FINE, tiling=128)))) as backend:
        tiled = tiny.straight(backend, job)
    plain = tiny.split(job)
    assert tiled.shape == plain.shape == (9, 160, 320, 3)
    assert 0 < np.abs(tiled.astype(int) - plain).mean() < 20


def test_lora_changes_the_picture_and_leaves_no_trace(place: Path) -> None:
    bare = tiny.job(card(place, WORDS), Mode.T2V)
    dressed = replace(bare, request=replace(bare.request, loras=(Lora(path=lora(Path("style.safetensors"))),)))
    with opened(bare) as backend:
        before, changed, after = (tiny.straight(backend, job) for job in (bare, dressed, bare))
    np.testing.assert_array_equal(before, after)
    assert (before != changed).any()


@pytest.mark.parametrize(("name", "held"), [(WORDS, SMALL), (WORDS, LATER), (PICTURED, FIXED), (SMALL, WORDS)])
def test_weights_of_another_cogvideox_are_refused(place: Path, name: str, held: str) -> None:
    mine = card(place, name)
    job = tiny.job(mine, next(iter(mine.ways)))
    with (
        pytest.raises(WeightsRefused, match="holds another CogVideoX") as refused,
        opened(replace(job, weights=replace(job.weights, folder=place / held))),
    ):
        pass
    assert "_vidgen_card" in refused.value.remedy


@pytest.mark.parametrize(("name", "found"), [(WORDS, WORDS), (PICTURED, PICTURED)])
def test_a_folder_without_a_name_gets_the_card_of_its_pipeline(place: Path, name: str, found: str) -> None:
    shutil.copytree(place / name, "own")
    index = Path("own/model_index.json")
    known = json.loads(index.read_text())
    index.write_text(json.dumps({key: value for key, value in known.items() if key != "_vidgen_card"}))
    assert cards.for_folder(Path("own")).title == cards.card(found).title


def test_a_model_that_learned_its_places_draws_no_other_size(place: Path) -> None:
    fixed = tiny.job(card(place, FIXED), Mode.I2V)
    other = replace(fixed, canvas=replace(fixed.canvas, width=96))
    with pytest.raises(UsageRefused, match="draws 64x32 alone, not 96x32"), opened(other):
        pass


def test_a_canvas_beyond_the_marks_of_place_is_refused(place: Path) -> None:
    job = tiny.job(card(place, LATER), Mode.T2V, width=64, height=144)
    with pytest.raises(UsageRefused, match="at most 128x128, not 64x144"), opened(job):
        pass


def test_a_canvas_off_the_grid_of_the_weights_is_refused(place: Path) -> None:
    wrong = replace(card(place, WORDS), grid=Grid(size=8, frames=4))
    for canvas in (Canvas(width=72, height=32, frames=9), Canvas(width=64, height=32, frames=13)):
        with pytest.raises(WeightsRefused, match="multiples of 16, frames 8k"):
            tiny.split(replace(tiny.job(wrong, Mode.T2V), canvas=canvas))


def test_an_unknown_pipeline_is_refused(place: Path) -> None:
    known = card(place, WORDS)
    ways = {Mode.T2V: replace(known.ways[Mode.T2V], pipeline="CogMagicPipeline")}
    with pytest.raises(WeightsRefused, match="CogMagicPipeline"), opened(tiny.job(replace(known, ways=ways), Mode.T2V)):
        pass


def test_a_weak_first_picture_is_refused_where_it_would_be_ignored(place: Path) -> None:
    job = tiny.job(card(place, PICTURED), Mode.I2V)
    weak = replace(job.request, keyframes=(Keyframe(picture=Path("a.png"), strength=0.5),))
    with pytest.raises(UsageRefused, match="strength"), opened(replace(job, request=weak)):
        pass


def test_a_clip_by_the_command_has_what_was_asked(place: Path, vidgen: ANSWER) -> None:
    line = ("t2v", "a red circle", "--model", str(place / LATER), "--steps", "3", "--seed", "1", "-o", "a.mp4")
    answer = vidgen(*line, "--size", "72x40", "--frames", "7", "--fps", "16")
    assert answer.code == 0, answer.err
    facts = seen(Path("a.mp4"))
    assert (facts.width, facts.height, facts.frames, float(facts.fps)) == (72, 40, 7, 16.0)
