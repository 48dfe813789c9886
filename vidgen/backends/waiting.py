"""Where the weights of blocks wait until they are used: in the host's memory, or in their files."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from vidgen.backends.apart import Leaves
from vidgen.backends.fit import first_line
from vidgen.backends.port import exhausted
from vidgen.core.errors import WeightsRefused
from vidgen.core.machine import Device

ALIGNED = 64
"""A tensor's place in its block's memory is a multiple of so many bytes, as torch's own are."""


class Source(Protocol):
    """Gives the tensors of a block, by its number, on the host."""

    def __call__(self, number: int, /) -> Leaves:
        """The tensors, in the order in which the block is filled."""

    def close(self) -> None:
        """Let go of the memory."""


class Pages:
    """In memory, each block in one piece; for a card in pages that stay where they are, from which it copies itself.

    Locked by the driver where they lie: torch's own such memory comes in powers of two, and is never given back.
    """

    def __init__(self, device: str) -> None:
        self._device, self._locking = device, device == Device.CUDA
        self._kept: list[Leaves] = []
        self._locked: list[torch.Tensor] = []

    def keep(self, leaves: Sequence[torch.Tensor]) -> None:
        """Copy the tensors of the next block."""
        sizes = [-(-leaf.nbytes // ALIGNED) * ALIGNED for leaf in leaves]
        piece = torch.empty(sum(sizes), dtype=torch.uint8)
        if self._locking:
            self._lock(piece)
        rooms = torch.split(piece, sizes)
        self._kept.append(
            [
                room[: leaf.nbytes].view(leaf.dtype).view(leaf.shape).copy_(leaf)
                for room, leaf in zip(rooms, leaves, strict=True)
            ]
        )

    def __call__(self, number: int, /) -> Leaves:
        """The tensors of a block."""
        return self._kept[number]

    def close(self) -> None:
        """Give the memory back."""
        for piece in self._locked:
            _driver().cudaHostUnregister(piece.data_ptr())
        self._locked.clear()
        self._kept.clear()

    def _lock(self, piece: torch.Tensor) -> None:
        """Keep the pages of a piece where they are; where the system allows no more of that, copying is slower."""
        if int(_driver().cudaHostRegister(piece.data_ptr(), piece.nbytes, 0)) == 0:
            self._locked.append(piece)
            return
        self._locking = False
        with suppress(RuntimeError):  # the driver says it once more, to whatever is launched next
            torch.zeros(1, device=self._device)


def _driver() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a weight is on disk, and what it is held in."""

    file: Path
    key: str
    dtype: torch.dtype


class Shelf:
    """In files: read when they are used, each time. What is read is the system's to keep or to forget."""

    def __init__(self, places: Sequence[Sequence[Place]]) -> None:
        self._places = places

    def __call__(self, number: int, /) -> Leaves:
        """The tensors of a block."""
        return read(self._places[number])

    def close(self) -> None:
        """Nothing is held."""


def brought(places: Iterable[Sequence[Place]], device: str) -> Pages:
    """The blocks at these places in memory: read one after the other, so that no more than one is there twice."""
    pages = Pages(device)
    try:
        for block in places:
            pages.keep(read(block))
    except BaseException:
        pages.close()
        raise
    return pages


def read(places: Iterable[Place]) -> Leaves:
    """The weights at these places. Refuses files that have gone or changed since they were looked at (exit 4)."""
    return list(each(places))


def each(places: Iterable[Place]) -> Iterator[torch.Tensor]:
    """The same one by one, for who needs them so."""
    for path, group in groupby(places, key=lambda place: place.file):
        try:
            with safe_open(path, framework="pt") as file:
                for place in group:
                    yield file.get_tensor(place.key).to(place.dtype)
        except (OSError, SafetensorError) as error:
            if exhausted(error):
                raise
            raise WeightsRefused(
                f"{path} cannot be read any more: {first_line(error)}", "see that the disk is there, and start again"
            ) from error
