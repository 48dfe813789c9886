"""A model at full size is written as it would be downloaded: what of it can be shown with small parts."""

import json
from pathlib import Path

import pytest
import torch

from tools import full_size


class Part(torch.nn.Module):
    """Two layers that share a weight, with a number that is kept and no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("mean", torch.empty(4))

    def save_config(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")


def test_each_tensor_is_in_one_file_that_the_index_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import load_file

    monkeypatch.setattr(full_size, "FILE", 40)
    with torch.device("meta"):
        part = Part()
    full_size.write(tmp_path / "part", part, torch.bfloat16)
    index = json.loads((tmp_path / "part/diffusion_pytorch_model.safetensors.index.json").read_text())["weight_map"]
    files = {name: load_file(tmp_path / "part" / name) for name in set(index.values())}
    assert set(index) == {"first.weight", "first.bias", "mean"}
    assert all(name in files[file] for name, file in index.items())
    assert len(files) > 1
    weight = files[index["first.weight"]]["first.weight"]
    assert (weight.dtype, bool(weight.any()), bool(files[index["mean"]]["mean"].any())) == (torch.bfloat16, True, False)
