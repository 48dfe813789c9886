"""Parts are loaded when needed, dropped when the plan says so, and refused by name when they are broken."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import twins
from tests.backends import films
from vidgen.backends import ltx, pipes
from vidgen.core.errors import WeightsRefused
from vidgen.core.plan import Placement, Precision, Rung

WEIGHTS = {
    "transformer": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A twin to break."""
    return twins.ltx(tmp_path / "ltx")


def parts(folder: Path, rung: Rung | None = None, **card: Any) -> pipes.Parts:
    return pipes.Parts(twins.job(twins.card(folder, **card), rung=rung), ltx.KINDS)


def weights(held: Any) -> list[weakref.ref[torch.Tensor]]:
    return [weakref.ref(tensor) for tensor in held.parameters()]


@pytest.mark.parametrize("placement", list(Placement))
def test_what_a_phase_does_not_need_is_let_go(twin: Path, placement: Placement) -> None:
    held = parts(twin, Rung(precision=Precision.FP32, placement=placement))
    gc.disable()
    try:
        refs = weights(held.hold(["text_encoder", "tokenizer"])["text_encoder"])
        vae = held.hold(["vae"])["vae"]
        assert any(ref() is not None for ref in refs) == (placement is Placement.RESIDENT)
        assert held.hold(["vae"])["vae"] is vae
        refs += weights(vae)
        held.close()
        assert not any(ref() is not None for ref in refs)
    finally:
        gc.enable()


@pytest.mark.parametrize("precision", list(Precision))
def test_parts_are_ready_to_work(twin: Path, precision: Precision) -> None:
    rung = Rung(precision=precision, placement=Placement.RESIDENT)
    for name, part in parts(twin, rung).hold(list(WEIGHTS)).items():
        assert not part.training, name
        assert {tensor.dtype for tensor in part.parameters()} == {pipes.DTYPES[precision.computed]}, name
        assert not any(tensor.requires_grad for tensor in part.parameters()), name


def test_a_skeleton_has_no_weights(twin: Path) -> None:
    vae = parts(twin).skeleton("vae")
    assert (vae.spatial_compression_ratio, vae.temporal_compression_ratio) == (32, 8)
    assert all(tensor.is_meta for tensor in vae.parameters())


@pytest.mark.parametrize("name", list(WEIGHTS))
@pytest.mark.parametrize("fault", ["missing", "unexpected", "mismatched"])
def test_weights_that_do_not_fit_are_refused(folder: Path, name: str, fault: str) -> None:
    file = folder / name / WEIGHTS[name]
    tensors = load_file(file)
    key = max(tensors, key=lambda key: (tensors[key].ndim, key))
    if fault == "missing":
        del tensors[key]
    elif fault == "unexpected":
        tensors["surplus.weight"] = torch.zeros(2)
    else:
        tensors[key] = torch.zeros(3, 5)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(WeightsRefused, match=name) as refusal:
        parts(folder).hold([name])
    assert {"missing": key, "unexpected": "surplus.weight", "mismatched": key}[fault] in refusal.value.message


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_a_truncated_file_is_named(folder: Path, name: str) -> None:
    file = folder / name / WEIGHTS[name]
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsRefused, match="is damaged") as refusal:
        parts(folder).hold([name])
    assert str(file) in refusal.value.message


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_an_absent_file_is_named(folder: Path, name: str) -> None:
    (folder / name / WEIGHTS[name]).unlink()
    with pytest.raises(WeightsRefused, match=r"\*\.safetensors is missing"):
        parts(folder).hold([name])


def test_an_absent_shard_is_named(folder: Path) -> None:
    (folder / "transformer" / WEIGHTS["transformer"]).rename(folder / "transformer" / "a.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    (folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsRefused, match=r"b\.safetensors is missing"):
        parts(folder).hold(["transformer"])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("vae", "config.json"),
        ("text_encoder", "config.json"),
        ("scheduler", "scheduler_config.json"),
        ("tokenizer", "tokenizer.json"),
    ],
)
@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_broken_configuration_is_refused(folder: Path, name: str, file: str, content: str | None) -> None:
    if content is None:
        (folder / name / file).unlink()
    else:
        (folder / name / file).write_text(content)
    with pytest.raises(WeightsRefused, match=name):
        parts(folder).hold([name])


def test_a_broken_configuration_has_no_skeleton(folder: Path) -> None:
    (folder / "vae" / "config.json").unlink()
    with pytest.raises(WeightsRefused, match=r"config\.json is missing"):
        parts(folder).skeleton("vae")


@pytest.mark.parametrize(
    ("name", "kind"), [("vae", "LTXVideoTransformer3DModel"), ("text_encoder", "AutoencoderKLLTXVideo")]
)
def test_another_class_is_refused(folder: Path, name: str, kind: str) -> None:
    with pytest.raises(WeightsRefused, match=name):
        parts(folder, kinds={name: kind}).hold([name])


def test_a_class_outside_our_table_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsRefused, match="AutoencoderKLWan"):
        parts(folder, kinds={"vae": "AutoencoderKLWan"}).hold(["vae"])


def test_a_scheduler_of_another_kind_is_refused(folder: Path) -> None:
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace("FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler"))
    with pytest.raises(WeightsRefused, match="UniPCMultistepScheduler"):
        parts(folder).hold(["scheduler"])


def test_a_model_that_is_not_here_is_refused(twin: Path) -> None:
    job = twins.job(twins.card(twin))
    with pytest.raises(WeightsRefused, match="not here"):
        ltx.open(replace(job, weights=replace(job.weights, folder=None)))


def test_a_seed_lasts_as_long_as_it_is_asked_for() -> None:
    state = torch.random.get_rng_state()
    with pipes.seeded(3):
        first = torch.randn(4)
    assert torch.equal(state, torch.random.get_rng_state())
    with pipes.seeded(3):
        assert torch.equal(first, torch.randn(4))


def test_nothing_is_said(twin: Path, capfd: pytest.CaptureFixture[str]) -> None:
    films.split(twins.job(twins.card(twin)))
    assert capfd.readouterr() == ("", "")
