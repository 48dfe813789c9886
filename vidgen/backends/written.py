"""A safetensors file that is written tensor by tensor, for what is never in memory whole.

The format begins with a header that names every tensor. Here it comes last, into room that was left for it, and nobody
takes a file without one for a whole one.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""How the format spells kinds of numbers."""

EACH = 4096
"""Bytes of the header for each weight: its tensors' names, shapes and places, and what its library says of it."""

FILLING = "filling."
"""What is between tensors, so that each is at a multiple of its numbers' size: no byte may be nobody's."""


class Writing:
    """A file on its way, with room in its header for so many weights; whole and on the disk when it is left well."""

    def __init__(self, path: Path, weights: int) -> None:
        self._file = path.open("wb")
        self._begin = 8 + EACH * (weights + 1)
        self._end = 0
        self._tensors: dict[str, Any] = {}
        self._facts: dict[str, str] = {}
        self._file.seek(self._begin)

    def __enter__(self) -> "Writing":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._head()
                self._file.flush()
                os.fsync(self._file.fileno())

    def add(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> None:
        """Write tensors behind those that are there, and note what is to be said of them."""
        for name, tensor in tensors.items():
            if gap := -self._end % tensor.itemsize:
                self._put(f"{FILLING}{self._end}", torch.zeros(gap, dtype=torch.uint8))
            self._put(name, tensor)
        self._facts |= facts

    def _put(self, name: str, tensor: torch.Tensor) -> None:
        begin, self._end = self._end, self._end + tensor.nbytes
        self._tensors[name] = {
            "dtype": KINDS[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, self._end],
        }
        self._file.write(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def _head(self) -> None:
        room = self._begin - 8
        text = json.dumps({"__metadata__": self._facts, **self._tensors}).encode().ljust(room)
        if len(text) > room:
            raise ValueError(f"a header of {len(text)} bytes has room for {room}")
        self._file.seek(0)
        self._file.write(room.to_bytes(8, "little") + text)
