"""t2v, i2v and keyframe through the door: what is asked is what comes out."""

import json
import shlex
from fractions import Fraction
from pathlib import Path

import pytest

from tests.conftest import ANSWER
from vidgen.media import record
from vidgen.media.inspect import digest, inspect

FILM = Fraction(24000, 1001)
EXACT = ["--size", "100x60", "--frames", "20", "--fps", "24000/1001", "--steps", "1", "--seed", "1"]
WORDS = {
    "t2v": ["t2v"],
    "i2v": ["i2v", "first.png"],
    "keyframe": ["keyframe", "--at", "0:first.png", "--at", "-1:first.png:0.5"],
}


@pytest.mark.parametrize("mode", WORDS)
@pytest.mark.parametrize("name", ["x.mp4", "x.webm", "x.mkv"])
def test_a_clip_has_exactly_the_frames_size_and_rate_asked_for(
    mode: str, name: str, vidgen: ANSWER, picture: Path
) -> None:
    answer = vidgen(*WORDS[mode], "a red circle moving right", *EXACT, "-o", name)
    assert (answer.code, answer.out) == (0, f"{name}\n"), answer.err
    facts = inspect(Path(name))
    assert (facts.frames, facts.width, facts.height, facts.fps) == (20, 100, 60, FILM)
    assert "drawn at 128x64, 21 frames" in answer.err


@pytest.mark.parametrize("name", ["x.gif", "x.webp"])
def test_an_animation_has_exactly_the_frames_and_size_and_about_the_rate(name: str, vidgen: ANSWER) -> None:
    answer = vidgen("t2v", "a red circle moving right", *EXACT, "-o", name)
    assert answer.code == 0, answer.err
    facts = inspect(Path(name))
    assert (facts.frames, facts.width, facts.height) == (20, 100, 60)
    assert facts.seconds == pytest.approx(20 / FILM, abs=0.011)
    assert "on average" in answer.err


def test_a_folder_of_pictures_has_one_for_each_frame(vidgen: ANSWER) -> None:
    assert vidgen("t2v", "a red circle", *EXACT, "-o", "x.png").code == 0
    assert len(list(Path("x.png").glob("*.png"))) == 20
    assert (Path("x.png") / "record.json").read_text() == Path("x.png.json").read_text()


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.webm", "x.mov", "x.gif", "x.webp"])
def test_the_record_in_the_file_is_the_one_beside_it(name: str, vidgen: ANSWER) -> None:
    prompt = 'a "red" circle;\n# = [red] [/nope] \\ 圆'
    assert vidgen("t2v", prompt, "--frames", "5", "--steps", "1", "-o", name).code == 0
    beside = json.loads(Path(f"{name}.json").read_text())
    Path(f"{name}.json").unlink()
    assert record.read(Path(name)) == beside
    assert beside["request"]["prompt"] == prompt


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(vidgen: ANSWER) -> None:
    for name, seed in (("a.mkv", "7"), ("b.mkv", "7"), ("c.mkv", "8")):
        assert vidgen("t2v", "a red circle", "--steps", "2", "--codec", "ffv1", "--seed", seed, "-o", name).code == 0
    assert digest(Path("a.mkv")) == digest(Path("b.mkv")) != digest(Path("c.mkv"))


@pytest.mark.parametrize("mode", WORDS)
def test_the_recorded_command_makes_the_same_frames_again(mode: str, vidgen: ANSWER, picture: Path) -> None:
    asked = ["--size", "50x40", "--frames", "7", "--fps", "12", "--steps", "2", "--codec", "ffv1", "-o", "a.mkv"]
    assert vidgen(*WORDS[mode], "a -- red $circle", *asked).code == 0
    words = shlex.split(vidgen("show", "a.mkv", "--command").out)
    assert (words[words.index("--tiling") + 1], "--offload" in words, "--vram" in words) == ("off", False, False)
    assert vidgen(*words[1:-2], "-o", "b.mkv", *words[-2:]).code == 0
    assert digest(Path("a.mkv")) == digest(Path("b.mkv"))


def test_the_recorded_command_keeps_to_limits_and_to_tiles(vidgen: ANSWER) -> None:
    asked = (
        "--size",
        "160x64",
        "--frames",
        "5",
        "--steps",
        "1",
        "--tiling",
        "128",
        "--offload",
        "phase",
        "--vram",
        "9",
    )
    assert vidgen("t2v", "a red circle", *asked, "-o", "a.mkv").code == 0
    line = vidgen("show", "a.mkv", "--command").out
    assert "--tiling 128 --offload phase --vram 9 " in line


def test_several_seeds_make_a_clip_each(vidgen: ANSWER) -> None:
    answer = vidgen("t2v", "a red circle", "--seed", "1..2,9", "--steps", "1", "-o", "x.mp4")
    assert answer.out.split() == ["x-1.mp4", "x-2.mp4", "x-9.mp4"]
    assert {record.read(Path(name))["request"]["seed"] for name in answer.out.split()} == {1, 2, 9}  # type: ignore[index]


def test_several_seeds_give_the_same_frames_as_one_at_a_time(vidgen: ANSWER) -> None:
    asked = ["--steps", "2", "--codec", "ffv1"]
    assert vidgen("t2v", "a red circle", "--seed", "1,2", *asked, "-o", "many.mkv").code == 0
    assert vidgen("t2v", "a red circle", "--seed", "2", *asked, "-o", "one.mkv").code == 0
    assert digest(Path("many-2.mkv")) == digest(Path("one.mkv"))


