"""LTX-Video's long clips, split into verbs, are those of one call of the Diffusers pipeline, window by window."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image

from tests import twins
from tests.backends import films
from tests.conftest import ANSWER
from vidgen.backends import attention, ltx, pixels
from vidgen.backends.port import State, Tensors
from vidgen.backends.quiet import found, quickly
from vidgen.catalog import cards
from vidgen.core.card import Phase, Refine
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job, Placement, Precision, Rung
from vidgen.core.request import Keyframe, Lora, Mode
from vidgen.core.windows import windows
from vidgen.media.inspect import digest, inspect
from vidgen.planning.check import draw

NAME = "ltx-video-13b-0.9.8-distilled-long"
PIPELINE = "LTXI2VLongMultiPromptPipeline"
SIGMAS = [1.0, 0.9, 0.5, 0.0]
SMALL = {"window": 16, "overlap": 8, "held": 0.5, "adain": 0.25}
"""Windows of two latents that begin with the last one of the one before."""
HALF = Rung(precision=Precision.BF16, placement=Placement.PHASE)
TILE = {"tile_sample_min_num_frames": 999}
SOFT = (Keyframe(picture=Path("first.png"), strength=0.7),)


def job(folder: Path, mode: Mode = Mode.T2V, *, settings: dict[str, Any] = SMALL, **words: Any) -> Job:
    own = cards.card(NAME)
    schedule = replace(own.schedule, timesteps=tuple(1000 * sigma for sigma in SIGMAS[:-1]))
    card = replace(own, folder=folder, settings=settings, schedule=schedule, tokens=16)
    given = {"guidance_scale": 1.0, "frames": 41, "negative": "", **words}
    made = twins.job(card, mode, **given)
    return made if "canvas" in words else replace(made, canvas=draw(made.request, card))


def pictures(wanted: Job) -> list[Image]:
    return [twins.picture(wanted.canvas.width, wanted.canvas.height) for _ in wanted.request.keyframes]


def whole(wanted: Job, segments: list[tuple[int, int, str]] | None = None, **words: Any) -> Any:
    """What one call of the pipeline gives, with the solver that its page has for it."""
    canvas, request, schedule, settings = wanted.canvas, wanted.request, wanted.card.schedule, wanted.card.settings
    pipe = pipeline(wanted)
    parts = [dict(zip(("start_window", "end_window", "text"), part, strict=True)) for part in segments or ()]
    with quickly(), attention.unmasked(pipe.transformer):
        torch.manual_seed(request.seed)
        return pipe(
            prompt=request.prompt,
            prompt_segments=parts or None,
            negative_prompt=request.negative,
            height=canvas.height,
            width=canvas.width,
            num_frames=canvas.frames,
            frame_rate=float(request.fps),
            guidance_scale=request.guidance_scale,
            sigmas=[*(moment / 1000 for moment in schedule.timesteps), 0.0],
            generator=torch.Generator().manual_seed(request.seed),
            seed=None,
            cond_image=pictures(wanted)[0] if request.keyframes else None,
            cond_strength=request.keyframes[0].strength if request.keyframes else 0.0,
            temporal_tile_size=settings["window"],
            temporal_overlap=settings["overlap"],
            decode_horizontal_tiles=1,
            decode_vertical_tiles=1,
            decode_overlap=0,
            max_sequence_length=wanted.card.tokens,
            **words,
        ).frames


def pipeline(wanted: Job) -> Any:
    assert wanted.card.folder is not None
    pipe = films.pipeline(wanted.card.folder, PIPELINE, wanted.plan.rung.precision)
    name = "LTXEulerAncestralRFScheduler"
    pipe.scheduler = found(ltx.KINDS[name].module, name).from_config(pipe.scheduler.config)
    return pipe


def filmed(wanted: Job, segments: list[tuple[int, int, str]] | None = None) -> np.ndarray[Any, Any]:
    film = whole(wanted, segments, output_type="np")[0]
    frames: np.ndarray[Any, Any] = (film * 255).round().astype(np.uint8)
    canvas, request = wanted.canvas, wanted.request
    rows = slice(canvas.top, canvas.top + request.height)
    return frames[: request.frames, rows, canvas.left : canvas.left + request.width]


def same(wanted: Job, segments: list[tuple[int, int, str]] | None = None) -> np.ndarray[Any, Any]:
    """Split equals whole, bit for bit; the frames."""
    ours = films.split(wanted, pictures(wanted))
    np.testing.assert_array_equal(ours, filmed(wanted, segments))
    assert ours.shape == (wanted.request.frames, wanted.request.height, wanted.request.width, 3)
    assert ours.std() > 1
    return ours


def drawn(wanted: Job) -> torch.Tensor:
    """The latents."""
    backend = ltx.open(wanted)
    made = backend.denoise(wanted, backend.encode([wanted])[0], pictures(wanted), lambda done, total, state=None: None)
    backend.close()
    return made["latents"]


@pytest.mark.parametrize("mode", [Mode.T2V, Mode.I2V])
def test_split_equals_whole_over_many_windows(timed: Path, mode: Mode) -> None:
    wanted = job(timed, mode)
    assert windows(wanted.card, wanted.canvas.frames) == 5
    same(job(timed, mode))


def test_split_equals_whole_with_guidance_and_a_picture_that_is_held_softly(timed: Path) -> None:
    same(job(timed, Mode.I2V, keyframes=SOFT, guidance_scale=3.0, negative="blurry"))


def test_split_equals_whole_in_half_precision_of_one_window_and_cut_from_the_canvas(timed: Path) -> None:
    canvas = Canvas(width=64, height=32, frames=17, left=7, top=2)
    same(
        job(timed, Mode.I2V, rung=HALF, canvas=canvas, width=50, height=28, frames=13, settings={**SMALL, "window": 24})
    )


def test_prompts_share_the_windows_evenly(timed: Path) -> None:
    same(job(timed, prompt="a red circle | a dog|a sea"), [(0, 1, "a red circle"), (2, 3, "a dog"), (4, 4, "a sea")])
    one, other = (drawn(job(timed, prompt=prompt)) for prompt in ("a red circle", "a red circle | a dog|a sea"))
    assert torch.equal(one[:, :, :3], other[:, :, :3])
    assert not any(torch.equal(one[:, :, at], other[:, :, at]) for at in (3, 4, 5))


def test_an_enhanced_prompt_is_one_even_with_a_bar_in_it(timed: Path) -> None:
    typed, enhanced = job(timed, prompt="a | b"), replace(job(timed), enhanced="a | b").read
    backend = ltx.open(typed)
    assert [len(made["prompt_embeds"]) for made in backend.encode([typed, enhanced])] == [2, 1]


@pytest.mark.parametrize("frames", [217, 249])
def test_the_cards_own_windows_are_those_of_the_pipeline(timed: Path, frames: int) -> None:
    """Their last windows are of other lengths."""
    wanted = job(timed, settings=dict(cards.card(NAME).settings), frames=frames)
    assert torch.equal(drawn(wanted), whole(wanted, output_type="latent"))


@pytest.mark.parametrize(("mode", "guidance"), [(Mode.T2V, 1.0), (Mode.I2V, 3.0)])
def test_any_kept_step_of_any_window_can_be_gone_on_from(timed: Path, mode: Mode, guidance: float) -> None:
    wanted = job(timed, mode, guidance_scale=guidance, frames=33, settings={**SMALL, "window": 24})
    states: list[Tensors] = []

    def step(done: int, total: int, state: State | None = None) -> None:
        assert total == 6
        assert state is not None
        states.append(films.through_disk(state()))

    backend = ltx.open(wanted)
    conditioning = backend.encode([wanted])[0]
    undisturbed = backend.denoise(wanted, conditioning, pictures(wanted), step)
    assert [int(state["step"]) for state in states] == list(range(1, 7))
    for since in states[:]:
        done: list[int] = []
        latents = backend.denoise(
            wanted, conditioning, pictures(wanted), lambda at, _, state=None, done=done: done.append(at), since
        )
        assert done == list(range(int(since["step"]) + 1, 7))
        assert all(torch.equal(latents[name], undisturbed[name]) for name in undisturbed)
    backend.close()


def test_a_longer_clip_takes_no_more_memory_and_leaves_as_it_is_decoded(timed: Path) -> None:
    seen = []
    for frames in (217, 273):
        wanted = job(timed, settings=dict(cards.card(NAME).settings), frames=frames)
        backend = ltx.open(wanted)
        conditioning, tokens = backend.encode([wanted])[0], list[int]()
        transformer = backend._parts.hold(wanted.card.ways[Mode.T2V].phases[Phase.DENOISE])["transformer"]
        transformer.transformer_blocks[0].register_forward_pre_hook(
            lambda _, given, named, kept=tokens: kept.append(named["hidden_states"].shape[1]), with_kwargs=True
        )
        latents = backend.denoise(wanted, conditioning, (), lambda done, total, state=None: None)
        vae, decoded = backend._parts.hold(["vae"])["vae"], list[int]()
        decode = vae.decode
        vae.decode = lambda z, *more, decode=decode, decoded=decoded, **words: (
            decoded.append(z.shape[2]) or decode(z, *more, **words)
        )
        drawn = backend.decode(wanted, latents).frames
        next(drawn)
        assert decoded == [8]
        assert len(list(drawn)) == frames - 1
        seen.append((max(tokens), max(decoded)))
    assert seen[0] == seen[1]


def test_where_pieces_meet_frames_keep_their_place(timed: Path) -> None:
    """Each is far nearer to the frame of a film decoded at once than to that film's neighbouring frames."""
    wanted = job(timed, frames=121)
    backend = ltx.open(wanted)
    latents = backend.denoise(wanted, backend.encode([wanted])[0], (), lambda done, total, state=None: None)
    ours, at_once = np.stack(list(backend.decode(wanted, latents).frames)).astype(int), filmed(wanted).astype(int)
    apart = {by: np.abs(ours[41:-8] - at_once[41 + by : len(at_once) - 8 + by]).mean() for by in (-1, 0, 1)}
    assert min(apart[-1], apart[1]) > 2 * apart[0]


