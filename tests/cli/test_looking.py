"""The commands that only look: models, presets, plan, show, sheet, config, doctor, help."""

import json
import re
import shlex
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests import chats
from tests.conftest import ANSWER
from tests.left import draft, leave
from tests.media.drawn import shape, write
from tools.docs import examples
from vidgen import probe
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin

PLANNED = ["plan", "t2v", "a boat", "--model", "ltx-video-2b"]


def test_models_are_listed_best_first_with_what_is_here(vidgen: ANSWER) -> None:
    lines = vidgen("models").out.splitlines()
    rows = lines[1 : lines.index("")]
    assert [row[3:].split()[0] for row in rows[::2]] == list(cards.cards())
    assert [row[3:].split()[0] for row in rows[::2] if row.startswith("*")] == ["pocket"]


def test_the_list_is_a_guide_of_a_hundred_columns(vidgen: ANSWER) -> None:
    lines = vidgen("models").out.splitlines()
    number = next(number for number, line in enumerate(lines) if " ltx-2.3-distilled " in line)
    assert re.search(r"t2v i2v keyframe +10 s +3840x2160 +\d+ GB +65.7 GiB$", lines[number])
    assert lines[number + 1].strip() == "with sound; good at 4k, fast iteration; LTX-2.x Community License"
    assert max(map(len, lines)) <= 100
    assert any(re.search(r"ltx-2.5-dev .* >\d+ GB ", line) for line in lines)


def test_all_of_one_model_is_shown_with_its_files_and_where_each_value_is_from(vidgen: ANSWER) -> None:
    lines = vidgen("models", "show", "framepack").out.splitlines()
    shown = {line.split("  ")[0]: line for line in lines}
    assert shown["longest seconds"].split() == ["longest", "seconds", "60.0"]
    files, sources = lines.index("files of hunyuanvideo-community/HunyuanVideo"), lines.index("sources")
    assert re.match(r"  transformer +\{config.json.* of lllyasviel/FramePackI2V_HY$", lines[files + 1])
    assert re.match(r"  steps, guidance, settings +https://huggingface.co/docs/", lines[sources + 2])
    facts = json.loads(vidgen("models", "show", "framepack", "--json").out)
    assert facts["sources"]["limits"] == "https://github.com/lllyasviel/FramePack#requirements"
    assert {part["source"] for part in facts["layout"]} == {
        "",
        "lllyasviel/FramePackI2V_HY",
        "lllyasviel/flux_redux_bfl",
    }
    assert (facts["smallest_card_gb"], facts["measured"]) != (0, False)


@pytest.mark.parametrize(
    ("want", "mode", "first"),
    [
        ("people", "t2v", "hunyuan-video"),
        ("people", "i2v", "hunyuan-video-i2v"),
        ("4k", "t2v", "ltx-2"),
        ("sound", "i2v", "ltx-2"),
        ("fast", "t2v", "ltx-video"),
    ],
)
def test_what_is_wanted_finds_what_its_makers_say_of_it(want: str, mode: str, first: str, vidgen: ANSWER) -> None:
    said = vidgen("models", "recommend", "--want", want, "--mode", mode, "--vram", "80", "--json")
    names = [one["name"] for one in json.loads(said.out)["recommended"]]
    assert names[0].startswith(first)
    assert want in ("fast", "people") or all(name.startswith("ltx-2") for name in names)


def test_a_model_is_shown_by_its_alias(vidgen: ANSWER) -> None:
    facts = json.loads(vidgen("models", "show", "ltx-video-2b", "--json").out)
    assert (facts["name"], facts["here"], facts["modes"]) == ("ltx-video-2b-0.9.5", False, ["t2v", "i2v", "keyframe"])


def test_presets_are_listed(vidgen: ANSWER) -> None:
    assert {"draft", "standard", "final", "vertical"} <= {
        line.split()[0] for line in vidgen("presets").out.splitlines()
    }


