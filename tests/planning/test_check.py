"""Checking: what a model cannot do is refused with what it can; what is adjusted is said."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.values import CARD, DISTILLED, request, says
from vidgen.catalog.cards import cards
from vidgen.catalog.presets import presets
from vidgen.core.card import Grid, Guidance, ModelCard, Schedule
from vidgen.core.errors import UsageRefused
from vidgen.core.plan import Canvas
from vidgen.core.request import Keyframe, Lora, Mode
from vidgen.planning.check import check, draw
from vidgen.planning.settle import Subject, settle

GRIDS = [Grid(size=size, frames=frames) for size in (8, 16, 32, 64) for frames in (1, 4, 8)]
EMBEDDED = replace(CARD, schedule=Schedule(guidance=Guidance.EMBEDDED))
EITHER = replace(CARD, schedule=Schedule(guidance=Guidance.DISTILLED, steps=(8, 12)))
TEXT_ONLY = replace(CARD, ways={Mode.T2V: CARD.ways[Mode.T2V]})


def key(frame: int = 0, name: str = "a.png") -> Keyframe:
    return Keyframe(picture=Path(name), frame=frame)


def keys(*frames: int) -> dict[str, Any]:
    return {"mode": Mode.KEYFRAME, "keyframes": tuple(key(frame, f"{frame}.png") for frame in frames)}


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.size}-{grid.frames}")
def test_a_canvas_is_on_the_grid_holds_the_clip_is_the_smallest_and_centred(grid: Grid) -> None:
    card, dice = replace(CARD, grid=grid), random.Random(1)
    for _ in range(500):
        asked = request(width=dice.randint(16, 2000), height=dice.randint(16, 2000), frames=dice.randint(1, 300))
        canvas = draw(asked, card)
        assert canvas.width % grid.size == canvas.height % grid.size == (canvas.frames - 1) % grid.frames == 0
        assert 0 <= canvas.width - asked.width < grid.size
        assert 0 <= canvas.height - asked.height < grid.size
        assert 0 <= canvas.frames - asked.frames < grid.frames
        assert canvas.width - asked.width - 2 * canvas.left in (0, 1)
        assert canvas.height - asked.height - 2 * canvas.top in (0, 1)


def test_a_request_on_the_grid_is_drawn_as_it_is_and_nothing_is_said() -> None:
    assert check(request(), CARD) == (Canvas(width=64, height=64, frames=17), ())


def test_a_request_off_the_grid_is_padded_and_the_user_is_told() -> None:
    canvas, said = check(request(width=100, height=60, frames=20), CARD)
    assert canvas == Canvas(width=128, height=64, frames=25, left=14, top=2)
    assert said == ("drawn at 128x64, 25 frames, on sketch's grid; cut to the 100x60, 20 frames asked for",)


def test_a_negative_prompt_without_guidance_is_said_to_do_nothing() -> None:
    _, said = check(request(negative="blur", guidance_scale=1.0), CARD)
    assert said == ("the negative prompt has no effect at guidance scale 1",)


def test_a_cards_own_negative_prompt_is_nothing_to_talk_about() -> None:
    card = replace(CARD, defaults={**CARD.defaults, "negative": "blur"})
    assert check(request(negative="blur", guidance_scale=1.0), card)[1] == ()


def test_a_model_of_embedded_guidance_reads_a_negative_prompt_by_true_cfg() -> None:
    assert check(request(negative="blur", guidance_scale=1.0, true_cfg_scale=4.0), EMBEDDED)[1] == ()


FORCED: list[tuple[ModelCard, dict[str, Any], str]] = [
    (DISTILLED, {"steps": 20, "guidance_scale": 1.0}, "forced: quick is distilled to 4 steps; 20 would not sample it"),
    (EITHER, {"steps": 20, "guidance_scale": 1.0}, "forced: sketch is distilled to 8 or 12 steps; 20 would not"),
    (DISTILLED, {"steps": 4, "guidance_scale": 3.0}, "forced: quick is distilled: its guidance scale is 1, not 3"),
    (CARD, {"steps": 6, "guidance_scale": 1.0}, "forced: sketch is not distilled: 6 steps at guidance scale 1"),
]


@pytest.mark.parametrize(("card", "changed", "said"), FORCED)
def test_settings_of_another_kind_of_model_can_be_forced_and_that_is_recorded(
    card: ModelCard, changed: dict[str, Any], said: str
) -> None:
    (found,) = check(request(**changed, force=True), card)[1]
    assert found.startswith(said)
    with pytest.raises(UsageRefused, match="strict allows no --force"):
        check(request(**changed, force=True, strict=True), card)


def test_what_needs_no_force_is_not_changed_by_it() -> None:
    assert check(request(force=True, strict=True), CARD) == check(request(), CARD)


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 7, "guidance_scale": 1.0},
        {"steps": 1},
        {"steps": 4, "guidance_scale": 1.0, "loras": (Lora(path=Path("distilling.safetensors")),)},
    ],
)
def test_few_steps_a_guided_look_and_a_distilling_lora_are_nobodys_mistake(changed: dict[str, Any]) -> None:
    assert check(request(**changed), CARD)[1] == ()


def test_no_preset_asks_any_model_for_another_kinds_settings() -> None:
    for preset in presets().values():
        for card in cards().values():
            for mode in card.ways:
                layers = {"preset": preset.values}
                (asked,), _ = settle(layers, card, Subject(mode=mode, prompt="x"), fresh_seed=0)
                pictures: dict[str, Any] = {"frames": 9, "keyframes": (key(),)} if mode is Mode.I2V else {}
                if mode is not Mode.KEYFRAME:
                    check(replace(asked, **pictures), card)


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "naïve 🎈 \u202e \x1b[31m"},
        {"guidance_scale": 0.0},
        {"mode": Mode.I2V, "keyframes": (key(),)},
        keys(0, 8, 16),
        {"loras": (Lora(path=Path("a.safetensors")),)},
        {"strict": True},
        {"strict": True, "frames": 1},
    ],
)
def test_what_a_model_can_do_is_let_through(changed: dict[str, Any]) -> None:
    assert check(request(**changed), CARD)[0].width == 64


@pytest.mark.parametrize(
    ("card", "changed", "wrong", "right"),
    [
        (TEXT_ONLY, {"mode": Mode.I2V, "keyframes": (key(),)}, "cannot do i2v (it does t2v)", "vidgen models"),
        (CARD, {"prompt": ""}, "the prompt is empty", "vidgen t2v"),
        (CARD, {"prompt": " \n\t"}, "the prompt is empty", "vidgen t2v"),
        (CARD, {"prompt": "a\0b"}, "the prompt holds a NUL", "remove it"),
        (CARD, {"negative": "a\0b"}, "the negative prompt holds a NUL", "remove it"),
        (CARD, {"prompt": "a\ud800b"}, "the prompt is not valid UTF-8", "--prompt-file"),
        (CARD, {"negative": "\udfff"}, "the negative prompt is not valid UTF-8", "UTF-8"),
        (replace(CARD, negative=False), {"negative": "x"}, "sketch takes no negative prompt", "say in the prompt"),
        (EMBEDDED, {"negative": "x"}, "embedded and reads no negative prompt", "add --true-cfg-scale 4"),
        (CARD, {"true_cfg_scale": 4.0}, "sketch has no true CFG scale", "drop --true-cfg-scale"),
        (DISTILLED, {"steps": 20, "guidance_scale": 1.0}, "distilled to 4 steps; 20 would", "drop --steps"),
        (EITHER, {"steps": 20, "guidance_scale": 1.0}, "distilled to 8 or 12 steps; 20 would", "use --steps 8 or 12"),
        (DISTILLED, {"steps": 4, "guidance_scale": 3.0}, "guidance scale is 1, not 3", "drop --guidance-scale"),
        (CARD, {"steps": 6, "guidance_scale": 1.0}, "6 steps at guidance scale 1 are too few", "or add --force"),
        (CARD, {"mode": Mode.I2V}, "i2v needs a picture", "--at 0:first.png"),
        (CARD, {"mode": Mode.KEYFRAME}, "keyframe needs a picture", "--at 0:first.png"),
        (CARD, {"mode": Mode.I2V, "keyframes": (key(0), key(1))}, "takes 1 pictures, not 2", "leave some out"),
        (CARD, keys(0, 1, 2, 3), "takes 3 pictures, not 4", "leave some out"),
        (CARD, keys(17), "17.png is at frame 17, outside 0 to 16", "0 to 16, or -1 for the last"),
        (CARD, keys(-2), "-2.png is at frame -2, outside 0 to 16", "0 to 16, or -1 for the last"),
        (CARD, keys(0, 8, 8), "two keyframes are at frame 8", "move or remove one"),
        (replace(CARD, loras=False), {"loras": (Lora(path=Path("a.safetensors")),)}, "takes no LoRA", "vidgen models"),
        (CARD, {"loras": (Lora(path=Path("a.bin")),)}, "LoRA a.bin is not a .safetensors file", "convert it"),
        (CARD, {"loras": (Lora(path=Path("a.safetensors.pt")),)}, "a.safetensors.pt is not", "only safetensors"),
        (CARD, {"strict": True, "width": 850}, "width 850 is off sketch's grid of 32", "try width 832 or 864"),
        (CARD, {"strict": True, "height": 475}, "height 475 is off", "try height 448 or 480"),
        (CARD, {"strict": True, "width": 20}, "width 20 is off", "try width 32 or 64"),
        (CARD, {"strict": True, "frames": 120}, "120 frames are off sketch's grid of 8k+1", "--frames 113 or 121"),
        (CARD, {"strict": True, "frames": 2}, "2 frames are off", "--frames 1 or 9"),
    ],
)
def test_what_a_model_cannot_do_is_refused_with_what_it_can(
    card: ModelCard, changed: dict[str, Any], wrong: str, right: str
) -> None:
    with pytest.raises(UsageRefused) as refused:
        check(request(**changed), card)
    says(refused, 2, wrong, right)


@pytest.mark.parametrize("length", [33, 40, 63, 65, 95, 100, 129, 850])
def test_the_two_widths_that_a_refusal_offers_are_both_legal_and_nearest(length: int) -> None:
    with pytest.raises(UsageRefused) as refused:
        check(request(width=length, strict=True), CARD)
    below, above = (int(word) for word in refused.value.remedy.split() if word.isdigit())
    assert below < length < above
    for width in (below, above):
        assert abs(width - length) < 32
        check(request(width=width, strict=True), CARD)


@pytest.mark.parametrize("length", [2, 8, 10, 16, 18, 100, 120])
def test_the_two_lengths_that_a_refusal_offers_are_both_legal_and_nearest(length: int) -> None:
    with pytest.raises(UsageRefused) as refused:
        check(request(frames=length, strict=True), CARD)
    below, above = (int(word) for word in refused.value.remedy.split() if word.isdigit())
    assert below < length < above == below + 8
    for frames in (below, above):
        check(request(frames=frames, strict=True), CARD)


ENDS = replace(
    CARD, ways={**CARD.ways, Mode.KEYFRAME: replace(CARD.ways[Mode.KEYFRAME], ends=True)}, grid=Grid(size=32, frames=8)
)


def test_a_mode_of_first_and_last_takes_both() -> None:
    assert check(request(**keys(0, 16)), ENDS)[1] == ()
    assert check(request(**keys(16, 0)), ENDS)[1] == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (keys(0), ("two pictures: of the first frame and of the last", "--at 0:first.png --at -1:last.png")),
        (keys(0, 8), ("of the first frame and of the last",)),
        (keys(0, 8, 16), ("of the first frame and of the last",)),
        ({**keys(0, 15), "frames": 16}, ("ends on its last picture after 8k+1 frames", "try --frames 9 or 17")),
    ],
)
def test_a_mode_of_first_and_last_refuses_others_and_what_would_be_cut_off(
    words: dict[str, Any], said: tuple[str, ...]
) -> None:
    with pytest.raises(UsageRefused) as refused:
        check(request(**words), ENDS)
    says(refused, 2, *said)


def test_a_mode_of_first_and_last_refuses_a_strength_that_would_be_ignored() -> None:
    marks = (key(0), replace(key(16), strength=0.5))
    with pytest.raises(UsageRefused) as refused:
        check(request(mode=Mode.KEYFRAME, keyframes=marks), ENDS)
    says(refused, 2, "at strength 1")
