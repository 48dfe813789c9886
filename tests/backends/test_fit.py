"""Weights that do not fit are refused by their headers, before a tensor is read; those that load well never are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import twins
from vidgen.backends import fit, ltx, pipes, quiet, readers
from vidgen.core.errors import WeightsRefused

MODEL, ENCODER = "diffusion_pytorch_model.safetensors", "model.safetensors"
WEIGHTS = {"transformer": MODEL, "vae": MODEL, "text_encoder": ENCODER}
TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}


class TensorReadError(AssertionError):
    """A tensor was read."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A twin to break."""
    return twins.ltx(tmp_path / "ltx")


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries' own readers of weights, which end the test."""

    def read(*_: object, **__: object) -> None:
        raise TensorReadError

    with quiet.quickly():
        import diffusers.models.modeling_utils
        import transformers.modeling_utils
    monkeypatch.setattr(diffusers.models.modeling_utils, "load_state_dict", read)
    monkeypatch.setattr(transformers.modeling_utils, "safe_open", read)


def hold(folder: Path, name: str) -> Any:
    return pipes.Parts(twins.job(twins.card(folder)), ltx.KINDS).hold([name])[name]


def change(file: Path, how: Callable[[dict[str, torch.Tensor], str], None]) -> str:
    """Change the tensors of a file; the key of its largest that is not tied."""
    tensors = load_file(file)
    key = max(tensors.keys() - {"shared.weight"}, key=lambda key: (tensors[key].numel(), key))
    how(tensors, key)
    save_file(tensors, file, metadata={"format": "pt"})
    return key


def _missing(tensors: dict[str, torch.Tensor], key: str) -> None:
    del tensors[key]


def _unexpected(tensors: dict[str, torch.Tensor], key: str) -> None:
    tensors["surplus.weight"] = torch.zeros(2)


def _mismatched(tensors: dict[str, torch.Tensor], key: str) -> None:
    tensors[key] = torch.zeros(3, 5)


def _integers(tensors: dict[str, torch.Tensor], key: str) -> None:
    tensors[key] = torch.zeros(tensors[key].shape, dtype=torch.int8)


FAULTS = {
    "missing": (_missing, "missing {key}"),
    "unexpected": (_unexpected, "unexpected surplus.weight"),
    "mismatched": (_mismatched, "mismatched {key} (3x5 instead of"),
    "integers": (_integers, "not of floats {key} (I8)"),
}


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("name", list(WEIGHTS))
@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_header_that_does_not_fit_is_refused_before_a_tensor_is_read(folder: Path, name: str, fault: str) -> None:
    file = folder / name / WEIGHTS[name]
    with pytest.raises(TensorReadError):
        hold(folder, name)  # one that fits is read
    how, said = FAULTS[fault]
    key = change(file, how)
    with pytest.raises(WeightsRefused) as refused:
        hold(folder, name)
    assert refused.value.exit_code == 4
    assert f"{name} in {file} does not fit its class: {said.format(key=key)}" in refused.value.message


@pytest.mark.usefixtures("unread")
def test_three_keys_are_named_and_the_others_counted(folder: Path) -> None:
    file = folder / "vae" / MODEL
    count = len(load_file(file))
    save_file({}, file)
    with pytest.raises(WeightsRefused, match=f" and {count - 3} more$") as refused:
        hold(folder, "vae")
    assert refused.value.message.count(",") == 2


def shards(folder: Path, name: str) -> None:
    """The weights of a folder in two files and an index."""
    tensors = load_file(folder / name)
    stem = name.removesuffix(".safetensors")
    named: dict[str, str] = {}
    for number, keys in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), start=1):
        shard = f"{stem}-{number:05}-of-00002.safetensors"
        save_file({key: tensors[key] for key in keys}, folder / shard, metadata={"format": "pt"})
        named |= dict.fromkeys(keys, shard)
    (folder / name).unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": named}
    (folder / f"{name}.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_weights_in_several_files_load_and_the_one_that_does_not_fit_is_named(folder: Path, name: str) -> None:
    shards(folder / name, WEIGHTS[name])
    assert hold(folder, name) is not None
    shard = next(iter(sorted((folder / name).glob("*-00002-of-*.safetensors"))))
    key = change(shard, _mismatched)
    with pytest.raises(WeightsRefused) as refused:
        hold(folder, name)
    assert f"{shard} does not fit its class: mismatched {key}" in refused.value.message


def test_tied_weights_may_be_left_out(folder: Path) -> None:
    file = folder / "text_encoder" / ENCODER
    assert "encoder.embed_tokens.weight" not in load_file(file)
    part = hold(folder, "text_encoder")
    assert part.encoder.embed_tokens.weight is part.shared.weight


def _encoders() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Encoders whose files Transformers renames or takes a part of: class, class that was saved, configuration."""
    rope = {"type": "mrope", "mrope_section": [1, 1, 2]}
    seeing = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "out_hidden_size": 32}
    pictures = {"text_config": {**TEXT, "rope_scaling": rope}, "vision_config": seeing}
    qwen = "Qwen2_5_VLForConditionalGeneration"
    return {
        "another prefix": ("LlamaForCausalLM", "LlamaForCausalLM", TEXT),
        "without a head": ("LlamaModel", "LlamaModel", TEXT),
        "a head too many": ("LlamaModel", "LlamaForCausalLM", TEXT),
        "positions": ("CLIPTextModel", "CLIPTextModel", {**TEXT, "max_position_embeddings": 20}),
        "renamed": (qwen, qwen, pictures),
    }


@pytest.mark.parametrize("case", list(_encoders()))
@pytest.mark.parametrize("sharded", [False, True])
def test_the_headers_say_what_loading_says(case: str, sharded: bool, tmp_path: Path) -> None:
    with quiet.quickly():
        import transformers
    wanted, saved, configuration = _encoders()[case]
    kind, maker = getattr(transformers, wanted), getattr(transformers, saved)
    with quiet.quickly():
        maker(maker.config_class(**configuration)).save_pretrained(tmp_path)
        if sharded:
            shards(tmp_path, ENCODER)
        said = fit.of_encoder(kind, tmp_path)
        _, report = kind.from_pretrained(tmp_path, output_loading_info=True, local_files_only=True)
    assert {fault: set(report[fault]) for fault in report} == {fault: set(said[fault]) for fault in report}
    assert fit.faulty(said) == (case == "a head too many")


def test_a_class_that_has_no_skeleton_is_loaded_and_judged_as_it_ever_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numbers(*_: object, **__: object) -> None:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")

    monkeypatch.setattr(readers, "_on_meta", numbers)
    assert hold(folder, "vae") is not None
    key = change(folder / "vae" / MODEL, _missing)
    with pytest.raises(WeightsRefused, match=key):
        hold(folder, "vae")
