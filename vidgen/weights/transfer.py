"""One file from the hub into the cache: gone on with where it stopped, and named only when its hash is right."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidgen.core.errors import WeightsRefused
from vidgen.weights import hashes
from vidgen.weights.answers import Asker, Dropped, Line
from vidgen.weights.growing import Growing
from vidgen.weights.listing import Listing, headers
from vidgen.weights.place import Place, locked, neighbours
from vidgen.weights.wanted import File

CHANCES = 3
"""How often a file may arrive damaged: the first time may be the fault of a disk on which its beginning lay."""


@dataclass(slots=True)
class Transfer:
    """One file on its way. `told` hears of bytes more (or fewer) in place; `fetched` counts those that came."""

    listing: Listing
    file: File
    line: Line
    told: Callable[[int], None]
    damaged: bool = False
    fetched: int = 0

    def run(self) -> None:
        """Bring the file, and give it its name. Another process that brings it is waited for, and its file taken."""
        there, file = Place(self.listing.repository), self.file
        with locked(there.lock(file.etag), wanted=lambda: not self.line.stop.is_set()):
            if not self._kept(there) and not self._shared(there):
                self._bring(there)
            there.link(self.listing.commit, file.name, file.etag)

    def _kept(self, there: Place) -> bool:
        """Whether the file lies there already; one that was found damaged is looked at again."""
        blob = there.blob(self.file.etag)
        if not there.has(self.file.etag, self.file.size):
            return False
        if self.damaged:
            return self._right(blob)
        self.told(self.file.size)
        return True

    def _shared(self, there: Place) -> bool:
        """Whether another repository has the same file: it is looked at, and then lies on the disk once."""
        for path in neighbours(self.file.etag, self.file.size, but=there):
            if self._right(path):
                fresh = there.unfinished(f"{self.file.etag}.shared")
                fresh.unlink(missing_ok=True)
                with suppress(OSError):  # another file system: then it is fetched
                    os.link(path.resolve(), fresh)
                    fresh.replace(there.blob(self.file.etag))
                    return True
                self.told(-self.file.size)
        return False

    def _right(self, path: Path) -> bool:
        """Whether the bytes of a file are right; what was told of them is taken back when not, or not readable."""
        seen = 0

        def told(count: int) -> None:
            nonlocal seen
            self._wanted()
            seen += count
            self.told(count)

        with suppress(OSError):
            if hashes.is_whole(path, self.file.etag, told):
                return True
        self.told(-seen)
        return False

    def _bring(self, there: Place) -> None:
        """Fetch what is lacking, until the hash is right."""
        etag, size = self.file.etag, self.file.size
        with Growing(there.unfinished(etag), etag, size) as growing:
            growing.look(self._seen)
            for _ in range(CHANCES):
                self._fill(growing)
                if growing.right:
                    growing.deliver(there.blob(etag))
                    return
                growing.anew()
                self.told(-size)
            growing.discard()
        raise WeightsRefused(
            f"{self.file.name} of {self.listing.repository} arrived damaged {CHANCES} times: its hash is not the hub's",
            "try another network, or look at HF_ENDPOINT and at the proxy",
        )

    def _fill(self, growing: Growing) -> None:
        """Bring the file to its full size, with as many answers as that takes."""
        asker = Asker(self.listing.repository, self.listing.revision, self.line)
        while growing.lacking:
            before = self.fetched
            try:
                self._stream(growing)
                if self.fetched == before:
                    raise _nothing()
            except Exception as error:
                if self.fetched > before:
                    asker.heartened()
                asker.again(error)

    def _stream(self, growing: Growing) -> None:
        """Take one answer as far as it goes."""
        with self._answer(growing.done) as response:
            if growing.done and response.status_code != 206:  # the whole file instead of the rest
                self.told(-growing.done)
                growing.anew()
            for data in response.iter_bytes():
                self._wanted()
                count = growing.add(data)
                self.fetched += count
                self.told(count)
                if not growing.lacking:
                    return

    @contextmanager
    def _answer(self, begin: int) -> Iterator[Any]:
        """The hub's answer to a request for the file from the byte `begin` on."""
        from huggingface_hub import constants, get_session, hf_hub_url, hf_raise_for_status

        address = hf_hub_url(
            self.listing.repository, self.file.name, revision=self.listing.commit, endpoint=constants.ENDPOINT
        )
        said = headers() | ({"Range": f"bytes={begin}-"} if begin else {})
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        with get_session().stream("GET", address, headers=said, timeout=timeout) as response:
            hf_raise_for_status(response)
            yield response

    def _seen(self, count: int) -> None:
        self._wanted()
        self.told(count)

    def _wanted(self) -> None:
        if self.line.stop.is_set():
            raise Dropped


def _nothing() -> Exception:
    from httpx2 import RemoteProtocolError

    return RemoteProtocolError("an empty answer")
