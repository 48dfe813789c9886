"""Files against their hashes, as the hub and the cache's own file names record them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from vidgen.weights.place import is_sha256, length

CHUNK = 1 << 20


class Hash(Protocol):
    """What hashlib gives."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes in."""

    def hexdigest(self) -> str:
        """The hash of all so far."""


def begun(etag: str, size: int) -> Hash:
    """The hash that `etag` is of: sha256 for a large file; for a small one git's, which begins with the length."""
    if is_sha256(etag):
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def take(path: Path, into: Hash, told: Callable[[int], None]) -> int:
    """Put all of a file into a hash; its length. `told` hears of each piece, and stops it by raising."""
    done = 0
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            into.update(data)
            done += len(data)
            told(len(data))
    return done


def is_whole(path: Path, etag: str, told: Callable[[int], None] = lambda count: None) -> bool:
    """Whether the bytes of a file are those that `etag` names."""
    hashed = begun(etag, length(path))
    take(path, hashed, told)
    return hashed.hexdigest() == etag
