"""Quantized weights: as small as the plan says, near the whole ones, quantized once and block after block."""

import errno
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from bitsandbytes.functional import quantize_4bit
from safetensors.torch import save_file

from tests import twins, values
from tests.backends import tiny
from vidgen.backends import eights, fours, hunyuan, ltx, pipes, quantize, store, waiting
from vidgen.backends.apart import apart
from vidgen.backends.waiting import Place
from vidgen.backends.written import Writing
from vidgen.catalog import cards
from vidgen.core.errors import OutputRefused, WeightsRefused
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Job, Placement, Precision, Rung
from vidgen.core.request import Lora, Mode
from vidgen.media.measures import psnr

QUANTIZED = [precision for precision in Precision if precision.quantized]
LEAST = {Precision.INT8: 40.0, Precision.FP8: 30.0, Precision.NF4: 20.0}
"""Decibels between a clip of the built-in model and its bf16 self."""


def pocket(precision: Precision, encoder: Precision | None = None, **words: Any) -> Job:
    return twins.job(
        cards.card("pocket"),
        **{"width": 32, "height": 32, "frames": 5, "steps": 2, "negative": "", "prompt": "a red circle", **words},
        rung=Rung(precision=precision, placement=Placement.PHASE, encoder=encoder),
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
    """The components of which the model's own files were read: whole, or block after block."""
    read: list[str] = []

    def noting(way: str) -> None:
        real = getattr(pipes.Parts, way)

        def noted(parts: pipes.Parts, name: str, *given: Any) -> Any:
            read.append(name)
            return real(parts, name, *given)

        monkeypatch.setattr(pipes.Parts, way, noted)

    noting("_read")
    noting("_places")
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


BYTES = {Precision.INT8: (1.0, 4.0, 0.0), Precision.FP8: (1.0, 4.0, 0.0), Precision.NF4: (0.5 + 4 / 64, 0.0, 64.0)}
"""Of a weight with its share of a scale, of a row's scale, of a layer's table."""


@pytest.mark.parametrize("precision", QUANTIZED)
def test_the_blocks_take_the_bytes_of_their_format_and_the_card_says_which_share_they_are(precision: Precision) -> None:
    job = pocket(precision)
    parts, whole = (pipes.Parts(each, ltx.KINDS) for each in (job, pocket(Precision.BF16)))
    weight, row, layer = BYTES[precision]
    for name in ("transformer", "text_encoder"):
        part = parts.hold([name])[name]
        count = sum(tensor.numel() for tensor in whole.hold([name])[name].parameters())
        layers = [m for n, m in part.named_modules() if quantize.in_blocks(m, n)]
        blocks = sum(m.in_features * m.out_features for m in layers)
        assert job.card.component(name).blocks == pytest.approx(blocks / count, abs=1e-6)
        rows = sum(m.out_features for m in layers)
        assert held(part) == weight * blocks + row * rows + layer * len(layers) + 2 * (count - blocks)


def held(part: torch.nn.Module) -> int:
    """Bytes of storage, those within the libraries' tensors too."""
    total = 0
    for tensor in part.parameters():
        inner = [getattr(tensor, name) for name in ("qdata", "scale")] if hasattr(tensor, "qdata") else [tensor]
        state = vars(tensor).get("quant_state")
        inner += [state.absmax, state.code] if state else []
        total += sum(each.numel() * each.element_size() for each in inner)
    return total


@pytest.mark.parametrize("encoder", [Precision.INT8, Precision.NF4, Precision.FP32])
def test_text_encoders_have_a_precision_of_their_own(encoder: Precision, kept: Path, counted: list[str]) -> None:
    whole = film(pocket(Precision.BF16))
    mixed = film(pocket(Precision.BF16, encoder))
    assert psnr(whole, mixed) > (20 if encoder is Precision.NF4 else 30)
    assert not (mixed == film(pocket(Precision.FP32, encoder))).all()
    assert {path.name.split("-")[1] for path in kept.glob("*")} == ({"text_encoder"} if encoder.quantized else set())


def test_an_encoder_of_the_same_precision_as_the_rest_changes_nothing() -> None:
    assert (film(pocket(Precision.INT8)) == film(pocket(Precision.INT8, Precision.INT8))).all()


@pytest.mark.parametrize(
    ("device", "capability", "name"),
    [
        (Device.CUDA, (8, 9), "fp8-dynamic"),
        (Device.CUDA, (9, 0), "fp8-dynamic"),
        (Device.CUDA, (8, 6), "fp8"),
        (Device.CPU, (0, 0), "fp8"),
    ],
)
def test_fp8_is_multiplied_where_the_card_can_and_only_held_elsewhere(
    device: Device, capability: tuple[int, int], name: str, tmp_path: Path
) -> None:
    machine = Machine(device=device, name="a card", ram_gib=8.0, cores=2, compute_capability=capability)
    how = quantize.scheme(Precision.FP8, machine)
    eights.bring()
    assert how.name == name
    assert (type(eights.config(name)).__name__ == "Float8DynamicActivationFloat8WeightConfig") is bool(how.mark)
    assert (store.place(tmp_path, Precision.FP8, how.mark) == store.place(tmp_path, Precision.FP8)) is not bool(
        how.mark
    )


def test_a_copy_of_another_scheme_is_known_by_it(tmp_path: Path, kept: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "a.safetensors").write_bytes(b"one")
    for mark in ("", "dynamic"):
        path = store.place(tmp_path / "vae", Precision.FP8, mark)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"a": torch.zeros(1)}, path, metadata=store.made(tmp_path / "vae", Precision.FP8, mark))
    assert [copy.fault for copy in store.copies()] == ["", ""]


