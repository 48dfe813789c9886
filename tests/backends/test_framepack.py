"""FramePack, split into verbs, draws what one call of the Diffusers pipeline draws; and goes on from any step."""

import json
import os
import re
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
from safetensors.torch import save_file

from tests import twins
from tests.backends import films
from tests.conftest import ANSWER
from tests.loopback import COMMIT, Hub
from tests.repository import FLUX, FRAMEPACK, HUNYUAN
from vidgen.backends import framepack
from vidgen.backends.port import State, Tensors
from vidgen.backends.quiet import found, quickly
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin
from vidgen.core.card import Phase
from vidgen.core.errors import Stopped, UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job, Placement, Precision, Rung
from vidgen.core.request import Keyframe, Lora, Mode
from vidgen.media.inspect import digest, inspect
from vidgen.planning.check import draw

PIPELINE = "HunyuanVideoFramepackPipeline"
RESIDENT = Rung(precision=Precision.FP32, placement=Placement.RESIDENT)
HALF = Rung(precision=Precision.BF16, placement=Placement.PHASE)
ENDS = (Keyframe(picture=Path("a.png")), Keyframe(picture=Path("b.png"), frame=72))
TRUE_CFG = {"negative": "blurry", "true_cfg_scale": 4.0}
WAYS = {
    "i2v": ("framepack", Mode.I2V, ENDS[:1]),
    "ends": ("framepack", Mode.KEYFRAME, ENDS),
    "f1": ("framepack-f1", Mode.I2V, ENDS[:1]),
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twin, as it would be put together."""
    return build(twin("framepack"), tmp_path_factory.mktemp("framepack") / "tiny", pipeline=PIPELINE)


def job(way: str, tiny: Path, **words: Any) -> Job:
    name, mode, keyframes = WAYS[way]
    card = replace(cards.card(name), folder=tiny)
    given = {"negative": "", "guidance_scale": 9.0, "frames": 73, "steps": 2, "keyframes": keyframes, **words}
    made = twins.job(card, mode, **given)
    return made if "canvas" in words else replace(made, canvas=draw(made.request, card))


def pictures(wanted: Job) -> list[Image]:
    size = (wanted.canvas.width, wanted.canvas.height)
    return [twins.picture(*size, seed=mark.frame) for mark in wanted.request.keyframes]


def whole(wanted: Job) -> np.ndarray[Any, Any]:
    """The frames by one call of the pipeline, as its documentation has it; rounded to bytes and cut to the request."""
    canvas, request, seen = wanted.canvas, wanted.request, pictures(wanted)
    assert wanted.card.folder is not None
    pipe = pipeline(wanted.card.folder, wanted.plan.rung.precision)
    pipe.scheduler.set_shift(np.exp(0.5 + (9 * 8 * 4 / 4 - 256) * 0.65 / 3840))
    sections = max((canvas.frames - 1) // 36, 1)
    with quickly():
        film = pipe(
            image=seen[0],
            last_image=seen[1] if len(seen) > 1 else None,
            prompt=request.prompt,
            negative_prompt=request.negative or None,
            height=canvas.height,
            width=canvas.width,
            num_frames=33 * sections,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            true_cfg_scale=request.true_cfg_scale,
            generator=torch.Generator().manual_seed(request.seed),
            sampling_type=wanted.card.settings["sampling"],
            output_type="np",
        ).frames[0]
    assert len(film) == 36 * sections + 1
    frames: np.ndarray[Any, Any] = (film * 255).round().astype(np.uint8)
    rows = slice(canvas.top, canvas.top + request.height)
    return frames[: request.frames, rows, canvas.left : canvas.left + request.width]


@cache
def pipeline(folder: Path, precision: Precision) -> Any:
    """The loaded pipeline of Diffusers: fp16 but for the transformer, as its page recommends."""
    half = {"transformer": torch.bfloat16, "default": torch.float16}
    with quickly():
        tokenizer = import_module("transformers").PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
        pipe = found(framepack.MODULE, PIPELINE).from_pretrained(
            folder,
            tokenizer=tokenizer,
            torch_dtype=torch.float32 if precision is Precision.FP32 else half,
            local_files_only=True,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def same(wanted: Job) -> np.ndarray[Any, Any]:
    """Split equals whole, bit for bit; the frames."""
    ours = films.split(wanted, pictures(wanted))
    np.testing.assert_array_equal(ours, whole(wanted))
    assert ours.shape == (wanted.request.frames, wanted.request.height, wanted.request.width, 3)
    assert ours.std() > 1
    return ours


@pytest.mark.parametrize("way", [pytest.param(way, marks=() if way == "ends" else pytest.mark.slow) for way in WAYS])
def test_split_equals_whole_with_and_without_true_cfg(tiny: Path, way: str) -> None:
    plain, guided = same(job(way, tiny)), same(job(way, tiny, **TRUE_CFG))
    assert (plain != guided).any()


@pytest.mark.parametrize("way", ["i2v", "f1"])
@pytest.mark.parametrize("frames", [1, 37, pytest.param(145, marks=pytest.mark.slow)])
def test_split_equals_whole_at_any_length(tiny: Path, way: str, frames: int) -> None:
    same(job(way, tiny, frames=frames, steps=1))


@pytest.mark.parametrize("way", [pytest.param(way, marks=() if way == "f1" else pytest.mark.slow) for way in WAYS])
def test_in_half_precision_the_encoders_and_the_decoder_are_in_fp16(tiny: Path, way: str) -> None:
    wanted = job(way, tiny, rung=HALF, steps=1)
    same(wanted)
    held = framepack.open(wanted)._parts.hold(["transformer", "vae", "text_encoder", "image_encoder"])
    dtypes = {name: next(part.parameters()).dtype for name, part in held.items()}
    assert dtypes == {**dict.fromkeys(dtypes, torch.float16), "transformer": torch.bfloat16}


def test_the_clip_is_cut_from_the_canvas(tiny: Path) -> None:
    canvas = Canvas(width=64, height=32, frames=73, left=7, top=2)
    same(job("i2v", tiny, canvas=canvas, width=50, height=28, frames=61, fps=Fraction(24000, 1001), steps=1))


def test_the_last_picture_matters_and_pictures_may_be_given_in_any_order(tiny: Path) -> None:
    first_only, both = (films.split(wanted, pictures(wanted)) for wanted in (job("i2v", tiny), job("ends", tiny)))
    turned = job("ends", tiny, keyframes=ENDS[::-1])
    assert (first_only != both).any()
    np.testing.assert_array_equal(films.split(turned, pictures(turned)), both)


@pytest.mark.parametrize("way", WAYS)
def test_any_kept_step_of_any_section_can_be_gone_on_from(tiny: Path, way: str) -> None:
    wanted = job(way, tiny, **TRUE_CFG)
    states: list[Tensors] = []

    def step(done: int, total: int, state: State | None = None) -> None:
        assert total == 4
        assert state is not None
        states.append(films.through_disk(state()))

    backend = framepack.open(wanted)
    conditioning = backend.encode([wanted], lambda _: ())[0]
    undisturbed = backend.denoise(wanted, conditioning, pictures(wanted), step)
    backend.close()
    assert [int(state["step"]) for state in states] == [1, 2, 3, 4]
    for since in states[:]:
        done: list[int] = []
        again = framepack.open(wanted)
        latents = again.denoise(
            wanted, conditioning, pictures(wanted), lambda at, _, state=None, done=done: done.append(at), since
        )
        again.close()
        assert done == list(range(int(since["step"]) + 1, 5))
        assert all(torch.equal(latents[name], undisturbed[name]) for name in undisturbed)


@pytest.mark.slow
def test_a_longer_clip_takes_no_more_memory(tiny: Path) -> None:
    """Neither transformer nor decoder is given more at once; and frames leave as they are decoded."""
    seen: dict[int, tuple[int, int]] = {}
    for frames in (109, 217):
        wanted = job("i2v", tiny, frames=frames, steps=1)
        backend = framepack.open(wanted)
        conditioning = backend.encode([wanted], lambda _: ())[0]
        tokens: list[int] = []
        transformer = backend._parts.hold(wanted.card.ways[Mode.I2V].phases[Phase.DENOISE])["transformer"]
        transformer.transformer_blocks[0].register_forward_pre_hook(
            lambda _, given, kept=tokens: kept.append(given[0].shape[1])
        )
        latents = backend.denoise(wanted, conditioning, pictures(wanted), lambda done, total, state=None: None)
        vae, decoded = backend._parts.hold(["vae"])["vae"], list[int]()
        decode = vae.decode
        vae.decode = lambda z, decode=decode, decoded=decoded, **words: decoded.append(z.shape[2]) or decode(z, **words)
        drawn = backend.decode(wanted, latents).frames
        next(drawn)
        assert len(decoded) == 1
        assert len(list(drawn)) == frames - 1
        assert len(decoded) == len(tokens) == (frames - 1) // 36
        seen[frames] = (max(tokens), max(decoded))
    assert seen[109] == seen[217] == (seen[109][0], 19)


def test_stopping_stops_at_once(tiny: Path) -> None:
    done: list[int] = []

    def step(index: int, total: int, state: State | None = None) -> None:
        done.append(index)
        if index == 3:
            raise Stopped("stopped", "")

    wanted = job("i2v", tiny)
    with pytest.raises(Stopped):
        films.split(wanted, pictures(wanted), step)
    assert done == [1, 2, 3]


def test_lora_changes_the_picture_and_leaves_no_trace(tiny: Path) -> None:
    generator, tensors = torch.Generator().manual_seed(5), {}
    for layer in ("to_q", "to_k", "to_v"):
        name = f"transformer.transformer_blocks.0.attn.{layer}"
        tensors[f"{name}.lora_A.weight"] = torch.randn(4, 20, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(20, 4, generator=generator)
    save_file(tensors, "style.safetensors")
    bare = job("i2v", tiny, frames=37)
    dressed = job("i2v", tiny, frames=37, loras=[Lora(path=Path("style.safetensors"))])
    backend = framepack.open(bare)
    before, changed, after = (films.straight(backend, each, pictures(each)) for each in (bare, dressed, bare))
    backend.close()
    np.testing.assert_array_equal(before, after)
    assert (before != changed).any()


def test_the_shift_is_the_makers(tiny: Path) -> None:
    """7 from about half a megapixel a section on; less for less."""
    shifts = {
        size: framepack._shift(job("i2v", tiny, canvas=Canvas(width=size[0], height=size[1], frames=37)), 8)
        for size in ((480, 832), (640, 640), (416, 416), (64, 32))
    }
    assert shifts[480, 832] == shifts[640, 640] == pytest.approx(7.0)
    assert shifts[416, 416] == pytest.approx(np.exp(0.5 + (9 * 52 * 52 / 4 - 256) * 0.65 / 3840))
    assert shifts[64, 32] == pytest.approx(1.598, abs=1e-3)


@pytest.mark.parametrize(
    ("way", "changed", "said"),
    [
        ("i2v", {"keyframes": [Keyframe(picture=Path("a.png"), strength=0.5)]}, "at frame 0, at strength 1"),
        ("i2v", {"keyframes": [Keyframe(picture=Path("a.png"), frame=4)]}, "at frame 0, at strength 1"),
        ("ends", {"keyframes": [Keyframe(picture=Path("a.png"), frame=72)]}, "at frame 0"),
        ("ends", {"keyframes": [*ENDS[:1], replace(ENDS[1], frame=40)]}, "one at the last"),
        ("ends", {"frames": 70, "keyframes": [*ENDS[:1], replace(ENDS[1], frame=69)]}, "beyond the 70 frames"),
    ],
)
def test_pictures_that_would_be_moved_or_ignored_are_refused(
    tiny: Path, way: str, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageRefused, match=said):
        framepack.open(job(way, tiny, **changed))


def test_a_card_that_is_not_of_whole_sections_is_refused(tiny: Path) -> None:
    for canvas in (Canvas(width=40, height=32, frames=37), Canvas(width=64, height=32, frames=33)):
        wanted = job("i2v", tiny, canvas=canvas)
        with pytest.raises(WeightsRefused, match="multiples of 16, frames 36k"):
            films.split(wanted, pictures(wanted))
    wanted = job("i2v", tiny)
    for settings in ({"window": 9, "sampling": "sideways"},):
        other = replace(wanted, card=replace(wanted.card, settings=settings))
        with pytest.raises(WeightsRefused, match="sideways"):
            films.split(other, pictures(other))


LINE = ["--model", "./tiny", "--size", "50x30", "--fps", "30", "--steps", "1", "--seed", "1"]


@pytest.fixture
def here(tiny: Path, picture: Path) -> Path:
    Path("tiny").symlink_to(tiny)
    return picture


def test_the_command_goes_from_a_first_picture_to_a_last_twice_the_same(vidgen: ANSWER, here: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        ends = ("--at", f"0:{here}", "--at", f"-1:{here}")
        answer = vidgen("keyframe", "a red circle", *ends, *LINE, "--frames", "73", "-o", name)
        assert answer.code == 0, answer.err
    facts = inspect(Path("one.mp4"))
    assert (facts.width, facts.height, facts.frames, facts.fps) == (50, 30, 73, Fraction(30))
    assert digest(Path("one.mp4")) == digest(Path("two.mp4"))


def test_the_command_serves_f1_where_the_index_names_it(vidgen: ANSWER, here: Path, tiny: Path) -> None:
    for name in ("f1", "back"):
        Path(name).mkdir()
        for part in tiny.iterdir():
            if part.is_dir():
                (Path(name) / part.name).symlink_to(part)
        index = {"_class_name": PIPELINE, **({"_vidgen_card": "framepack-f1"} if name == "f1" else {})}
        (Path(name) / "model_index.json").write_text(json.dumps(index))
        words = ("i2v", str(here), "a red circle", *LINE[2:], "--frames", "50", "--model", f".{os.sep}{name}")
        answer = vidgen(*words, "-o", f"{name}.mp4")
        assert answer.code == 0, answer.err
        assert inspect(Path(f"{name}.mp4")).frames == 50
    assert digest(Path("f1.mp4")) != digest(Path("back.mp4"))


@pytest.fixture
def scattered(hub: Hub, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub with the twin in three repositories, and a card of it that counts what is on the disk."""
    for repository in (HUNYUAN, FRAMEPACK, FLUX):
        hub.files[repository] = {}
    homes = {"transformer": (FRAMEPACK, ""), "image_encoder": (FLUX, "image_encoder/")}
    homes["feature_extractor"] = (FLUX, "feature_extractor/")
    for path in (path for path in tiny.rglob("*") if path.is_file()):
        part, name = path.relative_to(tiny).parent.as_posix(), path.name
        repository, inside = homes.get(part, (HUNYUAN, "" if part == "." else f"{part}/"))
        hub.files[repository][f"{inside}{name}"] = path.read_bytes()
    Path("cards").mkdir()
    counted_none = re.sub(r"parameters = .*\n", "", (cards.OWN / "framepack.toml").read_text(encoding="utf-8"))
    Path("cards/framepack.toml").write_text(counted_none, encoding="utf-8")
    monkeypatch.setenv("VIDGEN_FAMILIES", str(Path("cards").resolve()))
    cards.cards.cache_clear()
    return hub


@pytest.mark.usefixtures("scattered")
def test_three_repositories_are_fetched_and_draw_what_one_folder_draws(vidgen: ANSWER, here: Path) -> None:
    words = ("i2v", str(here), "a red circle", *LINE[2:], "--frames", "37")
    answer = vidgen(*words, "--model", "framepack", "--download", "-o", "three.mp4")
    assert (answer.code, answer.out) == (0, "three.mp4\n"), answer.err
    assert vidgen(*words, "--model", "./tiny", "-o", "one.mp4").code == 0
    assert digest(Path("three.mp4")) == digest(Path("one.mp4"))
    said = json.loads(Path("three.mp4.json").read_text())["model"]
    assert said["revision"] == COMMIT
    assert said["parts"]["transformer"] == {"repository": FRAMEPACK, "revision": COMMIT}


def test_a_minute_is_planned_in_the_memory_of_a_few_seconds(vidgen: ANSWER, picture: Path) -> None:
    words = ("plan", "i2v", str(picture), "she dances", "--model", "framepack", "--vram", "24", "--json")
    short, long = (json.loads(vidgen(*words, "--seconds", seconds).out) for seconds in ("5", "60"))
    assert (short["canvas"]["frames"], long["canvas"]["frames"]) == (181, 1801)
    assert short["phases"] == long["phases"]
    assert cards.card("framepack").longest == 1800
