"""Guidance in turn: one pass at a time goes through the transformer, and the clip is the same but for roundings."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import twins
from tests.backends import tiny
from vidgen.backends import ltx, pipes
from vidgen.backends.port import opened
from vidgen.core.plan import Job, Placement, Precision, Rung

FINE = Rung(precision=Precision.FP32, placement=Placement.RESIDENT)
BATCHED = ("ltx-2-19b-dev", "ltx-video-13b-0.9.7-dev", "cogvideox-1.5-5b", "mochi-1")


def film(job: Job) -> np.ndarray[Any, Any]:
    with opened(job) as backend:
        return tiny.straight(backend, job)


def apart(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> int:
    """The largest difference of two films, in levels of 256."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("turns", [False, True])
def test_the_transformer_is_given_one_pass_at_a_time(turns: bool, twin: Path) -> None:
    job = twins.job(twins.card(twin), rung=replace(FINE, turns=turns))
    sizes: list[int] = []
    with opened(job) as backend:
        assert isinstance(backend, ltx.Ltx)
        part = backend._parts.hold(["transformer"])["transformer"]
        part.proj_in.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
        tiny.straight(backend, job)
    assert sizes == ([1] * 2 * job.request.steps if turns else [2] * job.request.steps)


def test_the_clip_is_the_same_but_for_roundings(twin: Path) -> None:
    whole, turned = (film(twins.job(twins.card(twin), rung=replace(FINE, turns=turns))) for turns in (False, True))
    assert apart(whole, turned) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), tiny.modes(*BATCHED))
def test_so_it_is_in_every_family_that_batches(name: str, mode: Any, tmp_path: Path) -> None:
    twin = tiny.card(tiny.folder(name, tmp_path))
    whole, turned = (film(tiny.job(twin, mode, rung=replace(FINE, turns=turns))) for turns in (False, True))
    assert apart(whole, turned) <= 1


def test_blocks_come_once_for_each_pass_and_every_step_goes_on(twin: Path) -> None:
    rung = Rung(precision=Precision.BF16, placement=Placement.STREAM, turns=True)
    tiny.every_step_goes_on(twins.job(twins.card(twin), rung=rung))


def test_a_single_pass_is_left_alone(twin: Path) -> None:
    job = twins.job(twins.card(twin), rung=replace(FINE, turns=True))
    part = pipes.Parts(job, ltx.KINDS).hold(["transformer"])["transformer"]
    words: dict[str, Any] = {
        "hidden_states": torch.zeros(1, 2, part.config.in_channels),
        "encoder_hidden_states": torch.zeros(1, 4, part.config.caption_channels),
        "timestep": torch.zeros(1),
        "encoder_attention_mask": torch.ones(1, 4),
        "num_frames": 2,
        "height": 1,
        "width": 1,
    }
    assert part(**words, return_dict=True).sample.shape == words["hidden_states"].shape
