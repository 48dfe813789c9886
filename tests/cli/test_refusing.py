"""Wrong input: the documented exit code, one sentence that names what is wrong, a remedy, and no weight loaded."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ANSWER

LONG = "a red circle moving right " * 40

REFUSED: dict[str, tuple[Sequence[str], int, str, str]] = {
    "an unknown model": (
        ["t2v", "x", "--model", "pockt"],
        2,
        "unknown model 'pockt'; did you mean pocket?",
        "vidgen models",
    ),
    "an unknown preset": (["t2v", "x", "--preset", "drft"], 2, "did you mean draft?", "vidgen presets"),
    "a width off the grid": (
        ["t2v", "x", "--size", "850x480", "--strict"],
        2,
        "width 850 is off",
        "try width 832 or 864",
    ),
    "frames off the grid": (["t2v", "x", "--frames", "20", "--strict"], 2, "20 frames are off", "--frames 17 or 21"),
    "a missing picture": (["i2v", "gone.png", "x"], 3, "gone.png", ""),
    "a corrupt picture": (["i2v", "bad.png", "x"], 3, "bad.png", ""),
    "a folder for a picture": (["i2v", "full", "x"], 3, "full", ""),
    "a keyframe outside": (["keyframe", "x", "--at", "99:first.png"], 2, "frame 99, outside", "0 to 16"),
    "two keyframes on one frame": (
        ["keyframe", "x", "--at", "0:first.png", "--at", "-17:first.png"],
        2,
        "two keyframes are at frame 0",
        "move or remove",
    ),
    "no keyframe at all": (["keyframe", "x"], 2, "needs a picture", "--at 0:first.png"),
    "a keyframe without a picture": (["keyframe", "x", "--at", "0"], 2, "is not FRAME:IMAGE", "--at"),
    "a missing output folder": (["t2v", "x", "-o", "gone/x.mp4"], 6, "folder gone does not exist", "mkdir -p gone"),
    "an output below a file": (["t2v", "x", "-o", "taken.mp4/x.mp4"], 6, "taken.mp4 is not a folder", "--output"),
    "an output where nobody may write": (["t2v", "x", "-o", "/proc/x.mp4"], 6, "cannot write in /proc", "--output"),
    "a folder of somebody else": (["t2v", "x", "-o", "mine.png", "--overwrite"], 6, "did not make", "--output"),
    "overwrite and skip": (["t2v", "x", "--overwrite", "--skip-existing"], 2, "both overwrite and skip", "one of"),
    "a gif too fast": (["t2v", "x", "--fps", "240", "-o", "x.gif"], 2, "cannot show 240 frames", "lower --fps"),
    "a name too long": (["t2v", "x", "-o", "a" * 4000 + ".mp4"], 2, "more than 230 bytes", "shorter"),
    "a name that is no text": (["t2v", "x", "-o", "\udcff.mp4"], 2, "is not a name", "--output"),
    "an existing output": (["t2v", "x", "-o", "taken.mp4"], 6, "taken.mp4 exists", "--overwrite or --skip-existing"),
    "an unknown suffix": (["t2v", "x", "-o", "x.avi"], 2, "x.avi", ".mp4"),
    "an empty prompt": (["t2v", "  "], 2, "the prompt is empty", "vidgen t2v"),
    "no prompt": (["t2v"], 2, "the prompt is empty", "vidgen t2v"),
    "a prompt too long, strictly": (["t2v", LONG, "--strict", "--size", "64x64"], 2, "cut off:", "shorten the prompt"),
    "bad TOML": (["t2v", "x", "--preset", "bad.toml"], 2, "bad.toml is not valid TOML", "mend"),
    "an unknown field": (["t2v", "x", "-o", "{sed}.mp4"], 2, "no field is called {sed}", "{seed}"),
    "an open brace": (["t2v", "x", "-o", "{seed.mp4"], 2, "output template", "{{"),
    "an unknown flag": (["t2v", "x", "--stepps", "3"], 2, "--stepps", "--steps"),
    "steps of nothing": (["t2v", "x", "--steps", "0"], 2, "steps '0'", "give steps"),
    "a guidance that is no number": (["t2v", "x", "-g", "nan"], 2, "guidance-scale 'nan'", "give guidance-scale"),
    "a rate of nothing": (["t2v", "x", "--fps", "0"], 2, "fps '0'", "--fps 24"),
    "a size in words": (["t2v", "x", "--size", "big"], 2, "size 'big'", "768x512"),
    "frames and seconds": (["t2v", "x", "--frames", "9", "--seconds", "2"], 2, "both frames and seconds", "only"),
    "a codec elsewhere": (["t2v", "x", "--codec", "vp9", "-o", "x.mp4"], 2, "vp9", "h264"),
    "a missing LoRA": (["t2v", "x", "--lora", "gone.safetensors"], 3, "gone.safetensors", "check"),
    "a pickled LoRA": (["t2v", "x", "--lora", "evil.pt"], 2, "evil.pt is not a .safetensors", "convert"),
    "a model not here": (
        ["t2v", "x", "-m", "ltx-video-2b"],
        4,
        "ltx-video-2b-0.9.5 is not on this machine",
        "vidgen download ltx-video-2b-0.9.5",
    ),
    "distilled steps": (["plan", "t2v", "x", "-m", "ltx-video", "--steps", "20"], 2, "distilled to 8 steps", "--steps"),
    "a folder without a model": (["t2v", "x", "-m", "./full"], 4, "model_index.json", "Diffusers"),
    "a clip without a record": (["show", "taken.mp4"], 3, "taken.mp4", ""),
    "a background without a picture": (["t2v", "x", "--background", "blurple"], 2, "blurple", "#rrggbb"),
    "h265 at sizes that crash its encoder": (
        ["t2v", "x", "--codec", "h265", "--size", "33x19", "-o", "x.mp4"],
        2,
        "crashes at 33x19",
        "--codec h264",
    ),
    "a prompt with a dash": (["t2v", "-3 degrees"], 2, "No such option", 'vidgen t2v -- "-3'),
    "an unknown background": (["i2v", "first.png", "x", "--background", "blurple"], 2, "blurple", ""),
}


@pytest.fixture
def surroundings(picture: Path) -> None:
    Path("bad.png").write_bytes(picture.read_bytes()[:60])
    Path("taken.mp4").write_text("mine")
    Path("bad.toml").write_text("size = ")
    Path("evil.pt").write_bytes(b"\x80\x04")
    Path("full").mkdir()
    Path("mine.png").mkdir()
    (Path("mine.png") / "mine.txt").write_text("mine")


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    words, code, wrong, remedy = REFUSED[name]
    monkeypatch.setattr("vidgen.shots.opened", _never)
    before = sorted(Path().rglob("*"))
    answer = vidgen(*words)
    assert answer.code == code, answer.err
    assert answer.out == ""
    assert wrong in answer.err
    assert remedy in answer.err
    assert "Traceback" not in answer.err
    assert sorted(Path().rglob("*")) == before


def _never(job: object) -> None:
    raise AssertionError("weights were about to be loaded")


def test_a_prompt_that_is_too_long_is_said_and_shown(vidgen: ANSWER) -> None:
    answer = vidgen("t2v", LONG, "--steps", "1", "-o", "x.mp4")
    assert answer.code == 0
    assert "cut off: '" in answer.err


def test_a_negative_prompt_for_a_model_without_one_is_refused(
    vidgen: ANSWER, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidgen.catalog import cards

    text = (cards.OWN / "pocket.toml").read_text().replace("negative = true", "negative = false")
    (tmp_path / "plain.toml").write_text(text)
    monkeypatch.setenv("VIDGEN_FAMILIES", str(tmp_path))
    cards.cards.cache_clear()
    answer = vidgen("t2v", "x", "--model", "plain", "--negative", "blurry")
    assert (answer.code, "plain takes no negative prompt" in answer.err) == (2, True)


def test_hostile_words_are_printed_as_they_were_typed_and_do_no_harm(vidgen: ANSWER) -> None:
    answer = vidgen("t2v", "[red] [/nope] \x1b[31m \u202e {seed}", "--steps", "1", "-o", "[bold]x.mp4")
    assert (answer.code, answer.out) == (0, "[bold]x.mp4\n")
    shown = vidgen("show", "[bold]x.mp4").out
    assert "[red] [/nope]" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


BAD_PLACES = {
    "VIDGEN_STEPS": ("VIDGEN_STEPS", "lots", "VIDGEN_STEPS says: steps 'lots'"),
    "VIDGEN_FAMILIES": ("VIDGEN_FAMILIES", "gone", "VIDGEN_FAMILIES names gone, which is no folder"),
}


@pytest.mark.parametrize("name", BAD_PLACES)
def test_a_bad_value_is_named_with_its_place(name: str, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidgen.catalog import cards

    variable, value, said = BAD_PLACES[name]
    monkeypatch.setenv(variable, value)
    cards.cards.cache_clear()
    for words in (["plan", "t2v", "x"], ["config", "show"]):
        answer = vidgen(*words)
        assert (answer.code, said in answer.err) == (2, True), answer.err


def test_a_bad_value_in_the_projects_file_is_named_with_it(vidgen: ANSWER) -> None:
    Path("vidgen.toml").write_text('size = "big"')
    answer = vidgen("plan", "t2v", "x")
    assert (answer.code, "vidgen.toml says: size 'big'" in answer.err) == (2, True), answer.err
    Path("vidgen.toml").unlink()
    Path("vidgen.toml").mkdir()
    answer = vidgen("plan", "t2v", "x")
    assert (answer.code, "vidgen.toml cannot be read" in answer.err) == (2, True), answer.err
