"""A new family costs one Python file and one card: found, planned and run from a folder, no file of ours edited."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidgen.media.inspect import inspect

MODULE = '''"""Sketch: paints flat colours, and hums."""

import numpy as np
import torch

from vidgen.backends.port import Film


class Sketch:
    def encode(self, jobs, look):
        return [{"length": torch.tensor([len(job.request.prompt)])} for job in jobs]

    def denoise(self, job, conditioning, pictures, step, since=None):
        for done in range(job.request.steps):
            step(done + 1, job.request.steps)
        noise = torch.rand(3, generator=torch.Generator("cpu").manual_seed(job.request.seed))
        return {"colour": noise * conditioning["length"]}

    def decode(self, job, latents):
        request = job.request
        shape = (request.height, request.width, 3)
        colour = (latents["colour"] * 10).numpy().astype(np.uint8)
        frames = (np.full(shape, colour + 9 * number, np.uint8) for number in range(request.frames))
        time = np.arange(16000, dtype=np.float32) / 8000
        return Film(frames=frames, samples=np.sin(time * 2764)[None] / 2, rate=8000)

    def close(self):
        pass


def open(job):
    return Sketch()
'''

CARD = """
title = "Sketch"
summary = "Flat colours and a hum."
family = "sketch"
rank = 1
tokens = 8
negative = false
sound = true
loras = false

[weights]
folder = "weights"

[grid]
size = 8
frames = 2

[components.colours]
kind = "ColourScheduler"

[ways.t2v]
pipeline = "Sketch"
encode = ["colours"]
denoise = ["colours"]
decode = ["colours"]

[schedule]
guidance = "embedded"

[defaults]
size = "64x48"
frames = 11
fps = "10"
steps = 3
guidance_scale = 1.0
"""


@pytest.fixture
def families(tmp_path: Path) -> dict[str, str]:
    """An environment in which the sketched family is known."""
    folder = tmp_path / "families"
    (folder / "weights" / "colours").mkdir(parents=True)
    (folder / "weights" / "colours" / "scheduler_config.json").write_text("{}")
    (folder / "sketch.py").write_text(MODULE)
    (folder / "sketch.toml").write_text(CARD)
    return {**os.environ, "VIDGEN_FAMILIES": str(folder)}


def _vidgen(families: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "vidgen", *words], env=families, capture_output=True, text=True, check=False
    )


def test_it_is_found_and_planned(families: dict[str, str]) -> None:
    assert "sketch" in _vidgen(families, "models").stdout
    plan = json.loads(_vidgen(families, "plan", "t2v", "a hum", "--model", "sketch", "--json").stdout)
    assert (plan["settings"]["size"]["value"], plan["settings"]["sound"]["value"]) == ("64x48", "True")


def test_it_runs_with_its_sound_as_long_as_its_picture(families: dict[str, str]) -> None:
    asked = ["--size", "50x42", "--frames", "7", "--seed", "1..2"]
    done = _vidgen(families, "t2v", "a hum", "--model", "sketch", *asked, "-o", "x.mp4")
    assert (done.returncode, done.stdout.split()) == (0, ["x-1.mp4", "x-2.mp4"]), done.stderr
    facts = inspect(Path("x-1.mp4"))
    assert (facts.frames, facts.width, facts.height, float(facts.fps), facts.sound) == (7, 50, 42, 10.0, "aac")
    assert facts.sound_seconds == pytest.approx(0.7, abs=0.1)


def test_silence_and_stillness_are_said_and_recorded_and_the_clip_stands(families: dict[str, str]) -> None:
    module = Path(families["VIDGEN_FAMILIES"]) / "sketch.py"
    module.write_text(module.read_text().replace("/ 2,", "* 0,").replace("9 * number", "90"))
    done = _vidgen(families, "t2v", "a hum", "--model", "sketch", "--seed", "1", "-o", "x.mp4")
    said = [
        "the sound is silent",
        "11 of 11 frames are of one colour",
        "the picture does not move: all 11 frames show the same",
    ]
    assert (done.returncode, done.stdout) == (0, "x.mp4\n")
    assert [line for line in done.stderr.splitlines() if "x.mp4" in line] == [f"vidgen: x.mp4: {one}" for one in said]
    assert json.loads(Path("x.mp4.json").read_text())["adjustments"] == said


def test_sound_can_be_left_out(families: dict[str, str]) -> None:
    assert _vidgen(families, "t2v", "a hum", "--model", "sketch", "--no-sound", "-o", "x.mp4").returncode == 0
    assert inspect(Path("x.mp4")).sound == ""


def test_a_card_without_its_module_is_refused(families: dict[str, str]) -> None:
    (Path(families["VIDGEN_FAMILIES"]) / "sketch.py").unlink()
    done = _vidgen(families, "t2v", "a hum", "--model", "sketch")
    assert (done.returncode, "family sketch, which has no module" in done.stderr) == (2, True)
