"""Quantized weights: as small as the plan says, near the whole ones, and quantized once."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import twins
from vidgen.backends import ltx, pipes, quantize, store
from vidgen.catalog import cards
from vidgen.core.plan import Job, Placement, Precision, Rung
from vidgen.core.request import Lora
from vidgen.media.measures import psnr

QUANTIZED = [precision for precision in Precision if precision.quantized]
LEAST = {Precision.INT8: 40.0, Precision.FP8: 30.0}
"""Decibels between a clip of the built-in model and its bf16 self."""


def rung(precision: Precision) -> Rung:
    return Rung(precision=precision, placement=Placement.PHASE)


def pocket(precision: Precision, **words: Any) -> Job:
    card = cards.card("pocket")
    return twins.job(
        card, width=32, height=32, frames=5, steps=2, negative="", rung=rung(precision), prompt="a red circle", **words
    )


def film(job: Job) -> Any:
    backend = ltx.open(job)
    try:
        latents = backend.denoise(job, backend.encode([job])[0], [], lambda done, total, state=None, /: None)
        return np.stack(list(backend.decode(job, latents).frames))
    finally:
        backend.close()


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VIDGEN_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "quantized"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The components that were read whole."""
    read: list[str] = []
    real = pipes.Parts._read

    def noted(parts: pipes.Parts, name: str) -> Any:
        read.append(name)
        return real(parts, name)

    monkeypatch.setattr(pipes.Parts, "_read", noted)
    return read


@pytest.mark.parametrize("precision", QUANTIZED)
def test_a_quantized_clip_is_near_the_whole_one_and_quantized_once(
    precision: Precision, kept: Path, counted: list[str]
) -> None:
    whole = film(pocket(Precision.BF16))
    counted.clear()
    first = film(pocket(precision))
    assert sorted(counted) == ["scheduler", "text_encoder", "tokenizer", "transformer", "vae"]
    assert len(list(kept.iterdir())) == 2
    counted.clear()
    second = film(pocket(precision))
    assert sorted(counted) == ["scheduler", "tokenizer", "vae"]
    assert (first == second).all()
    assert not (first == whole).all()
    assert psnr(whole, first) > LEAST[precision]


@pytest.mark.parametrize("precision", QUANTIZED)
def test_the_blocks_take_half_the_bytes_and_the_card_says_which_share_they_are(precision: Precision) -> None:
    job = pocket(precision)
    parts = pipes.Parts(job, ltx.KINDS)
    for name in ("transformer", "text_encoder"):
        part = parts.hold([name])[name]
        tensors = list(part.parameters())
        count = sum(tensor.numel() for tensor in tensors)
        blocks = sum(m.weight.numel() for n, m in part.named_modules() if quantize.in_blocks(m, n))
        assert job.card.component(name).blocks == pytest.approx(blocks / count, abs=1e-6)
        rows = sum(m.weight.shape[0] for n, m in part.named_modules() if quantize.in_blocks(m, n))
        assert held(tensors) == blocks + 4 * rows + 2 * (count - blocks)


def held(tensors: list[torch.Tensor]) -> int:
    """Bytes of storage, those within torchao's tensors too."""
    total = 0
    for tensor in tensors:
        inner = [getattr(tensor, name) for name in ("qdata", "scale")] if hasattr(tensor, "qdata") else [tensor]
        total += sum(each.numel() * each.element_size() for each in inner)
    return total


def test_other_files_or_another_scheme_are_never_taken_for_what_was_kept(tmp_path: Path, kept: Path) -> None:
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(b"one")
    marks = {store.place(folder, precision) for precision in QUANTIZED}
    time.sleep(0.01)
    (folder / "a.safetensors").write_bytes(b"two")
    marks |= {store.place(folder, precision) for precision in QUANTIZED}
    assert len(marks) == 4


def test_a_damaged_copy_is_made_again(kept: Path) -> None:
    whole = film(pocket(Precision.INT8))
    for file in kept.iterdir():
        file.write_bytes(file.read_bytes()[:-100])
    assert (film(pocket(Precision.INT8)) == whole).all()


def test_a_disk_without_room_keeps_nothing_and_the_clip_is_the_same(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = film(pocket(Precision.INT8))
    for file in kept.iterdir():
        file.unlink()
    monkeypatch.setattr(quantize, "SPARE", 2**60)
    assert (film(pocket(Precision.INT8)) == whole).all()
    assert list(kept.iterdir()) == []


def test_it_all_happens_without_a_word(kept: Path) -> None:
    words = ["t2v", "a red circle", "--size", "32x32", "--frames", "5", "--steps", "1", "--precision", "int8", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "vidgen", *words, "-o", "x.mp4"], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("x.mp4\n", "")


def test_a_lora_is_worn_over_quantized_weights() -> None:
    lora = [Lora(path=twins.lora(Path("style.safetensors"), width=128))]
    worn = {each: film(pocket(each, loras=lora)) for each in (Precision.BF16, Precision.INT8)}
    assert psnr(worn[Precision.BF16], worn[Precision.INT8]) > 30
    assert psnr(worn[Precision.INT8], film(pocket(Precision.INT8))) < 20


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("transformer_blocks.0.attn.to_q", True),
        ("encoder.block.1.layer.0.SelfAttention.q", True),
        ("transformer_blocks.0.norm1.linear", False),
        ("single_transformer_blocks.7.norm.linear", False),
        ("transformer_blocks.0.norm1_context.linear", False),
        ("time_embed.linear_1", False),
        ("proj_out", False),
    ],
)
def test_only_blocks_are_quantized_and_what_modulates_their_norms_is_not(name: str, taken: bool) -> None:
    assert quantize.in_blocks(torch.nn.Linear(2, 2), name) is taken
