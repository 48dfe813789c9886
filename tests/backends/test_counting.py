"""What is counted without weights is what the very run then takes, tensor for tensor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel

import vidgen as story
from vidgen.backends.counting.live import Live
from vidgen.core.card import Phase
from vidgen.core.plan import Job
from vidgen.planning.memory import GIB, KERNELS_GIB

Peaks = dict[str, int]


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> Peaks:
    """The most bytes that calls of the transformer and of the decoder take, on the processor, as they really run."""
    found: Peaks = {}

    def measured(own: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*given: Any, **words: Any) -> Any:
            with torch.no_grad(), Live(workspaces=True) as live:
                made = own(*given, **words)
            found[name] = max(found.get(name, 0), live.peak)
            return made

        return call

    monkeypatch.setattr(LTXVideoTransformer3DModel, "forward", measured(LTXVideoTransformer3DModel.forward, "denoise"))
    monkeypatch.setattr(AutoencoderKLLTXVideo, "decode", measured(AutoencoderKLLTXVideo.decode, "decode"))
    return found


def run(mode: str, **asked: Any) -> Job:
    [job] = story.prepare(
        mode,
        prompt="a red circle moving right",
        model="pocket",
        seed=1,
        output="a.mp4",
        counting=lambda _: None,
        **asked,
    )
    assert len(list(story.run([job]))) == 1
    return job


@pytest.mark.parametrize(
    ("mode", "asked"),
    [
        ("t2v", {"steps": 2}),
        ("t2v", {"steps": 2, "size": "96x64", "frames": 33, "negative": "a blue square on a white background"}),
        ("t2v", {"steps": 2, "precision": "bf16"}),
        ("i2v", {"steps": 2, "picture": "first.png"}),
        ("keyframe", {"steps": 4, "at": ["0:first.png", "-1:first.png"]}),
    ],
)
def test_the_built_in_model_takes_what_was_counted_of_it(
    mode: str, asked: dict[str, Any], peaks: Peaks, picture: Path
) -> None:
    work = {phase.phase: phase.work_gib - KERNELS_GIB for phase in run(mode, **asked).plan.phases}
    assert work[Phase.DENOISE] * GIB == pytest.approx(peaks["denoise"], rel=0.02)
    assert work[Phase.DECODE] * GIB == pytest.approx(peaks["decode"], rel=0.02)
