"""Settling: every setting has a value and an origin, and contradictions are refused."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.values import CARD, DISTILLED, says
from vidgen.catalog import cards
from vidgen.core import words
from vidgen.core.card import Guidance, ModelCard, Schedule
from vidgen.core.errors import UsageRefused
from vidgen.core.request import Fit, Keyframe, Lora, Mode, Request
from vidgen.planning.settle import Subject, settle

FRESH = 4242
X = Subject(mode=Mode.T2V, prompt="x")


def settled(layers: dict[str, dict[str, Any]], card: ModelCard = CARD, subject: Subject = X) -> Request:
    (request,), _ = settle(layers, card, subject, fresh_seed=FRESH)
    return request


def flags(**typed: Any) -> dict[str, dict[str, Any]]:
    return {"flag": typed}


def origins(layers: dict[str, dict[str, Any]], card: ModelCard = CARD) -> dict[str, tuple[str, str]]:
    _, settings = settle(layers, card, X, fresh_seed=FRESH)
    return {setting.name: (setting.value, setting.origin) for setting in settings}


def test_nothing_said_is_the_cards_own() -> None:
    assert settled({}) == Request(
        mode=Mode.T2V,
        model="sketch",
        prompt="x",
        negative="",
        width=64,
        height=64,
        frames=17,
        fps=Fraction(8),
        steps=20,
        guidance_scale=3.0,
        seed=FRESH,
        sound=False,
        output=Path("{slug}-{seed}.mp4"),
    )


def test_every_setting_is_reported_with_its_value_and_origin() -> None:
    found = origins({"flag": {"size": "96x64", "fit": "pad"}, "environment": {"fps": "12"}, "user": {"crf": 9}})
    assert found == {
        "size": ("96x64", "flag"),
        "fps": ("12", "environment"),
        "frames": ("17", "card"),
        "negative": ("", "card"),
        "steps": ("20", "card"),
        "guidance_scale": ("3.0", "card"),
        "true_cfg_scale": ("1.0", "built in"),
        "gguf": ("", "built in"),
        "fit": ("pad", "flag"),
        "background": ("black", "built in"),
        "sound": ("False", "card"),
        "strict": ("False", "built in"),
        "force": ("False", "built in"),
        "precision": ("auto", "built in"),
        "offload": ("auto", "built in"),
        "tiling": ("auto", "built in"),
        "vram": ("auto", "built in"),
        "crf": ("9", "user"),
        "codec": ("auto", "built in"),
        "enhance": ("False", "built in"),
        "enhancer": ("", "built in"),
        "output": ("{slug}-{seed}.mp4", "built in"),
        "seed": (str(FRESH), "chosen"),
    }


@pytest.mark.parametrize(
    ("layers", "enhance", "origin"),
    [
        ({}, False, "built in"),
        (flags(enhance=True), True, "flag"),
        (flags(enhancer="./chat"), True, "flag"),
        ({"flag": {"enhance": False}, "user": {"enhancer": "./chat"}}, False, "flag"),
        ({"flag": {}, "user": {"enhancer": "./chat", "enhance": "no"}}, False, "user"),
        ({"flag": {"enhance": "auto"}, "environment": {"enhancer": "./chat"}}, True, "environment"),
    ],
)
def test_who_names_an_enhancer_wants_it_unless_somebody_says_no(
    layers: dict[str, dict[str, Any]], enhance: bool, origin: str
) -> None:
    assert settled(layers).enhance is enhance
    assert origins(layers)["enhance"] == (str(enhance), origin)


@pytest.mark.parametrize(
    ("seed", "value", "origin"), [("7", "7", "flag"), ("1..3", "1,2,3", "flag"), ("random", str(FRESH), "flag")]
)
def test_a_seeds_origin_is_where_it_was_said(seed: str, value: str, origin: str) -> None:
    assert origins(flags(seed=seed))["seed"] == (value, origin)


def test_a_crf_left_open_is_reported_as_such() -> None:
    assert origins({})["crf"] == ("auto", "built in")
    assert settled({}).crf is None


def test_there_is_a_request_for_each_seed_and_they_differ_in_nothing_else() -> None:
    requests, _ = settle(flags(seed="5,1..2"), CARD, X, fresh_seed=FRESH)
    assert [request.seed for request in requests] == [5, 1, 2]
    assert {replace(request, seed=0) for request in requests} == {replace(requests[0], seed=0)}


@pytest.mark.parametrize(
    ("typed", "field", "value"),
    [
        ({"size": "50%"}, "width", 32),
        ({"size": "850x475"}, "width", 850),
        ({"seconds": "2.5"}, "frames", 20),
        ({"seconds": "0.01"}, "frames", 1),
        ({"seconds": "1", "fps": "29.97"}, "frames", 30),
        ({"fps": "23.976"}, "fps", Fraction(24000, 1001)),
        ({"steps": "50%"}, "steps", 10),
        ({"guidance_scale": "7"}, "guidance_scale", 7.0),
        ({"negative": "blur"}, "negative", "blur"),
        ({"fit": "stretch"}, "fit", Fit.STRETCH),
        ({"strict": "yes"}, "strict", True),
        ({"crf": "0"}, "crf", 0),
        ({"codec": "av1"}, "codec", "av1"),
        ({"background": "white"}, "background", "white"),
        ({"output": "a.mp4"}, "output", Path("a.mp4")),
        ({"output": "clips/"}, "output", Path("clips/{slug}-{seed}.mp4")),
        ({"output": "/"}, "output", Path("/{slug}-{seed}.mp4")),
    ],
)
def test_what_is_typed_is_what_is_asked(typed: dict[str, str], field: str, value: object) -> None:
    assert getattr(settled(flags(**typed)), field) == value


def test_sound_is_asked_only_of_a_model_that_makes_it() -> None:
    assert settled({}, replace(CARD, sound=True)).sound is True
    assert settled(flags(sound=True)).sound is False
    assert settled(flags(sound=False), replace(CARD, sound=True)).sound is False


@pytest.mark.parametrize(
    ("layers", "frames"),
    [
        ({"flag": {"seconds": "3"}}, 24),
        ({"flag": {"seconds": "3"}, "user": {"frames": 9}}, 24),
        ({"flag": {"frames": 9}, "user": {"seconds": "3"}}, 9),
        ({"flag": {}, "preset": {"seconds": 1}, "project": {"frames": 9}}, 8),
    ],
)
def test_of_frames_and_seconds_the_higher_layer_wins(layers: dict[str, dict[str, Any]], frames: int) -> None:
    assert settled(layers).frames == frames


def test_only_the_winner_of_frames_and_seconds_is_reported() -> None:
    found = origins({"flag": {"seconds": "3"}, "user": {"frames": 9}})
    assert found["seconds"] == ("3.000", "flag")
    assert "frames" not in found


@pytest.mark.parametrize("layer", ["flag", "preset", "user"])
def test_frames_and_seconds_of_one_layer_are_refused(layer: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        settled({layer: {"frames": 9, "seconds": 3}})
    says(refused, 2, "both frames and seconds are given", layer, "give only frames or seconds")


@pytest.mark.parametrize("part", ["50%", "100%", " 150% "])
def test_a_part_of_a_fixed_schedule_is_still_the_whole_of_it(part: str) -> None:
    assert settled(flags(steps=part), DISTILLED).steps == 4
    assert origins(flags(steps=part), DISTILLED)["steps"] == ("4", "card")


@pytest.mark.parametrize(("part", "steps"), [("50%", 8), ("100%", 8), ("120%", 8), ("140%", 12), ("300%", 12)])
def test_a_part_of_several_fixed_numbers_of_steps_is_the_nearest_of_them(part: str, steps: int) -> None:
    either = replace(DISTILLED, schedule=Schedule(guidance=Guidance.DISTILLED, steps=(8, 12)))
    either = replace(either, defaults={**either.defaults, "steps": 8})
    assert settled(flags(steps=part), either).steps == steps
    assert settled(flags(steps=12), either).steps == 12


def test_a_number_of_steps_is_kept_for_the_check_to_judge() -> None:
    assert settled(flags(steps=9), DISTILLED).steps == 9


def test_keyframes_typed_are_resolved_in_the_clip_asked_for() -> None:
    at = (words.at("0:a.png"), words.at("1s:b.png:0.5"), words.at("-1:c.png"), Keyframe(picture=Path("d.png"), frame=3))
    request = settled(flags(seconds="2"), subject=Subject(mode=Mode.KEYFRAME, prompt="x", at=at))
    assert [(key.frame, key.picture.name, key.strength) for key in request.keyframes] == [
        (0, "a.png", 1.0),
        (8, "b.png", 0.5),
        (15, "c.png", 1.0),
        (3, "d.png", 1.0),
    ]


def test_loras_are_kept_in_order() -> None:
    loras = (Lora(path=Path("b.safetensors")), Lora(path=Path("a.safetensors"), weight=0.5))
    assert settled({}, subject=Subject(mode=Mode.T2V, prompt="x", loras=loras)).loras == loras


@pytest.mark.parametrize(
    ("typed", "wrong", "right"),
    [
        ({"fit": "squeeze"}, "fit 'squeeze' is none of crop, pad, stretch", "--fit crop"),
        ({"output": ""}, "output '' is not a name", "--output clip.mp4"),
        ({"output": "a\0b.mp4"}, "is not a name", "--output clip.mp4"),
        ({"crf": "64"}, "crf '64' is not a whole number from 0 to 63", "give crf one of those"),
        ({"frames": "0"}, "frames '0'", "give frames one of those"),
        ({"frames": "100001"}, "from 1 to 100000", "give frames one of those"),
        ({"size": "huge"}, "size 'huge'", "768x512"),
        ({"fps": "0"}, "fps '0'", "--fps 24"),
        ({"steps": "no"}, "steps 'no'", "give steps one of those"),
        ({"guidance_scale": "101"}, "guidance-scale '101'", "from 0 to 100"),
        ({"seed": "x"}, "seed 'x'", "give seed one of those"),
        ({"strict": "perhaps"}, "strict 'perhaps'", "strict = true"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_right_one(typed: dict[str, str], wrong: str, right: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        settled(flags(**typed))
    says(refused, 2, wrong, right)


def test_a_mode_may_have_a_guidance_of_its_own() -> None:
    card = cards.card("pocket")
    for mode, guidance in ((Mode.T2V, 3.0), (Mode.I2V, 3.0), (Mode.KEYFRAME, 1.0)):
        (request,), _ = settle({}, card, Subject(mode=mode, prompt="x"), fresh_seed=1)
        assert request.guidance_scale == guidance
        (request,), _ = settle({"flag": {"guidance_scale": 5}}, card, Subject(mode=mode, prompt="x"), fresh_seed=1)
        assert request.guidance_scale == 5