def test_a_plan_says_each_setting_and_where_it_came_from(vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("vidgen.toml").write_text("fps = 30\nsteps = 9\n")
    monkeypatch.setenv("VIDGEN_STEPS", "11")
    plan = json.loads(vidgen(*PLANNED, "--preset", "draft", "--frames", "20", "--json").out)
    assert {name: (s["value"], s["origin"]) for name, s in plan["settings"].items() if name in {"size", "seed"}} == {
        "size": ("384x256", "preset"),
        "seed": (plan["settings"]["seed"]["value"], "chosen"),
    }
    assert plan["settings"]["frames"] == {"value": "20", "origin": "flag"}
    assert plan["settings"]["fps"] == {"value": "30", "origin": "project"}
    assert plan["settings"]["steps"] == {"value": "20", "origin": "preset"}
    assert plan["settings"]["guidance_scale"]["origin"] == "card"
    assert (plan["canvas"]["frames"], plan["schema"]) == (25, 1)
    assert plan["fetch"] == "vidgen download ltx-video-2b-0.9.5"


def test_a_plan_in_words_names_canvas_phases_and_what_is_missing(vidgen: ANSWER) -> None:
    text = vidgen(*PLANNED, "--size", "100x60").out
    for part in (
        "canvas",
        "128x64",
        "encode",
        "denoise",
        "decode",
        "missing: transformer",
        "vidgen download",
        "makes ",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("memory", "rung"),
    [
        (["--vram", "80"], "bf16, everything resident"),
        (["--gpu", "4090"], "bf16, everything resident"),
        (["--vram", "12"], "bf16, one phase at a time"),
        (["--gpu", "RTX 3060", "--offload", "phase"], "bf16, one phase at a time"),
        (["--vram", "12", "--precision", "nf4"], "nf4, everything resident"),
        (["--vram", "0", "--ram", "200"], "fp32, everything resident"),
        (["--vram", "0", "--ram", "11"], "bf16, one phase at a time"),
    ],
)
def test_a_plan_for_a_machine_that_one_does_not_have(memory: list[str], rung: str, vidgen: ANSWER) -> None:
    assert f"{rung}\n" in vidgen(*PLANNED, *memory).out


def test_a_plan_is_thought_of_in_a_tenth_of_a_second_and_says_all_of_it_as_data(vidgen: ANSWER) -> None:
    vidgen(*PLANNED, "--gpu", "4090", "--json")  # cards are read once
    began = time.process_time()
    plan = json.loads(vidgen(*PLANNED, "--gpu", "4090", "--json").out)
    assert time.process_time() - began < 0.25
    assert plan["schema"] == 1
    assert {"encoder", "resident", "turns", "tiling", "host"} <= plan["rung"].keys()
    assert all({"weights_gib", "work_gib", "host_gib", "seconds"} <= phase.keys() for phase in plan["phases"])
    assert {"peak_gib", "host_gib", "seconds", "measured", "passed_over", "notes"} <= plan.keys()
    assert plan["machine"]["rates"]["tflops"] == 165.2


def test_a_card_that_nobody_knows_is_refused_with_those_that_are_known(vidgen: ANSWER) -> None:
    answer = vidgen(*PLANNED, "--gpu", "voodoo")
    assert (answer.code, "rtx-4090" in answer.err) == (2, True)


@pytest.mark.parametrize(
    ("option", "wrong"), [("--offload", "attic"), ("--tiling", "300"), ("--precision", "int3"), ("--budget", "soon")]
)
def test_a_limit_that_is_none_is_refused(option: str, wrong: str, vidgen: ANSWER) -> None:
    answer = vidgen("plan", "t2v", "a red circle", option, wrong)
    assert (answer.code, wrong in answer.err) == (2, True)


def test_a_limit_that_a_variable_sets_is_said_to_be_the_variables(
    vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("plan", "t2v", "a red circle", "--model", "pocket", "--vram", "0")
    assert vidgen(*line, "--offload", "stream").err.startswith("vidgen: --offload stream is no way")
    monkeypatch.setenv("VIDGEN_OFFLOAD", "stream")
    answer = vidgen(*line)
    assert (answer.code, answer.err.startswith("vidgen: VIDGEN_OFFLOAD says: --offload stream is no way")) == (2, True)


@pytest.mark.parametrize("said", ["24", "24GB", "24 GiB", "24g"])
def test_a_memory_is_said_as_cards_are_sold(said: str, vidgen: ANSWER) -> None:
    plan = json.loads(vidgen(*PLANNED, "--vram", said, "--ram", said, "--json").out)
    assert (plan["machine"]["vram_gib"], plan["machine"]["ram_gib"]) == (24, 24)


def test_a_plan_whose_weights_nobody_has_counted_says_what_it_takes_at_least(vidgen: ANSWER) -> None:
    answer = vidgen("plan", "t2v", "a red circle", "--model", "ltx-2.5-distilled", "--vram", "24", "--ram", "64")
    assert "GiB of weights and those of text_encoder and connectors, which nobody has counted" in answer.out
    assert "peak         at least " in answer.out
    assert "at least" not in vidgen(*PLANNED, "--vram", "24").out


def test_where_no_model_fits_what_is_nearest_is_recommended(vidgen: ANSWER, picture: Path) -> None:
    answer = vidgen("models", "recommend", "--vram", "3", "--ram", "16", "--mode", "keyframe")
    assert answer.code == 5
    assert "no model's own clip fits a card of 3 GiB" in answer.err
    found = re.search(r"nearest that fits: vidgen keyframe (--model \S+ .+)", answer.err)
    assert found
    plan = vidgen(
        "plan", "keyframe", "--at", f"0:{picture}", "a circle", *found[1].split(), "--vram", "3", "--ram", "16"
    )
    assert plan.code == 0, plan.err


def test_what_is_wanted_of_a_model_is_one_of_a_few_things(vidgen: ANSWER) -> None:
    answer = vidgen("models", "recommend", "--want", "foo")
    assert (answer.code, "Value error" in answer.err, "'foo' is not one of 'fast'" in answer.err) == (2, False, True)


def test_limits_may_stand_in_a_configuration(vidgen: ANSWER) -> None:
    Path("vidgen.toml").write_text('offload = "phase"\ntiling = 128\nvram = 20\n')
    plan = json.loads(vidgen(*PLANNED, "--gpu", "4090", "--json").out)
    assert (plan["rung"]["placement"], plan["rung"]["tiling"], plan["machine"]["vram_gib"]) == ("phase", 128, 20)
    assert plan["settings"]["vram"] == {"value": "20 GiB", "origin": "project"}


def test_a_plan_for_a_machine_that_is_too_small_says_what_it_would_take(vidgen: ANSWER) -> None:
    answer = vidgen(*PLANNED, "--vram", "2")
    assert (answer.code, "bf16" in answer.err, "1.3 GiB are free" in answer.err) == (5, True, True)
    for wrong in ("-1", "nan", "1e9"):
        answer = vidgen(*PLANNED, f"--vram={wrong}")
        assert (answer.code, "is not a number from 0 to 100000" in answer.err) == (2, True)


def test_a_dry_run_is_the_plan_and_makes_nothing(vidgen: ANSWER) -> None:
    asked = ["t2v", "a red circle", "--seed", "3", "-o", "x.mp4"]
    assert vidgen(*asked, "--dry-run").out == vidgen("plan", *asked).out
    assert list(Path().iterdir()) == []


def test_auto_says_that_it_uses_the_built_in_model_and_how_to_get_a_real_one(vidgen: ANSWER) -> None:
    text = vidgen("plan", "t2v", "a red circle").out
    assert "using pocket" in text
    assert "vidgen download" in text


def test_config_says_where_each_value_came_from(vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("vidgen.toml").write_text('model = "pocket"\n')
    monkeypatch.setenv("VIDGEN_SEED", "4")
    settings = json.loads(vidgen("config", "show", "--json").out)["settings"]
    assert settings["model"] == {"value": "pocket", "origin": "project (vidgen.toml)"}
    assert settings["seed"] == {"value": "4", "origin": "environment (VIDGEN_*)"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("stepps = 3", "did you mean steps?"), ('output = "x"', "may not set output"), ("steps = ", "not valid TOML")],
)
def test_a_wrong_configuration_is_refused(text: str, wrong: str, vidgen: ANSWER) -> None:
    Path("vidgen.toml").write_text(text)
    answer = vidgen("t2v", "a red circle")
    assert (answer.code, wrong in answer.err) == (2, True)


def test_doctor_is_well_on_a_machine_that_is(vidgen: ANSWER) -> None:
    answer = vidgen("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(answer.out)["findings"]}
    assert findings["pocket"]["well"]
    assert findings["models"]["mend"] == "vidgen download ltx-video-2b-0.9.5"


def test_doctor_calibrates_by_a_few_clips_and_the_next_plan_knows_their_time(
    vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidgen.cli.calibrate.CLIPS", (("64x64", 5),))
    measures = json.loads(vidgen("doctor", "--calibrate", "--json").out)["measures"]
    assert [one["phase"] for one in measures] == ["encode", "denoise", "decode"]
    assert all(one["measured_seconds"] > 0 for one in measures)
    assert {one["clip"] for one in measures} == {"64x64, 5 frames"}
    assert "denoise" in vidgen("doctor", "--calibrate").out
    assert json.loads(vidgen("plan", "t2v", "a red circle", "--model", "pocket", "--json").out)["seconds"] > 0


def test_doctor_shows_what_the_probe_had_to_say(vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    here = replace(probe.machine(), notes=("the graphics driver does not answer",))
    monkeypatch.setattr(probe, "machine", lambda: here)
    assert "the graphics driver does not answer" in vidgen("doctor").out
    assert "the graphics driver does not answer" in vidgen(*PLANNED).out


def test_a_sheet_shows_a_clip(vidgen: ANSWER) -> None:
    assert vidgen("t2v", "a red circle", "--steps", "1", "-o", "x.mp4").code == 0
    assert vidgen("sheet", "x.mp4", "-o", "x.jpg", "--columns", "3").out == "x.jpg\n"
    with Image.open("x.jpg") as sheet:
        assert sheet.width > sheet.height


def test_version(vidgen: ANSWER) -> None:
    assert vidgen("--version").out == "vidgen 0.1.0\n"


@pytest.mark.parametrize(("command", "words"), examples())
def test_every_example_in_the_help_runs(
    command: str, words: str, vidgen: ANSWER, picture: Path, request: pytest.FixtureRequest
) -> None:
    Path("last.png").write_bytes(picture.read_bytes())
    if command.split()[-1] in {"show", "sheet"}:
        assert vidgen("t2v", "a red circle", "--steps", "1", "-o", "circle.mp4").code == 0
    if command == "vidgen diff":
        for name in ("golden.mp4", "circle.mp4"):
            write(Path(name), shape())
    if command == "vidgen duration":
        Path("prompt.txt").write_text("a fox walks", encoding="utf-8")
        says = twin("ltx2").index(cards.card("ltx-2.5-distilled"))
        build(twin("ltx2"), Path("LTX-2.5-Diffusers"), pipeline="LTX2Pipeline", says=says)
    if command == "vidgen enhance":
        chats.build(Path("chat-model"))
    if command in {"vidgen resume", "vidgen decode"}:
        leave(Path(shlex.split(words)[2]))
    if command == "vidgen finalize":
        draft(Path(shlex.split(words)[2]))
    if command.split()[1:2] in (["download"], ["cache"]):
        request.getfixturevalue("hub")
    if command.split()[1:2] == ["cache"]:
        assert vidgen("download", "ltx-video-2b").code == 0
    made = command in {"vidgen t2v", "vidgen i2v", "vidgen keyframe", "vidgen"} and "models" not in words
    answer = vidgen(*shlex.split(words)[1:], *(["--steps", "1"] if made else []))
    assert answer.code == 0, answer.err


def test_each_command_has_two_examples(vidgen: ANSWER) -> None:
    counts: dict[str, int] = {}
    for command, _ in examples():
        counts[command] = counts.get(command, 0) + 1
    assert counts
    assert set(counts.values()) == {2}


def test_a_model_is_recommended_for_what_is_wanted_on_a_machine_that_one_does_not_have(vidgen: ANSWER) -> None:
    small = json.loads(vidgen("models", "recommend", "--vram", "12", "--json").out)["recommended"]
    large = json.loads(vidgen("models", "recommend", "--vram", "80", "--json").out)["recommended"]
    assert small[0]["fits"]
    known = json.loads(vidgen("models", "--json").out)["models"]
    counted = [one["name"] for one in known if "more than" not in one["weights"]]
    assert large[0]["name"] == counted[0], "what nobody has counted is no first choice"
    assert [one["fits"] for one in small] == sorted((one["fits"] for one in small), reverse=True)
    assert all(one["peak_gib"] <= 12 for one in small if one["fits"])
    assert all("GiB are free" in one["reasons"][0] for one in small if not one["fits"])


def test_what_was_not_measured_is_said(vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = (cards.OWN / "wan-2.1-t2v-1.3b.toml").read_text(encoding="utf-8")
    begin, rest = shipped.split("[cost]")
    Path("mine").mkdir()
    Path("mine", "wan-of-mine.toml").write_text(
        begin.replace('"wan-1.3b"', '"own"') + rest[rest.index("\n[") :], "utf-8"
    )
    monkeypatch.setenv("VIDGEN_FAMILIES", "mine")
    said = "weights alone: the work beside them was not measured"
    assert said in vidgen("plan", "t2v", "a boat", "--model", "wan-of-mine", "--vram", "24").out
    assert said not in vidgen("plan", "t2v", "a boat", "--model", "wan-2.1-t2v-1.3b", "--vram", "24").out
    found = json.loads(vidgen("models", "recommend", "--vram", "80", "--json").out)["recommended"]
    assert {one["name"] for one in found if any("weights alone" in said for said in one["reasons"])} <= {"wan-of-mine"}


def test_fast_models_come_first_when_speed_is_wanted(vidgen: ANSWER) -> None:
    found = json.loads(vidgen("models", "recommend", "--vram", "80", "--want", "fast", "--json").out)["recommended"]
    steps = {one["name"]: one["reasons"][1] for one in found}
    assert steps[found[0]["name"]] == "8 steps, no guidance" or "2b" in found[0]["name"]
    assert [one["name"] for one in found] != sorted(steps)


def test_a_recommendation_says_what_to_type_next(vidgen: ANSWER) -> None:
    lines = vidgen("models", "recommend", "--vram", "12", "--mode", "i2v").out.splitlines()
    assert lines[0].startswith("1. ")
    assert any(line.strip().endswith(f"vidgen download {lines[0].split()[1].rstrip(':')}") for line in lines[1:7])
    assert vidgen("models", "recommend", "--vram", "12", "--want", "hats").code == 2