def test_tiles_are_of_space_alone_and_those_of_the_decoder(timed: Path) -> None:
    wanted = job(
        timed, width=256, height=160, rung=Rung(precision=Precision.FP32, placement=Placement.PHASE, tiling=128)
    )
    ours, at_once = films.split(wanted), filmed(wanted)
    with pixels.tiled(pipeline(wanted).vae, pixels.squares(pipeline(wanted).vae, 128) | TILE):
        np.testing.assert_array_equal(ours, filmed(wanted))
    assert (ours != at_once).any()


def test_lora_changes_the_picture_and_leaves_no_trace(timed: Path) -> None:
    bare = job(timed, frames=17)
    dressed = job(timed, frames=17, loras=[Lora(path=twins.lora(Path("style.safetensors")))])
    backend = ltx.open(bare)
    before, changed, after = (films.straight(backend, each) for each in (bare, dressed, bare))
    np.testing.assert_array_equal(before, after)
    assert (before != changed).any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"steps": 4}, "walks its own 3 timesteps"),
        ({"keyframes": [Keyframe(picture=Path("a.png"), frame=8)]}, "at frame 0"),
        ({"keyframes": [Keyframe(picture=Path("a.png"), strength=0.0)]}, "a strength beyond 0"),
    ],
)
def test_what_the_pipeline_would_ignore_is_refused(timed: Path, words: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageRefused, match=said):
        ltx.open(job(timed, Mode.I2V, **words))


