"""Copies of the built-in model with something wrong with them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vidgen.catalog import cards

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = Path("transformer", "diffusion_pytorch_model.safetensors")


def copied() -> Path:
    """The built-in model in a folder of its own, with its card."""
    shipped = cards.card(cards.BUILT_IN).folder
    assert shipped is not None
    folder = Path(shutil.copytree(shipped, "copy"))
    shutil.copy(cards.OWN / f"{cards.BUILT_IN}.toml", folder / "card.toml")
    return folder


def changed(change: "Callable[[str, Tensor], Tensor]") -> str:
    """A copy in which every tensor of the transformer is changed; the file is whole and fits its class."""
    from safetensors.torch import load_file, save_file

    file = copied() / TENSORS
    tensors = {name: change(name, tensor).to(tensor.dtype) for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    return "./copy"


def truncated() -> str:
    """A copy whose transformer's file is cut off in the middle."""
    file = copied() / TENSORS
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return "./copy"
