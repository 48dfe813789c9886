"""vidgen smoke through the door: its table, its report and its exit codes. See tests/test_ci.py for the cold start."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from tests.conftest import ANSWER
from tests.smoke import damaged
from vidgen.smoke import exam
from vidgen.smoke.asked import POCKET


def test_damaged_weights_end_with_7_a_table_of_failures_and_a_report(vidgen: ANSWER) -> None:
    torch.manual_seed(0)
    model = damaged.changed(lambda name, tensor: torch.randn(tensor.shape) * tensor.float().std())
    answer = vidgen("smoke", "--model", model, "--junit", "smoke.xml")
    assert answer.code == 7
    assert [line.split()[:2] for line in answer.out.splitlines()[1:7]] == [["FAIL", trial.name] for trial in POCKET]
    assert "FAIL circle: " in answer.out
    assert "0 of 6 clips of copy are as asked" in answer.out
    assert answer.err == (
        "vidgen: 6 of 6 clips of copy are not what was asked\n"
        "    these weights do not draw what they are asked: look at the clips with --keep FOLDER\n"
    )
    assert ElementTree.parse("smoke.xml").getroot().get("failures") == "6"


def test_truncated_weights_end_with_4_and_no_older_report_stays(vidgen: ANSWER) -> None:
    Path("smoke.xml").write_text("<testsuite failures='0'/>")
    answer = vidgen("smoke", "--model", damaged.truncated(), "--junit", "smoke.xml")
    assert (answer.code, answer.out, Path("smoke.xml").exists()) == (4, "", False)
    assert "safetensors (damaged)" in answer.err


def test_json_tells_each_check_and_where_a_kept_clip_is(vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exam.built_in, "__kwdefaults__", {**(exam.built_in.__kwdefaults__ or {}), "trials": POCKET[:1]})
    told = json.loads(vidgen("smoke", "--json", "--keep", "kept").out)
    [clip] = told["clips"]
    assert (told["schema"], told["well"], clip["path"], clip["fault"]) == (1, True, "kept/circle.mp4", "")
    assert Path("kept/circle.mp4").is_file()
    assert {"name": "colour", "asked": "red", "seen": "red", "well": True} in clip["checks"]


def test_a_family_and_a_model_together_are_refused(vidgen: ANSWER) -> None:
    answer = vidgen("smoke", "--family", "ltx", "--model", "pocket")
    assert (answer.code, "both --family and --model" in answer.err) == (2, True)


def test_a_report_that_cannot_be_written_is_refused_first(vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidgen.smoke.exam.run", _never)
    answer = vidgen("smoke", "--junit", "gone/smoke.xml")
    assert (answer.code, answer.out, "cannot write gone/smoke.xml" in answer.err) == (6, "", True)


FULL = """
import resource, sys
from vidgen.cli.app import start
import vidgen.smoke.exam
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.exit(start(sys.argv[2:]))
"""
"""A disk on which no file can grow beyond a few bytes."""


@pytest.mark.parametrize(
    ("words", "room", "said"),
    [
        (["--family", "ltx"], 100, "cannot write a tiny model in "),
        pytest.param(["--family", "ltx"], 20000, "cannot write a tiny model in ", marks=pytest.mark.slow),
        ([], 50, "cannot write a picture in "),
    ],
)
def test_a_disk_without_room_for_what_is_shown_to_the_model_ends_with_6(
    words: list[str], room: int, said: str, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-B", "-c", FULL, str(room), "smoke", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(scratch)}, check=False
    )
    assert (done.returncode, done.stdout) == (6, ""), done.stderr
    assert done.stderr.startswith(f"vidgen: {said}{scratch}")
    assert "make room" in done.stderr
    assert list(scratch.iterdir()) == []


def _never(*words: object) -> None:
    raise AssertionError("clips were about to be made")
