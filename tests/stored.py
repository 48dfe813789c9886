"""GGUF files as others write them: the tiny transformers of the tests, in any type that the library can write."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.torch import load_file

HALF = gguf.GGMLQuantizationType.BF16
"""What a matrix is kept in that has no whole number of pieces of another type."""


def write(
    file: Path,
    tensors: Mapping[str, Any],
    kind: str,
    *,
    architecture: str = "wan",
    rename: Callable[[str], str] = str,
    **facts: int,
) -> Path:
    """A file of these tensors: matrices of the blocks in `kind`, what else there is in 32 bits."""
    writer = gguf.GGUFWriter(file, architecture)
    for name, fact in facts.items():
        writer.add_uint32(name.replace("__", "."), fact)
    for name, tensor in tensors.items():
        values = tensor.float().numpy()
        wanted = _kind(name, values, gguf.GGMLQuantizationType[kind])
        if wanted is None:
            writer.add_tensor(rename(name), values)
        else:
            writer.add_tensor(rename(name), gguf.quants.quantize(values, wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def of(folder: Path, file: Path, kind: str = "Q8_0", **how: Any) -> Path:
    """A file of the weights in a component's folder."""
    tensors = {
        name: tensor for each in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(each).items()
    }
    return write(file, tensors, kind, **how)


def _kind(name: str, values: np.ndarray[Any, Any], wanted: Any) -> Any:
    """The type of one tensor: embeddings, tables and what is not a matrix of a block stay as they were."""
    if values.ndim != 2 or "blocks" not in name or not name.endswith(".weight") or wanted.name == "F32":
        return None
    piece, _ = gguf.GGML_QUANT_SIZES[wanted]
    return HALF if values.shape[-1] % piece else wanted