@pytest.mark.parametrize("precision", [Precision.INT8, Precision.NF4])
def test_a_copy_has_what_is_computed_and_in_no_file(precision: Precision, tmp_path: Path, counted: list[str]) -> None:
    twin = tiny.card(tiny.folder("hunyuan-video", tmp_path))
    rung = Rung(precision=precision, placement=Placement.PHASE)
    parts = pipes.Parts(tiny.job(twin, Mode.T2V, rung=rung), hunyuan.KINDS)
    made = parts.hold(["text_encoder"])["text_encoder"]
    ids = torch.tensor([[1, 2, 3]])
    whole = made(ids).last_hidden_state
    parts.hold(["tokenizer"])
    taken = parts.hold(["text_encoder"])["text_encoder"]
    assert counted == ["text_encoder", "tokenizer"]
    assert torch.equal(taken(ids).last_hidden_state, whole)


def test_other_files_or_another_scheme_are_never_taken_for_what_was_kept(tmp_path: Path, kept: Path) -> None:
    folder = tmp_path / "vae"
    folder.mkdir()
    (folder / "a.safetensors").write_bytes(b"one")
    marks = {store.place(folder, precision) for precision in QUANTIZED}
    time.sleep(0.01)
    (folder / "a.safetensors").write_bytes(b"two")
    marks |= {store.place(folder, precision) for precision in QUANTIZED}
    assert len(marks) == 2 * len(QUANTIZED)


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


