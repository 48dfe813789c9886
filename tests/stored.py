"""GGUF files as others write them: the tiny transformers of the tests, in any type that the library can write."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.torch import load_file

from vidgen.catalog import cards

ALIGNED = 32

SIDES = {"attention_head_dim": 16, "rope_axes_dim": [4, 6, 6]}
WIDER: Mapping[str, dict[str, Any]] = {
    "hunyuan": SIDES,
    "hunyuan15": SIDES,
    "framepack": SIDES,
    "ltx2": {
        "attention_head_dim": 16,
        "audio_attention_head_dim": 16,
        "cross_attention_dim": 32,
        "audio_cross_attention_dim": 32,
    },
    "mochi": {"attention_head_dim": 16},
}
"""What makes the rows of a twin's matrices whole pieces of 32, by family."""


def pocket(file: Path = Path("pocket.gguf"), kind: str = "Q8_0", **how: Any) -> Path:
    """The transformer of the built-in model."""
    folder = cards.card("pocket").folder
    assert folder is not None
    return of(folder / "transformer", file, kind, **{"architecture": "ltxv", **how})


def of(folder: Path, file: Path, kind: str = "Q8_0", **how: Any) -> Path:
    """A file of the weights in a component's folder."""
    return write(file, weights(folder), kind, **how)


def weights(folder: Path) -> dict[str, Any]:
    """The tensors in a component's folder."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def write(
    file: Path,
    tensors: Mapping[str, Any],
    kind: str = "Q8_0",
    *,
    architecture: str = "wan",
    rename: Callable[[str], str] = str,
    facts: Mapping[str, int] | None = None,
    packed: Mapping[str, tuple[str, np.ndarray[Any, Any]]] | None = None,
) -> Path:
    """A file of these tensors: matrices of blocks in `kind`, all else in 32 bits; those `packed` as they are."""
    writer = gguf.GGUFWriter(file, architecture)
    for name, fact in (facts or {}).items():
        writer.add_uint32(name, fact)
    for name, tensor in tensors.items():
        values = tensor.float().numpy()
        if packed and name in packed:
            writer.add_tensor(rename(name), packed[name][1], raw_dtype=gguf.GGMLQuantizationType[packed[name][0]])
        elif matrix(name, values.shape):
            wanted = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(rename(name), gguf.quants.quantize(values, wanted), raw_dtype=wanted)
        else:
            writer.add_tensor(rename(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def matrix(name: str, shape: Iterable[int]) -> bool:
    """Whether a tensor is the matrix of a linear layer in a block, with whole pieces of 32 in its rows."""
    sides = list(shape)
    return len(sides) == 2 and "blocks" in name and name.endswith(".weight") and sides[1] % 32 == 0


def like(file: Path, model: str) -> Path:
    """A file for the card called `model`: of the built-in model it can be used, of another one it can be planned."""
    if model == "pocket":
        return pocket(file)
    part = cards.card(model).component("transformer")
    shapes = {
        f"blocks.{number}.ffn.0.weight": (part.parameters // part.layers // 3072, 3072) for number in range(part.layers)
    }
    return sketch(file, shapes, architecture="pig")


def sketch(file: Path, shapes: Mapping[str, tuple[int, ...]], kind: str = "Q4_K", architecture: str = "hyvid") -> Path:
    """A file of any size that has a header and, on the disk, nothing else: matrices in `kind`, all else in 32 bits."""
    writer, total = gguf.GGUFWriter(file, architecture), 0
    for name, shape in shapes.items():
        wanted = gguf.GGMLQuantizationType[kind if len(shape) == 2 and shape[1] % 256 == 0 else "F32"]
        piece, size = gguf.GGML_QUANT_SIZES[wanted]
        count = int(np.prod(shape)) // piece * size
        writer.add_tensor_info(name, shape, np.dtype(np.float32), count, raw_dtype=wanted)
        total += -(-count // ALIGNED) * ALIGNED
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    os.truncate(file, file.stat().st_size + total + ALIGNED)
    return file
