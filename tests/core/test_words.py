"""What people type: every spelling that is understood, and every one that is refused with a way out."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.values import says
from vidgen.core import words
from vidgen.core.errors import UsageRefused
from vidgen.core.request import Lora
from vidgen.core.words import Moment


def size(text: object) -> tuple[int, int]:
    return words.size(text, default=(768, 512), grid=32)


def steps(text: object) -> int:
    return words.steps(text, default=40)


def frames(text: object) -> int:
    return words.whole("frames", text, least=1, most=1000)


def guidance(text: object) -> float:
    return words.number("guidance-scale", text, least=0.0, most=100.0)


def sound(text: object) -> bool:
    return words.truth("sound", text)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("768x512", (768, 512)),
        (" 768X512 ", (768, 512)),
        ("768×512", (768, 512)),
        ("850x475", (850, 475)),
        ("16x8192", (16, 8192)),
        ("50%", (384, 256)),
        ("100%", (768, 512)),
        ("12.5%", (96, 64)),
        ("1%", (32, 32)),
        ("3:2", (768, 512)),
        ("1:1", (640, 640)),
        ("9:16", (480, 832)),
        ("16:9", (832, 480)),
    ],
)
def test_a_size_is_understood(typed: str, meant: tuple[int, int]) -> None:
    assert size(typed) == meant


@pytest.mark.parametrize("shape", ["1:1", "9:16", "16:9", "21:9", "4:5", "1:3"])
def test_a_shape_keeps_about_the_area_and_the_shape_on_the_grid(shape: str) -> None:
    width, height = size(shape)
    across, down = map(int, shape.split(":"))
    assert width % 32 == height % 32 == 0
    assert abs(width - 768 * 512 / height) < 64
    assert abs(width - height * across / down) < 64


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("24", Fraction(24)),
        (24, Fraction(24)),
        (24.0, Fraction(24)),
        ("24000/1001", Fraction(24000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        (23.976, Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("12.5", Fraction(25, 2)),
        ("50/2", Fraction(25)),
        ("1", Fraction(1)),
        ("240", Fraction(240)),
    ],
)
def test_a_rate_is_exact(typed: object, meant: Fraction) -> None:
    assert words.rate(typed) == meant


@pytest.mark.parametrize("whole", [1, 2, 3, 4, 5, 24, 30, 60, 120, 240])
def test_a_whole_rate_stays_whole_however_it_is_written(whole: int) -> None:
    assert words.rate(float(whole)) == words.rate(whole) == whole


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("5", Fraction(5)), ("2.5", Fraction(5, 2)), ("2.5s", Fraction(5, 2)), (3, Fraction(3)), ("3600", Fraction(3600))],
)
def test_a_length_in_seconds_is_exact(typed: object, meant: Fraction) -> None:
    assert words.duration(typed) == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("7", (7,)),
        (7, (7,)),
        ("0", (0,)),
        ("1..8", (1, 2, 3, 4, 5, 6, 7, 8)),
        ("5..5", (5,)),
        ("3,5,9", (3, 5, 9)),
        ("9,3", (9, 3)),
        ("1..3,7,2", (1, 2, 3, 7)),
        (" 1 .. 2 , 4 ", (1, 2, 4)),
        (str(words.LARGEST_SEED), (words.LARGEST_SEED,)),
        ("random", ()),
        ("Random", ()),
    ],
)
def test_seeds_are_understood(typed: object, meant: tuple[int, ...]) -> None:
    assert words.seeds(typed) == meant


@pytest.mark.parametrize(("typed", "meant"), [("30", 30), (30, 30), ("50%", 20), ("100%", 40), ("150%", 60), ("1%", 1)])
def test_steps_are_a_number_or_a_part_of_the_models_own(typed: object, meant: int) -> None:
    assert steps(typed) == meant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        *[(yes, True) for yes in (True, "true", "YES", "1", "on")],
        *[(no, False) for no in (False, "false", "no", "0", " Off ")],
    ],
)
def test_yes_and_no_have_many_spellings(typed: object, meant: bool) -> None:
    assert sound(typed) is meant


@pytest.mark.parametrize(
    ("typed", "moment", "picture", "strength"),
    [
        ("0:a.png", Moment(frame=0), "a.png", 1.0),
        ("24:a.png:0.8", Moment(frame=24), "a.png", 0.8),
        ("-1:b.png:0.5", Moment(frame=-1), "b.png", 0.5),
        ("1.5s:c.png", Moment(seconds=Fraction(3, 2)), "c.png", 1.0),
        ("2s:c.png:1", Moment(seconds=Fraction(2)), "c.png", 1.0),
        ("0:c:/pictures/a.png", Moment(), "c:/pictures/a.png", 1.0),
        ("0:12:30 tea.png:0.25", Moment(), "12:30 tea.png", 0.25),
        ("0:a.png:", Moment(), "a.png:", 1.0),
        ("0::0.5", Moment(), ":0.5", 1.0),
        ("0:/tmp/a.b/c", Moment(), "/tmp/a.b/c", 1.0),
    ],
)
def test_a_keyframe_is_a_moment_a_picture_and_a_strength(
    typed: str, moment: Moment, picture: str, strength: float
) -> None:
    assert words.at(typed) == words.At(moment=moment, picture=Path(picture), strength=strength)


@pytest.mark.parametrize(
    ("moment", "frame"),
    [
        (Moment(frame=0), 0),
        (Moment(frame=24), 24),
        (Moment(frame=-1), 48),
        (Moment(frame=-49), 0),
        (Moment(frame=-50), -1),
        (Moment(seconds=Fraction(3, 2)), 36),
        (Moment(seconds=Fraction(100)), 2400),
    ],
)
def test_a_moment_is_a_frame_of_the_clip(moment: Moment, frame: int) -> None:
    assert moment.resolve(49, Fraction(24)) == frame


@pytest.mark.parametrize(
    ("typed", "path", "weight"),
    [
        ("style.safetensors", "style.safetensors", 1.0),
        ("style.safetensors:0.7", "style.safetensors", 0.7),
        ("style.safetensors:-1", "style.safetensors", -1.0),
        ("c:/style.safetensors:2e-1", "c:/style.safetensors", 0.2),
        ("c:/style.safetensors", "c:/style.safetensors", 1.0),
    ],
)
def test_a_lora_is_a_path_and_a_weight(typed: str, path: str, weight: float) -> None:
    assert words.lora(typed) == Lora(path=Path(path), weight=weight)


Parser = Callable[[Any], object]


@pytest.mark.parametrize(
    ("parser", "typed", "wrong", "right"),
    [
        (size, "big", "'big' is not WIDTHxHEIGHT", "768x512"),
        (size, "", "size ''", "768x512"),
        (size, "768", "'768'", "768x512"),
        (size, "-768x512", "'-768x512'", "768x512"),
        (size, "0x0", "between 16 and 8192", "768x512"),
        (size, "15x512", "between 16 and 8192", "768x512"),
        (size, "768x8193", "between 16 and 8192", "768x512"),
        (size, "0%", "'0%'", "50%"),
        (size, "2000%", "between 16 and 8192", "768x512"),
        (size, "0:16", "'0:16' has a side of nothing", "16:9"),
        (size, "1:9999", "between 16 and 8192", "768x512"),
        (size, [768, 512], "[768, 512]", "768x512"),
        (words.rate, "0", "fps '0' is not a rate from 1 to 240", "24000/1001"),
        (words.rate, "nan", "'nan'", "--fps 24"),
        (words.rate, "inf", "'inf'", "--fps 24"),
        (words.rate, "-24", "'-24'", "--fps 24"),
        (words.rate, "241", "'241'", "from 1 to 240"),
        (words.rate, "24/0", "'24/0'", "--fps 24"),
        (words.rate, "1e999999999", "'1e999999999'", "--fps 24"),
        (words.rate, "", "fps ''", "--fps 24"),
        (words.duration, "0", "'0' is not a length", "--seconds 2.5"),
        (words.duration, "-1", "'-1'", "--seconds 2.5"),
        (words.duration, "nan", "'nan'", "--seconds 2.5"),
        (words.duration, "1e999999999", "'1e999999999'", "--seconds 2.5"),
        (words.duration, "3601", "'3601'", "--seconds 2.5"),
        (words.duration, "5m", "'5m'", "--seconds 2.5"),
        (words.seeds, "8..1", "'8..1' is empty", "1..8"),
        (words.seeds, "1..1001", "longer than 1000", "1..8"),
        (words.seeds, "0..999,2000", "more than 1000", "1..8"),
        (words.seeds, "-1", "'-1' is not a whole number", "give seed one of those"),
        (words.seeds, str(2**63), str(2**63 - 1), "give seed one of those"),
        (words.seeds, "9" * 5000, "is not a whole number", "give seed one of those"),
        (words.seeds, "1,,2", "seed ''", "give seed one of those"),
        (words.seeds, "1...3", "'.3'", "give seed one of those"),
        (words.seeds, "lucky", "'lucky'", "give seed one of those"),
        (words.seeds, "1.5", "'1.5'", "give seed one of those"),
        (steps, "0", "steps '0'", "from 1 to 1000"),
        (steps, "0%", "steps '0%'", "give steps one of those"),
        (steps, "half", "steps 'half'", "give steps one of those"),
        (steps, "1001", "steps '1001'", "from 1 to 1000"),
        (frames, "0", "frames '0' is not a whole number from 1 to 1000", "give frames one of those"),
        (frames, "17.0", "frames '17.0'", "give frames one of those"),
        (frames, True, "frames 'True'", "give frames one of those"),
        (guidance, "nan", "guidance-scale 'nan' is not a number from 0 to 100", "give guidance-scale one of those"),
        (guidance, "inf", "'inf'", "from 0 to 100"),
        (guidance, "-1", "'-1'", "from 0 to 100"),
        (guidance, "much", "'much'", "from 0 to 100"),
        (sound, "maybe", "sound 'maybe' is neither true nor false", "sound = true or sound = false"),
        (sound, "", "sound ''", "sound = true"),
        (words.at, "a.png", "'a.png' is not FRAME:IMAGE[:STRENGTH]", "0:first.png"),
        (words.at, "0:", "'0:'", "0:first.png"),
        (words.at, ":a.png", "':a.png'", "0:first.png"),
        (words.at, "first:a.png", "'first' is neither a frame nor a time", "-1 (the last frame)"),
        (words.at, "1.5:a.png", "'1.5'", "1.5s"),
        (words.at, "-1s:a.png", "'-1s'", "1.5s"),
        (words.at, "0:a.png:1.5", "strength '1.5' is not a number from 0 to 1", "give strength one of those"),
        (words.at, "0:a.png:-0.1", "strength '-0.1'", "from 0 to 1"),
        (words.at, "0:a.png:nan", "strength 'nan'", "from 0 to 1"),
        (words.at, "0:a.png:1.2.3", "strength '1.2.3'", "from 0 to 1"),
        (words.lora, "a.safetensors:11", "weight '11' is not a number from -10 to 10", "give weight one of those"),
        (words.lora, "a.safetensors:inf", "weight 'inf'", "from -10 to 10"),
    ],
)
def test_a_wrong_spelling_is_refused_with_the_right_one(parser: Parser, typed: object, wrong: str, right: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        parser(typed)
    says(refused, 2, wrong, right)


@pytest.mark.parametrize("parser", [size, words.rate, words.duration, words.seeds, steps, frames, guidance, sound])
@pytest.mark.parametrize("typed", ["\x1b[31m", "\0", "\ud800", "💥" * 1000, "1" * 10_000, {"a": 1}, None])
def test_no_parser_falls_over_what_no_person_would_type(parser: Parser, typed: object) -> None:
    with pytest.raises(UsageRefused):
        parser(typed)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("ltx-vidoe", "; did you mean ltx-video?"),
        ("LTX-VIDEO", "; did you mean ltx-video?"),
        ("pokcet", "; did you mean pocket?"),
        ("zzzz", ""),
        ("", ""),
    ],
)
def test_the_nearest_word_is_suggested_when_one_is_near(word: str, said: str) -> None:
    assert words.nearest(word, ["pocket", "ltx-video"]) == said
