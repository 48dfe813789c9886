"""Writes a model at full size with random weights, as it would be downloaded: python -m tools.full_size NAME FOLDER.

It holds one file of weights at a time. Weights that nobody has trained take as much memory and arithmetic as others.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tools.costs.count import blueprint
from vidgen.backends import twin
from vidgen.catalog import cards, twins
from vidgen.core.card import NAMED, ModelCard

FILE = 2 * 2**30
"""Bytes of a file of weights, about."""


def build(card: ModelCard, folder: Path) -> None:
    """The model of `card` in `folder`; what has no weights is its twin's."""
    plan, described, way = blueprint(card), twins.twin(card.family), next(iter(card.ways.values()))
    with tempfile.TemporaryDirectory() as small:
        tiny = twin.build(described, Path(small), pipeline=way.pipeline, says={**card.index, NAMED: card.name})
        shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    for part in card.components:
        if part.parameters:
            write(folder / part.name, plan.full(part.name), torch.float32 if part.wide else torch.bfloat16)


def write(folder: Path, part: Any, dtype: torch.dtype) -> None:
    """The weights of `part`, which stands on the meta device, in `folder` beside its configuration."""
    ours = hasattr(part, "save_config")
    (part.save_config if ours else part.config.save_pretrained)(folder)
    stem = "diffusion_pytorch_model" if ours else "model"
    files = list(_files(dict(_wanted(part))))
    held: dict[str, str] = {}
    generator = torch.Generator().manual_seed(0)
    for number, tensors in enumerate(files, 1):
        name = f"{stem}-{number:05}-of-{len(files):05}.safetensors"
        drawn = {key: _drawn(key, like, generator).to(dtype) for key, like in tensors.items()}
        save_file(drawn, folder / name, metadata={"format": "pt"})
        held |= dict.fromkeys(tensors, name)
    said = {"metadata": {}, "weight_map": held}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(said, indent=1), encoding="utf-8")


def _wanted(part: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor that a file holds, once: one that two modules share is under its first name."""
    parameters = dict(part.named_parameters())
    every = {name for name, _ in part.named_parameters(remove_duplicate=False)}
    yield from parameters.items()
    yield from ((name, tensor) for name, tensor in part.state_dict().items() if name not in every)


def _files(wanted: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    held: dict[str, torch.Tensor] = {}
    for name, tensor in wanted.items():
        if held and sum(one.nbytes for one in held.values()) + tensor.nbytes > FILE:
            yield held
            held = {}
        held[name] = tensor
    if held:
        yield held


def _drawn(name: str, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Numbers that keep what passes through them at about its size: ones to scale it, zeros to move it."""
    if like.ndim > 1:
        scale = (like.numel() / like.shape[0]) ** -0.5
        drawn: torch.Tensor = torch.randn(like.shape, generator=generator, dtype=torch.bfloat16) * scale
        return drawn
    return (torch.zeros if name.endswith(("bias", "mean")) else torch.ones)(like.shape)


if __name__ == "__main__":
    build(cards.card(sys.argv[1]), Path(sys.argv[2]))
