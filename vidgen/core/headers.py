"""The header of a safetensors file: what its tensors are called, of which kind and shape they are. Reads no tensor."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST = 100_000_000
"""Bytes: what the format itself allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One tensor: its kind as the format spells it (`BF16`), its shape, and where in the file it begins and ends."""

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The tensors of a file by name, and what else its maker wrote there."""

    tensors: Mapping[str, Entry]
    facts: Mapping[str, str]


def header(path: Path) -> Header:
    """The header of a file that is as long as it says. OSError when it cannot be read, ValueError when it is not so."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            begin = 8 + int.from_bytes(file.read(8), "little")
            if begin > min(size, LONGEST):
                raise ValueError("it is no safetensors file, or was cut short")
            said = json.loads(file.read(begin - 8))
        facts = said.get("__metadata__", {})
        tensors = entries(said, begin)
        known = {str(name): str(fact) for name, fact in facts.items()}
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError("its header is damaged") from error
    end = max((entry.end for entry in tensors.values()), default=begin)
    if end != size:
        raise ValueError(f"it has {size} bytes, and should have {end}")
    return Header(tensors=tensors, facts=known)


def entries(said: Mapping[str, Any], begin: int) -> dict[str, Entry]:
    """The tensors that the text of a header names, in a file whose header ends at `begin`."""
    return {str(name): _entry(entry, begin) for name, entry in said.items() if name != "__metadata__"}


def _entry(said: Mapping[str, Any], begin: int) -> Entry:
    first, last = said["data_offsets"]
    shape = tuple(int(side) for side in said["shape"])
    return Entry(kind=str(said["dtype"]), shape=shape, begin=begin + int(first), end=begin + int(last))
