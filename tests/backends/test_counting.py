"""What is counted without weights is what the very run then takes, tensor for tensor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch

import vidgen as story
from vidgen.backends import quiet
from vidgen.backends.counting.blueprint import Blueprint
from vidgen.backends.counting.live import Live
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin
from vidgen.core.card import NAMED, ModelCard, Phase
from vidgen.planning.memory import GIB, KERNELS_GIB

Peaks: TypeAlias = dict[Phase, int]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModelCard], Peaks]:
    """From now on, the most bytes that calls of a card's transformer and decoder take as they really run."""

    def begin(card: ModelCard) -> Peaks:
        found: Peaks = {}
        for phase, name, verb in ((Phase.DENOISE, "transformer", "forward"), (Phase.DECODE, "vae", "decode")):
            kind = quiet.found(Blueprint(card=card, said=None).kind(name).module, card.component(name).kind)
            monkeypatch.setattr(kind, verb, _measuring(getattr(kind, verb), phase, found))
        return found

    return begin


def _measuring(own: Callable[..., Any], phase: Phase, found: Peaks) -> Callable[..., Any]:
    def call(*given: Any, **words: Any) -> Any:
        with torch.no_grad(), Live(workspaces=True) as live:
            made = own(*given, **words)
        found[phase] = max(found.get(phase, 0), live.peak)
        return made

    return call


def taken(mode: str, **asked: Any) -> dict[Phase, float]:
    """Bytes of work that were counted of each phase of a clip, once it is made."""
    told = {"prompt": "a red circle moving right", "seed": 1, "output": "a.mp4", "counting": lambda _: None}
    [job] = story.prepare(mode, **{**told, **asked})
    assert len(list(story.run([job]))) == 1
    return {phase.phase: (phase.work_gib - KERNELS_GIB) * GIB for phase in job.plan.phases}


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
    mode: str, asked: dict[str, Any], measured: Callable[[ModelCard], Peaks], picture: Path
) -> None:
    peaks = measured(cards.card("pocket"))
    work = taken(mode, model="pocket", **asked)
    assert work[Phase.DENOISE] == pytest.approx(peaks[Phase.DENOISE], rel=0.02)
    assert work[Phase.DECODE] == pytest.approx(peaks[Phase.DECODE], rel=0.02)


@pytest.mark.parametrize(
    "name", ["hunyuan-video", "hunyuan-video-1.5-480p-t2v", "wan-2.1-t2v-1.3b", "cogvideox-5b", "ltx-2-19b-dev"]
)
def test_a_family_takes_what_was_counted_of_it(
    name: str, measured: Callable[[ModelCard], Peaks], tmp_path: Path
) -> None:
    card = cards.card(name)
    pipeline = next(iter(card.ways.values())).pipeline
    model = build(twin(card.family), tmp_path / "tiny", pipeline=pipeline, says={**card.index, NAMED: card.name})
    size, frames = f"{6 * card.grid.size}x{4 * card.grid.size}", 2 * card.grid.frames + 1
    peaks = measured(card)
    work = taken("t2v", model=str(model), size=size, frames=frames, steps=2, precision="fp32", tiling="off")
    assert work[Phase.DENOISE] == pytest.approx(peaks[Phase.DENOISE], rel=0.02)
    assert work[Phase.DECODE] == pytest.approx(peaks[Phase.DECODE], rel=0.02)
