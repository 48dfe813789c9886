"""`vidgen plan --exact`: what the very clip takes, counted, beside what the numbers of the model's card say."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ANSWER, Answer
from tests.test_second_family import CARD as SKETCH
from tests.test_second_family import MODULE
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin as described
from vidgen.core.card import NAMED
from vidgen.core.headers import header

EXACT = ["plan", "t2v", "a red circle moving right", "--exact"]
LARGE = ["--size", "1024x1024", "--frames", "121", "--ram", "64"]


def parameters(folder: Path) -> int:
    """How many are in the files of a component."""
    sizes = [entry.shape for file in folder.glob("*.safetensors") for entry in header(file).tensors.values()]
    return sum(_product(shape) for shape in sizes)


def _product(shape: tuple[int, ...]) -> int:
    return shape[0] * _product(shape[1:]) if shape else 1


def told(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer.err
    plan: dict[str, Any] = json.loads(answer.out)
    return plan


def test_the_built_in_model_is_counted_by_its_own_configurations(vidgen: ANSWER) -> None:
    plan = told(vidgen(*EXACT, "--model", "pocket", "--json"))
    counted, folder = plan["counted"], cards.card("pocket").folder
    assert folder is not None
    assert counted["configuration"] == f"by the configurations in {folder}"
    for name in ("transformer", "text_encoder"):
        assert counted["parameters"][name] == parameters(folder / name)
    assert (counted["prompt_tokens"], counted["prompt_read"]) == (6, True)
    phases = {phase["phase"]: phase for phase in counted["phases"]}
    assert [round(phase["weights_gib"] + phase["work_gib"], 9) for phase in plan["phases"]] == [
        round(phases[name]["gib"], 9) for name in ("encode", "denoise", "decode")
    ]
    assert phases["denoise"]["gib"] > phases["denoise"]["card_gib"] > 0
    assert " with diffusers " in plan["measured"]
    assert (plan["schema"], counted["seconds"] > 0) == (1, True)


def test_the_plan_says_in_words_what_was_counted_and_how_far_the_card_is_from_it(vidgen: ANSWER) -> None:
    answer = vidgen(*EXACT, "--model", "pocket")
    rows = [line.split(maxsplit=1)[1] for line in answer.out.splitlines() if line.startswith("counted ")]
    assert [row.split(":")[0] for row in rows[:3]] == ["encode", "denoise", "decode"]
    assert all("by the card's numbers (" in row for row in rows[:3])
    assert any(row.startswith("parameters: text_encoder ") for row in rows)
    assert any(row.startswith("6 tokens of text; in ") for row in rows)
    said = [line for line in answer.err.splitlines() if not line.startswith("count")]
    assert said == []


def test_a_plan_that_is_not_exact_has_counted_nothing(vidgen: ANSWER) -> None:
    assert told(vidgen("plan", "t2v", "a red circle", "--model", "pocket", "--json"))["counted"] is None


def test_a_longer_prompt_is_counted_as_longer(vidgen: ANSWER, twin: Path) -> None:
    short, long = (
        told(vidgen("plan", "t2v", prompt, "--model", str(twin), "--exact", "--json"))["counted"]
        for prompt in ("a", "a very long prompt about boats, " * 4)
    )
    assert short["prompt_tokens"] < long["prompt_tokens"] <= 128
    denoise = [one["phases"][1]["gib"] for one in (short, long)]
    assert denoise[0] <= denoise[1]


def test_another_choice_than_by_the_cards_numbers_is_said(vidgen: ANSWER, tmp_path: Path) -> None:
    model = _uncounted(tmp_path)
    plan = told(vidgen(*EXACT, "--model", str(model), *LARGE, "--vram", "1.5", "--json"))
    assert plan["counted"]["card_rung"]["tiling"] == 0 < plan["rung"]["tiling"]
    assert not plan["counted"]["same_rung"]
    words = vidgen(*EXACT, "--model", str(model), *LARGE, "--vram", "1.5").out
    assert "by the card's numbers it would be another choice: bf16, everything resident" in words


def test_what_does_not_fit_once_it_is_counted_is_refused_with_what_the_card_says(
    vidgen: ANSWER, tmp_path: Path
) -> None:
    answer = vidgen(*EXACT, "--model", str(_uncounted(tmp_path)), *LARGE, "--vram", "1.5", "--tiling", "off")
    assert answer.code == 5
    assert "counted for this very clip; by the numbers of its card it would on bf16, everything resident" in answer.err


def _uncounted(tmp_path: Path) -> Path:
    """A tiny LTX of whose work its card says nothing."""
    folder = build(described("ltx"), tmp_path / "mine", pipeline="LTXPipeline")
    text = (cards.OWN / "pocket.toml").read_text(encoding="utf-8").replace('folder = "../../pocket"', 'folder = "."')
    text = text.replace("frames = 4\n", "frames = 8\n").replace("PreTrainedTokenizerFast", "T5Tokenizer")
    (folder / "card.toml").write_text(text.replace('knows = "one shape of one colour that moves"\n', ""))
    return folder


@pytest.mark.parametrize("damage", ["missing", "{", "[]"])
def test_a_model_without_a_readable_configuration_is_refused(
    damage: str, vidgen: ANSWER, twin: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(twin, tmp_path / "copy")
    file = model / "transformer" / "config.json"
    file.unlink() if damage == "missing" else file.write_text(damage)
    answer = vidgen(*EXACT, "--model", str(model))
    assert (answer.code, answer.out) == (4, "")
    assert "transformer" in answer.err
    assert "config.json" in answer.err
    assert "huggingface.co" not in answer.err


def test_a_family_that_is_not_counted_is_refused(
    vidgen: ANSWER, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "sketch.py").write_text(MODULE)
    (tmp_path / "sketch.toml").write_text(SKETCH)
    monkeypatch.setenv("VIDGEN_FAMILIES", str(tmp_path))
    answer = vidgen(*EXACT, "--model", "sketch")
    assert (answer.code, "family sketch" in answer.err, "leave out --exact" in answer.err) == (2, True, True)


@pytest.mark.parametrize(
    "name", ["ltx-video-13b-0.9.8-distilled-x2", "wan-2.2-ti2v-5b", "hunyuan-video", "hunyuan-video-1.5-480p-t2v"]
)
def test_the_twin_of_a_family_is_counted_as_it_is(name: str, vidgen: ANSWER, tmp_path: Path) -> None:
    """With its own sides and channels, which are not those of the model that it is small for."""
    card = cards.card(name)
    says = {**card.index, NAMED: card.name}
    model = build(
        described(card.family), tmp_path / "tiny", pipeline=next(iter(card.ways.values())).pipeline, says=says
    )
    size = f"{4 * card.grid.size}x{4 * card.grid.size}"
    frames = str(4 * card.grid.frames + 1)
    plan = told(vidgen(*EXACT, "--model", str(model), "--size", size, "--frames", frames, "--json"))
    assert plan["counted"]["parameters"]["transformer"] == parameters(model / "transformer") < 10_000_000
    assert all(phase["gib"] < 1 for phase in plan["counted"]["phases"])


def test_a_model_that_is_not_here_is_counted_by_what_is_published_of_it(vidgen: ANSWER) -> None:
    asked = ["--model", "wan-2.1-t2v-1.3b", "--size", "416x240", "--frames", "17", "--vram", "24", "--ram", "64"]
    counted = told(vidgen(*EXACT, *asked, "--json"))["counted"]
    card = cards.card("wan-2.1-t2v-1.3b")
    assert counted["parameters"] == {part.name: part.parameters for part in card.components if part.parameters}
    said = "by the configurations that are published of wan-2.1-t2v-1.3b: its files are not here"
    assert (counted["configuration"], counted["prompt_tokens"], counted["prompt_read"]) == (said, card.tokens, False)


FULL = {
    "hunyuan-video": (),
    "hunyuan-video-1.5-480p-t2v": (),
    "ltx-2.3-distilled": (),
    "ltx-video-13b-0.9.7-dev-x2": (),
    "ltx-video-13b-0.9.8-distilled-long": ("--seconds", "20"),
    "framepack": ("--seconds", "10"),
    "cogvideox-5b": (),
    "mochi-1": (),
}


LOWER = frozenset({"hunyuan-video-1.5-480p-t2v", "mochi-1"})
"""Their canvas is 480 pixels high, and the tile of their cards was counted at 512."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_the_numbers_of_a_card_are_those_that_are_counted_of_its_own_clip(
    name: str, vidgen: ANSWER, picture: Path
) -> None:
    words = ["i2v", str(picture), "she dances"] if name == "framepack" else ["t2v", "a boat"]
    plan = told(
        vidgen("plan", *words, "--model", name, *FULL[name], "--vram", "80", "--ram", "128", "--exact", "--json")
    )
    assert plan["counted"]["same_rung"]
    most = 8 if name in LOWER else 3
    assert all(abs(phase["percent"]) < most for phase in plan["counted"]["phases"])


@pytest.mark.slow
def test_the_largest_model_is_counted_in_little_memory() -> None:
    script = """
import resource, sys
from vidgen.cli.app import start
code = start(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
sys.stderr.write(f"\\n{code} {used.ru_maxrss / 2**20:.2f}")
"""
    line = [sys.executable, "-c", script, *EXACT, "--model", "hunyuan-video", "--vram", "24", "--ram", "64"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=600, check=False)
    code, gib = said.stderr.rpartition("\n")[2].split()
    assert code == "0"
    assert float(gib) < 1.5
