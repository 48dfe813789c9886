"""A file on its way: the bytes that are there and the hash of them, kept whatever becomes of the process."""

import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Self

from vidgen.weights import hashes
from vidgen.weights.place import length


class Growing:
    """The file at `path`, which is to have `size` bytes with the hash `etag`. `add` keeps nothing back in memory."""

    def __init__(self, path: Path, etag: str, size: int) -> None:
        self._path, self._etag, self._size = path, etag, size
        self._file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        self.anew(keep=path.stat().st_size <= size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if length(self._path) == 0:
            self.discard()

    @property
    def lacking(self) -> int:
        """Bytes that are still to come."""
        return self._size - self.done

    @property
    def right(self) -> bool:
        """Whether the bytes are the right ones."""
        return self._hash.hexdigest() == self._etag

    def anew(self, *, keep: bool = False) -> None:
        """Begin at the first byte."""
        self._hash, self.done = hashes.begun(self._etag, self._size), 0
        if not keep:
            self._file.truncate(0)
        self._file.seek(0)

    def look(self, told: Callable[[int], None]) -> None:
        """Take in what is there already."""
        self.done = hashes.take(self._path, self._hash, told)
        self._file.seek(self.done)

    def add(self, data: bytes) -> int:
        """Write what came, no more than is lacking; the number of bytes."""
        rest = memoryview(data)[: self.lacking]
        self._hash.update(rest)
        count = len(rest)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]
        self.done += count
        return count

    def deliver(self, to: Path) -> None:
        """Put the finished file at its place."""
        os.fsync(self._file.fileno())
        self._path.replace(to)

    def discard(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
