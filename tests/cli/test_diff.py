"""vidgen diff, as a person, a script and a golden-file test meet it."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ANSWER
from tests.media.drawn import shape, write
from tests.media.test_compare import noisy
from vidgen.media import sound


@pytest.fixture(autouse=True)
def clips() -> None:
    write(Path("golden.mkv"), shape(), "ffv1")
    write(Path("golden.png"), shape())
    write(Path("near.mp4"), shape())
    noisy(Path("far.mkv"), 9, noise=40)


def strict(text: str) -> Any:
    """JSON as the standard has it: no NaN, no Infinity."""

    def refused(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refused)


def test_a_person_gets_the_mean_and_the_worst_frame(vidgen: ANSWER) -> None:
    answer = vidgen("diff", "golden.mkv", "near.mp4")
    head, first, second = answer.out.splitlines()
    assert (answer.code, answer.err) == (0, "")
    assert head.split() == ["MEAN", "WORST", "FRAME", "AT"]
    assert first.startswith("PSNR ")
    assert second.startswith("SSIM ")


def test_thresholds_that_are_met_end_well(vidgen: ANSWER) -> None:
    answer = vidgen("diff", "golden.mkv", "near.mp4", "--min-psnr", "20", "--min-ssim", "0.5")
    assert (answer.code, answer.err) == (0, "")
    assert "0 of 9 frames below 20\n" in answer.out
    assert "0 of 9 frames below 0.5\n" in answer.out


def test_a_clip_too_far_ends_with_7_and_says_where_and_how_far_and_what_to_do(vidgen: ANSWER) -> None:
    answer = vidgen("diff", "golden.mkv", "far.mkv", "--min-psnr", "40")
    assert answer.code == 7
    wrong, remedy = answer.err.splitlines()
    assert wrong.startswith("vidgen: far.mkv is too far from golden.mkv: PSNR ")
    assert wrong.endswith(", below 40")
    assert " dB at frame " in wrong
    assert "put far.mkv in the place of golden.mkv" in remedy
    assert "9 of 9 frames below 40" in answer.out


def test_a_script_gets_json_below_the_threshold_too(vidgen: ANSWER) -> None:
    answer = vidgen("diff", "golden.mkv", "far.mkv", "--min-psnr", "40", "--min-ssim", "0.01", "--json")
    found = strict(answer.out)
    assert answer.code == 7
    assert found["a"] == {"path": "golden.mkv", "codec": "ffv1", "fps": "24", "sound": ""}
    assert (found["frames"], found["width"], found["height"], found["identical"]) == (9, 64, 48, False)
    assert found["below"] == {"psnr": 9, "ssim": 0}
    assert found["worst"]["psnr"]["psnr"] <= found["mean"]["psnr"] < 40
    assert found["worst"]["ssim"]["seconds"] == pytest.approx(found["worst"]["ssim"]["frame"] / 24)
    assert (found["schema"], found["notes"], "each" in found) == (1, [], False)


def test_identical_clips_say_so_and_their_json_has_no_infinity(vidgen: ANSWER) -> None:
    words = ["diff", "golden.mkv", "golden.png", "--min-psnr", "inf", "--min-ssim", "1"]
    assert vidgen(*words).out == "identical: all 9 frames are equal, sample for sample\n"
    answer = vidgen(*words, "--json", "--each")
    found = strict(answer.out)
    assert (answer.code, answer.err) == (0, "")
    assert (found["identical"], found["mean"]) == (True, {"psnr": None, "ssim": 1.0})
    assert found["b"]["fps"] is None
    assert [frame["frame"] for frame in found["each"]] == list(range(9))
    assert all((frame["psnr"], frame["ssim"]) == (None, 1.0) for frame in found["each"])


def test_one_sample_off_by_one_is_not_identical(vidgen: ANSWER) -> None:
    from PIL import Image

    write(Path("other.png"), shape())
    with Image.open("other.png/0004.png") as image:
        red, green, blue = image.getpixel((5, 6))  # type: ignore[misc]
        image.putpixel((5, 6), (red, green, blue + 1))
        image.save("other.png/0004.png")
    answer = vidgen("diff", "golden.mkv", "other.png", "--min-psnr", "inf")
    assert answer.code == 7
    assert "PSNR 87.77 dB at frame 3 (0.125 s), below inf" in answer.err


def test_each_frame_is_a_row_on_request(vidgen: ANSWER) -> None:
    lines = vidgen("diff", "golden.png", "far.mkv", "--each").out.splitlines()
    assert lines[0].split() == ["FRAME", "AT", "PSNR", "SSIM"]
    assert [line.split()[0] for line in lines[1:10]] == [str(number) for number in range(9)]
    assert lines[10] == ""
    assert lines[11].split()[0] == "MEAN"


def test_another_rate_is_said_and_compared_all_the_same(vidgen: ANSWER) -> None:
    write(Path("fast.mkv"), shape(fps=Fraction(30000, 1001)), "ffv1")
    answer = vidgen("diff", "golden.mkv", "fast.mkv", "--json")
    assert answer.code == 0
    assert "golden.mkv plays 24 frames a second and fast.mkv 29.97" in answer.err
    found = strict(answer.out)
    assert found["identical"]
    assert len(found["notes"]) == 1


@pytest.mark.parametrize("other", ["golden.gif", "golden.webp", "golden.png"])
def test_a_clock_that_is_coarse_or_missing_is_no_other_rate(other: str, vidgen: ANSWER) -> None:
    if not Path(other).exists():
        write(Path(other), shape())
    assert "plays" not in vidgen("diff", "golden.mkv", other).err


def test_sound_is_said_not_to_be_compared(vidgen: ANSWER) -> None:
    import numpy as np

    sound.write(np.zeros((1, 9000), np.float32), 24000, Path("s.wav"), seconds=0.375)
    write(Path("loud.mp4"), shape(), sound=Path("s.wav"))
    answer = vidgen("diff", "near.mp4", "loud.mp4", "--json")
    assert "loud.mp4 has sound and near.mp4 has none: only pictures are compared" in answer.err
    found = strict(answer.out)
    assert (found["identical"], found["b"]["sound"], len(found["notes"])) == (True, "aac", 1)
    assert "both clips have sound" in vidgen("diff", "loud.mp4", "loud.mp4").err


def test_a_small_picture_is_said_to_have_a_smaller_window(vidgen: ANSWER) -> None:
    write(Path("small.png"), shape(8, 8, 2))
    answer = vidgen("diff", "small.png", "small.png")
    assert (answer.code, "8x8 is less than the 11x11 window of SSIM" in answer.err) == (0, True)


def test_vmaf_is_there_on_request(vidgen: ANSWER) -> None:
    answer = vidgen("diff", "golden.mkv", "far.mkv", "--vmaf", "--json", "--each")
    assert answer.code == 0, answer.err
    found = strict(answer.out)
    assert 0 <= found["worst"]["vmaf"]["vmaf"] <= found["mean"]["vmaf"] <= 100
    assert all("vmaf" in frame for frame in found["each"])


WRONG = {
    "a missing clip": (["gone.mp4", "golden.mkv"], 3, "there is no clip gone.mp4"),
    "no clip": (["golden.mkv", "text.mp4"], 3, "text.mp4 cannot be decoded"),
    "a folder without pictures": (["empty", "golden.mkv"], 3, "empty holds no .png"),
    "another length": (
        ["golden.mkv", "short.mkv"],
        3,
        "golden.mkv has 9 frames of 64x48, and short.mkv has 8 frames of",
    ),
    "another size": (["wide.png", "golden.mkv"], 3, "wide.png has 9 frames of 80x48, and golden.mkv has 9 frames of"),
    "a negative PSNR": (["golden.mkv", "golden.mkv", "--min-psnr", "-3"], 2, "--min-psnr -3 makes no sense"),
    "a PSNR that is no number": (["golden.mkv", "golden.mkv", "--min-psnr", "nan"], 2, "--min-psnr nan makes no sense"),
    "an SSIM above 1": (["golden.mkv", "golden.mkv", "--min-ssim", "1.5"], 2, "--min-ssim 1.5 makes no sense"),
    "a threshold in words": (["golden.mkv", "golden.mkv", "--min-ssim", "high"], 2, "--min-ssim"),
    "one clip alone": (["golden.mkv"], 2, "'B'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refused(name: str, vidgen: ANSWER) -> None:
    Path("empty").mkdir()
    Path("text.mp4").write_text("hello")
    write(Path("short.mkv"), shape(frames=8), "ffv1")
    write(Path("wide.png"), shape(width=80))
    words, code, wrong = WRONG[name]
    answer = vidgen("diff", *words)
    assert (answer.code, answer.out) == (code, "")
    assert wrong in answer.err
    assert len(answer.err.splitlines()) == 2
