"""A family on its twin: every mode of every pipeline, of a family that is added too; sound where the model makes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ANSWER
from tests.values import says
from vidgen.catalog import cards, twins
from vidgen.core.errors import UsageRefused
from vidgen.smoke import exam

HUM = '''"""Hum: a still colour that brightens, and a tone; as loud and as bright as the seed has it."""

import numpy as np
import torch

from vidgen.backends.port import Film

KINDS = {}
SILENT = %s


class Hum:
    def encode(self, jobs, look):
        return [{"length": torch.tensor([len(job.request.prompt)])} for job in jobs]

    def denoise(self, job, conditioning, pictures, step, since=None):
        generator = torch.Generator("cpu").manual_seed(job.request.seed)
        return {"colour": torch.rand(3, generator=generator)}

    def decode(self, job, latents):
        request = job.request
        colour = (latents["colour"] * 100).numpy().astype(np.uint8)
        shape = (request.height, request.width, 3)
        frames = (np.full(shape, colour + 9 * number, np.uint8) for number in range(request.frames))
        if SILENT:
            return Film(frames=frames)
        return Film(frames=frames, samples=np.sin(np.arange(16000, dtype=np.float32) / 3)[None] / 2, rate=8000)

    def close(self):
        pass


def open(job):
    return Hum()
'''

CARD = """
title = "Hum"
summary = "A colour and a tone."
family = "hum"
rank = 1
tokens = 8
negative = false
sound = true
loras = false

[weights]
repository = "someone/hum"
serves = ["HumPipeline"]

[grid]
size = 8
frames = 1

[components.scheduler]
kind = "FlowMatchEulerDiscreteScheduler"

[ways.t2v]
pipeline = "HumPipeline"
encode = ["scheduler"]
denoise = ["scheduler"]
decode = ["scheduler"]

[schedule]
guidance = "embedded"

[defaults]
size = "64x48"
frames = 11
fps = "10"
steps = 3
guidance_scale = 1.0
"""


def test_ltx_passes_in_every_mode_of_every_pipeline(vidgen: ANSWER) -> None:
    answer = vidgen("smoke", "--family", "ltx", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert (told["schema"], told["well"], told["subject"]) == (1, True, "the twin of ltx")
    asked = [(clip["model"], clip["mode"]) for clip in told["clips"]]
    two_stages = "tiny-ltx-video-13b-0.9.8-distilled-x2"
    assert sorted(set(asked)) == [
        ("tiny-ltx-video-13b-0.9.8-distilled-long", "i2v"),
        ("tiny-ltx-video-13b-0.9.8-distilled-long", "t2v"),
        *((two_stages, mode) for mode in ("i2v", "keyframe", "t2v")),
        ("tiny-ltx-video-2b-0.9.0", "i2v"),
        ("tiny-ltx-video-2b-0.9.0", "t2v"),
        ("tiny-ltx-video-2b-0.9.5", "i2v"),
        ("tiny-ltx-video-2b-0.9.5", "keyframe"),
        ("tiny-ltx-video-2b-0.9.5", "t2v"),
    ]
    assert {check["name"] for clip in told["clips"] for check in clip["checks"]} == {
        "size",
        "frames",
        "fps",
        "sound",
        "seed",
    }


def test_an_unknown_family_is_refused_with_those_that_there_are(vidgen: ANSWER) -> None:
    answer = vidgen("smoke", "--family", "hunyun")
    assert (answer.code, answer.out) == (2, "")
    named = ", ".join(sorted(twins.twins()))
    assert f"no family 'hunyun' has a twin; did you mean hunyuan?\n    these have one: {named}" in answer.err


def added(*, silent: bool, card: str = CARD) -> subprocess.CompletedProcess[str]:
    """`vidgen smoke --family hum` where a folder of families holds one file, one card and one twin."""
    Path("families", "twins").mkdir(parents=True)
    Path("families", "hum.py").write_text(HUM % silent)
    Path("families", "hum.toml").write_text(card)
    Path("families", "twins", "hum.toml").write_text('[scheduler]\nkind = "FlowMatchEulerDiscreteScheduler"\n')
    words = [sys.executable, "-m", "vidgen", "smoke", "--family", "hum"]
    return subprocess.run(
        words, env={**os.environ, "VIDGEN_FAMILIES": "families"}, capture_output=True, text=True, check=False
    )


def test_an_added_family_is_tested_with_its_sound() -> None:
    done = added(silent=False)
    assert (done.returncode, "2 of 2 clips of the twin of hum are as asked" in done.stdout) == (0, True), done.stderr


def test_a_family_that_should_make_sound_and_does_not_fails() -> None:
    done = added(silent=True)
    assert done.returncode == 7
    assert "FAIL tiny-hum-t2v: sound: asked for sound, saw no sound" in done.stdout
    assert "2 of 2 clips of the twin of hum are not what was asked" in done.stderr


def test_a_twin_that_no_card_serves_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "twins").mkdir()
    (tmp_path / "twins" / "lonely.toml").write_text("")
    monkeypatch.setenv("VIDGEN_FAMILIES", str(tmp_path))
    cards.cards.cache_clear()
    with pytest.raises(UsageRefused) as refused:
        exam.family("lonely")
    says(refused, 2, "no card of family lonely", "weights.serves")
