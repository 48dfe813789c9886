"""The measurement of full-size models, which wants a card: what of it can be shown without one."""

from pathlib import Path

import pytest

from tests.values import cuda
from tools import measure_gpu
from tools.measure_gpu import NO_GPU, Run
from vidgen import probe
from vidgen.catalog import cards


def test_without_a_card_it_refuses_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    if probe.machine().device == "cuda":
        pytest.fail("this test is for machines without a card")
    assert measure_gpu.main([]) == 5
    assert capsys.readouterr().err == f"measure-gpu: {NO_GPU}\n"
    assert not measure_gpu.TO.exists() or "Measured on" in measure_gpu.TO.read_text()


def test_both_ways_make_a_clip_of_the_same_folder(twin: Path) -> None:
    card = cards.card("ltx-video-2b-0.9.0")
    words = {"size": "64x64", "frames": 9, "steps": 2}
    for way in (measure_gpu.ours, measure_gpu.stock):
        run = way(card, twin, 8.0, **words)
        assert run.seconds > 0
        assert run.model == card.name
        assert not run.failed


def test_a_page_has_a_row_for_each_run_and_says_why_there_is_none() -> None:
    runs = [
        Run(model="m", cap_gib=8, who="vidgen", rung="bf16", predicted_gib=6.5, peak_gib=6.4, seconds=80.0),
        Run(model="m", cap_gib=8, who="Diffusers", failed="CUDA out of memory"),
    ]
    text = measure_gpu.page(runs, cuda(80), "2026-01-01")
    assert "| m | 8 GiB | vidgen | bf16 | 6.5 GiB | 6.4 GiB | 80 |" in text
    assert "| m | 8 GiB | Diffusers |  |  | CUDA out of memory |  |" in text