@pytest.mark.parametrize(
    "settings", [{"window": 20}, {"overlap": 12}, {"overlap": 0}, {"overlap": 16}, {"held": 0.0}, {"adain": 1.5}]
)
def test_a_card_that_the_pipeline_would_round_or_go_wrong_by_is_refused(timed: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(WeightsRefused, match=r"take window and overlap in multiples of 8|asks for what"):
        ltx.open(job(timed, settings={**SMALL, **settings}))


def test_a_second_stage_is_refused(timed: Path) -> None:
    wanted = job(timed)
    with pytest.raises(WeightsRefused, match="two stages"):
        ltx.open(replace(wanted, card=replace(wanted.card, refine=Refine(upscaler="vae", timesteps=(900.0,)))))


@pytest.fixture
def here(timed: Path) -> None:
    """The twin, as a folder whose index names the pipeline of long clips."""
    Path("tiny").mkdir()
    for part in timed.iterdir():
        if part.is_dir():
            (Path("tiny") / part.name).symlink_to(part)
    (Path("tiny") / "model_index.json").write_text(json.dumps({"_class_name": PIPELINE}))


LINE = ("--model", "./tiny", "--size", "60x30", "--seed", "1")


@pytest.mark.usefixtures("here")
def test_the_command_makes_long_clips_of_words_and_of_a_picture(vidgen: ANSWER, picture: Path) -> None:
    told = "a red circle | a red circle on a sea"
    for name, words in (("words.mp4", ("t2v", told)), ("seen.mp4", ("i2v", str(picture), told))):
        answer = vidgen(*words, *LINE, "--seconds", "4", "-o", name)
        assert answer.code == 0, answer.err
        facts = inspect(Path(name))
        assert (facts.width, facts.height, facts.frames, facts.fps) == (60, 30, 100, Fraction(25))
    assert digest(Path("words.mp4")) != digest(Path("seen.mp4"))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a red circle | ", "--seconds", "4"), "a prompt between two bars is empty"),
        (("a | b | c", "--seconds", "4"), "3 prompts, and windows for so many in a clip that long: 2"),
        (("a | b", "--enhance", "--enhancer", "./chat"), "several prompts would be enhanced into one"),
        (("a", "--steps", "4", "--force"), "walks its own 8 timesteps"),
    ],
)
def test_the_command_refuses_prompts_that_would_not_be_read(vidgen: ANSWER, words: tuple[str, ...], said: str) -> None:
    for command in ((), ("plan",)) if "timesteps" not in said else ((),):
        answer = vidgen(*command, "t2v", *words, *LINE)
        assert answer.code == 2
        assert said in answer.err


@pytest.mark.usefixtures("here")
def test_each_prompt_is_counted_alone(vidgen: ANSWER) -> None:
    long = "a b " * 24
    answer = vidgen("plan", "t2v", f"{long}|{long}|{long}", *LINE, "--seconds", "9")
    assert (answer.code, "cut off" in answer.out + answer.err) == (0, False)
    assert "cut off" in vidgen("plan", "t2v", long * 3, *LINE).out