def test_json_results_are_one_object_a_line(vidgen: ANSWER) -> None:
    answer = vidgen("t2v", "a red circle", "--steps", "1", "--seed", "1..2", "--json", "-o", "x.mp4")
    first, second = map(json.loads, answer.out.splitlines())
    assert (first["schema"], first["path"], first["seed"]) == (1, "x-1.mp4", 1)
    assert (second["frames"], second["skipped"]) == (17, False)
    assert first["seconds"].keys() == {"encode", "denoise", "decode"}


def test_quiet_says_only_the_path(vidgen: ANSWER) -> None:
    answer = vidgen("t2v", "a red circle", "--size", "100x60", "--steps", "1", "-q", "-o", "x.mp4")
    assert (answer.out, answer.err) == ("x.mp4\n", "")


def test_progress_can_be_lines_or_json(vidgen: ANSWER) -> None:
    lines = vidgen("t2v", "a circle", "--steps", "3", "--progress", "plain", "-o", "a.mp4").err
    assert "denoise 3/3" in lines
    events = vidgen("t2v", "a circle", "--steps", "3", "--progress", "json", "-o", "b.mp4").err
    done = [json.loads(line) for line in events.splitlines() if line.startswith("{")]
    assert [e["done"] for e in done if e["phase"] == "denoise"] == [0, 1, 2, 3]


def test_a_prompt_comes_from_a_file(vidgen: ANSWER) -> None:
    Path("prompt.txt").write_text("a red circle\n", encoding="utf-8")
    assert vidgen("t2v", "--prompt-file", "prompt.txt", "--steps", "1", "-o", "x.mp4").code == 0
    assert record.read(Path("x.mp4"))["request"]["prompt"] == "a red circle"  # type: ignore[index]


def test_an_output_folder_gets_a_named_clip_and_nothing_is_overwritten(vidgen: ANSWER) -> None:
    Path("clips").mkdir()
    asked = ["t2v", "A Red Circle", "--steps", "1", "--seed", "5"]
    assert vidgen(*asked, "-o", "clips").out == "clips/a-red-circle-5.mp4\n"
    assert vidgen(*asked, "-o", "clips").code == 6
    assert vidgen(*asked).out == "a-red-circle-5.mp4\n"
    assert vidgen(*asked).out == "a-red-circle-5-2.mp4\n"


def test_skip_existing_leaves_a_clip_and_overwrite_replaces_it(vidgen: ANSWER) -> None:
    Path("x.mp4").write_text("mine")
    asked = ["t2v", "a red circle", "--steps", "1", "-o", "x.mp4"]
    skipped = vidgen(*asked, "--skip-existing")
    assert (skipped.code, skipped.out, Path("x.mp4").read_text()) == (0, "x.mp4\n", "mine")
    assert vidgen(*asked, "--overwrite").code == 0
    assert inspect(Path("x.mp4")).frames == 17


def test_a_folder_of_weights_is_a_model(vidgen: ANSWER, twin: Path) -> None:
    asked = ["--size", "64x64", "--frames", "9", "--steps", "2"]
    assert vidgen("t2v", "a boat", "--model", str(twin), *asked, "-o", "x.mp4").code == 0
    assert inspect(Path("x.mp4")).frames == 9


@pytest.mark.parametrize("name", ["x.mp4", "x.webm", "x.gif", "x.webp", "x.png"])
def test_one_frame_is_a_clip_too(name: str, vidgen: ANSWER) -> None:
    answer = vidgen("t2v", "a red circle", "--frames", "1", "--steps", "1", "-o", name)
    assert answer.code == 0, answer.err
    assert inspect(Path(name)).frames == 1
    assert record.read(Path(name)) == json.loads(Path(f"{name}.json").read_text())


def test_a_folder_of_pictures_can_be_replaced(vidgen: ANSWER) -> None:
    for frames in ("9", "5"):
        asked = ["--frames", frames, "--steps", "1", "--overwrite", "-o", "x.png"]
        assert vidgen("t2v", "a red circle", *asked).code == 0
    assert len(list(Path("x.png").glob("*.png"))) == 5


def test_nothing_is_left_behind(vidgen: ANSWER) -> None:
    assert vidgen("t2v", "a red circle", "--steps", "1", "-o", "x.mp4").code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["x.mp4", "x.mp4.json"]


def test_a_prompt_may_be_its_own_negative(vidgen: ANSWER) -> None:
    words = ("--model", "pocket", "--steps", "2", "--frames", "9", "--seed", "1", "-o", "x.mp4")
    assert vidgen("t2v", "a red circle", "--negative", "a red circle", *words).code == 0
    assert inspect(Path("x.mp4")).frames == 9


def test_what_a_model_was_not_made_for_is_refused_unless_it_is_forced_which_is_recorded(vidgen: ANSWER) -> None:
    words = ("--size", "32x32", "--frames", "5", "--steps", "2", "--guidance-scale", "1", "--seed", "1", "-o", "x.mkv")
    refused = vidgen("t2v", "a red circle", *words, "--codec", "ffv1")
    assert (refused.code, "pocket is not distilled" in refused.err, "or add --force" in refused.err) == (2, True, True)
    assert vidgen("t2v", "a red circle", *words, "--codec", "ffv1", "--force").code == 0
    kept = json.loads(vidgen("show", "x.mkv", "--json").out)
    assert kept["adjustments"][-1].startswith("forced: pocket is not distilled: 2 steps at guidance scale 1")
    again = shlex.split(vidgen("show", "x.mkv", "--command").out)
    assert vidgen(*again[1:-2], "-o", "again.mkv", *again[-2:]).code == 0
    assert digest(Path("again.mkv")) == digest(Path("x.mkv"))