@pytest.mark.parametrize("precision", QUANTIZED)
@pytest.mark.parametrize("name", ["transformer", "text_encoder"])
@pytest.mark.parametrize("room", [True, False])
def test_block_by_block_it_is_what_the_libraries_make_of_a_whole_model(
    precision: Precision, name: str, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "SPARE", 0 if room else 2**60)
    for hands in (eights, fours):
        monkeypatch.setattr(hands, "PIECE", 4096)
    parts = pipes.Parts(pocket(precision), ltx.KINDS)
    found = parts.hold([name])[name]
    whole = parts._read(name)
    layers = {each: layer for each, layer in whole.named_modules() if quantize.in_blocks(layer, each)}
    assert max(layer.weight.numel() for layer in layers.values()) > 3 * 4096
    if precision is Precision.NF4:
        wanted = {each: fourths(layer.weight) for each, layer in layers.items()}
    else:
        config = eights.config(quantize.scheme(precision, parts._machine).name)
        library = import_module("torchao.quantization")
        library.quantize_(whole, config, filter_fn=lambda layer, _: layer in layers.values())
        wanted = {each: apart(layer.weight)[0] for each, layer in layers.items()}
    for each, leaves in wanted.items():
        ours = apart(found.get_submodule(each).weight)[0]
        assert len(ours) == len(leaves)
        assert all(map(alike, ours, leaves)), each
    rest = {key: tensor for key, tensor in whole.named_parameters() if key.removesuffix(".weight") not in layers}
    assert all(torch.equal(tensor, found.get_parameter(key)) for key, tensor in rest.items())
    parts.close()


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same bytes: packed ones are numbers by name only, and some of those are NaN."""
    same = one.dtype is other.dtype and one.shape == other.shape
    return same and torch.equal(*(each.contiguous().view(torch.uint8) for each in (one, other)))


def fourths(weight: torch.Tensor) -> list[torch.Tensor]:
    """What bitsandbytes makes of a weight: its bytes, its scales, its table."""
    packed, state = quantize_4bit(
        weight.data, blocksize=64, compress_statistics=False, quant_type="nf4", quant_storage=weight.dtype
    )
    return [packed, state.absmax, state.code]


@pytest.mark.parametrize("precision", QUANTIZED)
@pytest.mark.parametrize("room", [True, False])
def test_one_weight_at_a_time_is_there_as_it_was(
    precision: Precision, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "SPARE", 0 if room else 2**60)
    read, most, real = list[weakref.ref[torch.Tensor]](), [0], waiting.each

    def noted(places: Iterable[Place]) -> Iterator[torch.Tensor]:
        for weight in real(places):
            read.append(weakref.ref(weight))
            most[0] = max(most[0], sum(ref() is not None for ref in read))
            yield weight
            del weight

    monkeypatch.setattr(waiting, "each", noted)
    parts = pipes.Parts(pocket(precision), ltx.KINDS)
    for name in ("text_encoder", "transformer"):
        parts.hold([name])
    assert len(read) > 100
    assert most[0] <= 2
    parts.close()


@pytest.mark.parametrize("precision", QUANTIZED)
def test_what_was_kept_for_one_placement_serves_the_others(precision: Precision, counted: list[str]) -> None:
    first = film(placed(precision, Placement.DISK))
    counted.clear()
    for placement in (Placement.PHASE, Placement.STREAM, Placement.DISK):
        assert (film(placed(precision, placement)) == first).all()
    assert not {"transformer", "text_encoder"} & set(counted)
    assert [copy.fault for copy in store.copies()] == ["", ""]


def placed(precision: Precision, placement: Placement) -> Job:
    job = pocket(precision)
    return replace(job, plan=replace(job.plan, rung=replace(job.plan.rung, placement=placement)))


class Filling(Writing):
    """A disk that is full, or an impatient person, when so many weights have been written."""

    left: ClassVar[int]
    error: ClassVar[BaseException]

    def add(self, *packed: Any) -> None:
        type(self).left -= 1
        if type(self).left < 0:
            raise type(self).error
        super().add(*packed)


@pytest.mark.parametrize("after", [0, 1, 20])
@pytest.mark.parametrize("placement", [Placement.PHASE, Placement.STREAM, Placement.DISK])
def test_a_disk_that_fills_up_is_refused_where_blocks_were_to_come_from_it_and_else_does_without(
    placement: Placement, after: int, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = film(pocket(Precision.INT8))
    shutil.rmtree(kept)
    monkeypatch.setattr(Filling, "left", after, raising=False)
    monkeypatch.setattr(Filling, "error", OSError(errno.ENOSPC, "No space left on device"), raising=False)
    monkeypatch.setattr(quantize, "Writing", Filling)
    if placement is Placement.DISK:
        with pytest.raises(OutputRefused) as refused:
            film(placed(Precision.INT8, placement))
        values.says(refused, 6, "cannot be kept", str(kept), "No space left on device", "VIDGEN_CACHE")
    else:
        assert (film(placed(Precision.INT8, placement)) == whole).all()
    assert list(kept.iterdir()) == []


def test_a_disk_without_room_for_what_is_to_come_is_refused_before_anything_is_read(
    kept: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40, 2**30 + 2**20))
    with pytest.raises(OutputRefused) as refused:
        film(placed(Precision.INT8, Placement.DISK))
    values.says(refused, 6, "cannot be kept", "are to come", "1.0 GiB are free", "make room")
    assert not {"transformer", "text_encoder"} & set(counted)
    assert not kept.exists()


def test_a_disk_that_is_full_by_now_is_enough_for_what_is_kept_already(monkeypatch: pytest.MonkeyPatch) -> None:
    first = film(placed(Precision.INT8, Placement.DISK))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40, 0))
    assert (film(placed(Precision.INT8, Placement.DISK)) == first).all()


@pytest.mark.parametrize("placement", [Placement.PHASE, Placement.DISK])
def test_nothing_half_written_is_left_by_who_stops(
    placement: Placement, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Filling, "left", 20, raising=False)
    monkeypatch.setattr(Filling, "error", KeyboardInterrupt(), raising=False)
    monkeypatch.setattr(quantize, "Writing", Filling)
    with pytest.raises(KeyboardInterrupt):
        film(placed(Precision.INT8, placement))
    assert list(kept.iterdir()) == []


def test_a_copy_that_is_removed_while_its_blocks_are_in_use_is_named(kept: Path) -> None:
    job = placed(Precision.INT8, Placement.DISK)
    backend = ltx.open(job)
    conditioning = backend.encode([job])[0]
    with pytest.raises(WeightsRefused, match="cannot be read any more") as refused:
        backend.denoise(
            job, conditioning, [], lambda done, total, state=None, /: shutil.rmtree(kept, ignore_errors=True)
        )
    assert str(kept) in refused.value.message
    backend.close()


def test_it_all_happens_without_a_word(kept: Path) -> None:
    words = ["t2v", "a red circle", "--size", "32x32", "--frames", "5", "--steps", "1", "--precision", "int8", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "vidgen", *words, "-o", "x.mp4"], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("x.mp4\n", "")


@pytest.mark.parametrize(("precision", "least"), [(Precision.INT8, 30), (Precision.NF4, 20)])
def test_a_lora_is_worn_over_quantized_weights(precision: Precision, least: int) -> None:
    lora = [Lora(path=twins.lora(Path("style.safetensors"), width=128))]
    worn = {each: film(pocket(each, loras=lora)) for each in (Precision.BF16, precision)}
    assert psnr(worn[Precision.BF16], worn[precision]) > least
    assert psnr(worn[precision], film(pocket(precision))) < 20


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
