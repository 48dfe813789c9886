"""The header of a GGUF file: what its tensors are called, of which type and shape they are. Reads no tensor.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Lists are stepped over: the vocabulary of a
language model, say.
"""

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    30: ("BF16", 1, 2),
    28: ("F64", 1, 8),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    41: ("Q1_0", 128, 18),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    29: ("IQ1_M", 256, 56),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
}
"""The types of tensors by their numbers: what they are called, how many values a piece has, and how many bytes."""

FLOATS = frozenset({"F32", "F16", "BF16"})
"""Types that are not quantized: what is of them is held in what is computed in."""

VERSIONS = (2, 3)
ALIGNMENT = 32
MOST_SIDES = 8

STRING, ARRAY = 8, 9
SCALARS: Mapping[int, str] = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""The kinds of facts that are one number, as `struct` has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """One tensor: its type, its shape in the order of torch, and where in the file it begins and ends."""

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def count(self) -> int:
        """How many values it has."""
        return math.prod(self.shape)

    @property
    def packed(self) -> bool:
        """Whether it stays as it is in the file: only the matrices of linear layers are used so."""
        return self.kind not in FLOATS and len(self.shape) == 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The tensors of a file by name, and what else its maker wrote there in words and single numbers."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, str | int | float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What a GGUF file holds of a component: the type of most of it, and bytes in memory.

    `held` are those of all of it where the rest is computed in 16 bits, `blocks` those of its repeated blocks, `block`
    those of the largest. `widest`: the values of its largest quantized matrix, which is taken apart when it is used.
    """

    path: Path
    kind: str
    held: int
    blocks: int = 0
    block: int = 0
    widest: int = 0


def header(path: Path) -> Header:
    """The header of a file that is as long as it says. OSError when it cannot be read, ValueError when it is not so."""
    with path.open("rb") as file:
        read = _Reader(file)
        if read.bytes(4) != b"GGUF":
            raise ValueError("it is no GGUF file")
        version = read.number("I")
        if version not in VERSIONS:
            kept = "its numbers are big-endian" if version & 0xFFFF == 0 else f"it is of version {version}"
            raise ValueError(f"{kept}, which is not read here")
        count, said = int(read.number("Q")), int(read.number("Q"))
        facts = dict(read.fact() for _ in range(said))
        entries = [read.entry() for _ in range(count)]
        tensors = dict(_placed(entries, _begin(read.place, facts)))
    if len(tensors) < count:
        raise ValueError("two of its tensors have one name")
    end = max((tensor.end for tensor in tensors.values()), default=0)
    if end > read.size:
        raise ValueError(f"it has {read.size} bytes, and should have {end}")
    return Header(tensors=tensors, facts={name: fact for name, fact in facts.items() if fact is not None})


def _begin(place: int, facts: Mapping[str, str | int | float | None]) -> int:
    """Where the tensors begin, whose header ends at `place`."""
    step = facts.get("general.alignment", ALIGNMENT)
    if not isinstance(step, int) or step < 1 or step & (step - 1):
        raise ValueError("its header is damaged: its alignment is no power of two")
    return -(-place // step) * step


def _placed(entries: list[tuple[str, tuple[int, ...], int, int]], begin: int) -> Iterator[tuple[str, Tensor]]:
    for name, shape, number, offset in entries:
        if number not in TYPES:
            raise ValueError(f"its {name} is of type {number}, which is not known here")
        kind, piece, size = TYPES[number]
        if (shape[-1] if shape else 1) % piece:
            raise ValueError(f"its header is damaged: {name} is of no whole number of pieces of {kind}")
        first = begin + offset
        yield name, Tensor(kind=kind, shape=shape, begin=first, end=first + math.prod(shape) // piece * size)


class _Reader:
    """Reads the values of a header, one after the other; ValueError where the file ends before they do."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    @property
    def place(self) -> int:
        """Where it is in the file."""
        return self._file.tell()

    def bytes(self, count: int) -> bytes:
        """So many bytes."""
        self._within(count)
        return self._file.read(count)

    def number(self, form: str) -> int:
        """A whole number in one of `struct`'s forms."""
        return int(self._value(form))

    def text(self) -> str:
        """A text, which says its length before."""
        return self.bytes(self.number("Q")).decode("utf-8", "replace")

    def fact(self) -> tuple[str, str | int | float | None]:
        """A name and what is said under it; None for a list."""
        name, kind = self.text(), self.number("I")
        if kind == STRING:
            return name, self.text()
        if kind != ARRAY:
            return name, self._value(_form(kind))
        self._over(self.number("I"), self.number("Q"))
        return name, None

    def entry(self) -> tuple[str, tuple[int, ...], int, int]:
        """A tensor's name, its shape, the number of its type, and where it begins beside the first."""
        name, sides = self.text(), self.number("I")
        if sides > MOST_SIDES:
            raise ValueError(f"its header is damaged: {name} has {sides} sides")
        shape = tuple(self.number("Q") for _ in range(sides))
        return name, shape[::-1], self.number("I"), self.number("Q")

    def _value(self, form: str) -> int | float:
        found: int | float = struct.unpack(f"<{form}", self.bytes(struct.calcsize(form)))[0]
        return found

    def _over(self, kind: int, count: int) -> None:
        """Step over the members of a list."""
        if kind != STRING:
            length = count * struct.calcsize(_form(kind))
            self._within(length)
            self._file.seek(length, os.SEEK_CUR)
            return
        self._within(8 * count)
        for _ in range(count):
            self.bytes(self.number("Q"))

    def _within(self, count: int) -> None:
        if count > self.size - self.place:
            raise ValueError("it was cut short, or its header is damaged")


def _form(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"its header is damaged: a fact is of the kind {kind}")
    return SCALARS[kind]
