"""The Hugging Face cache on the disk: where each thing of a repository lies. Other tools read and write it too.

models--OWNER--NAME/blobs/ETAG                     a file, named by its hash
models--OWNER--NAME/blobs/ETAG.incomplete          a file on its way
models--OWNER--NAME/snapshots/COMMIT/vae/...       links to blobs, under the names that they have in the repository
models--OWNER--NAME/refs/main                      the commit that a branch was at
.locks/models--OWNER--NAME/ETAG.lock               held while the file is fetched
"""

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

UNFINISHED = ".incomplete"
POLL_S = 0.3
"""How long a wait for a lock goes without looking whether it is still wanted."""


def root() -> Path:
    """The folder of the whole cache: HF_HUB_CACHE, or the one in HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one repository in the cache."""

    repository: str

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return root() / f"models--{self.repository.replace('/', '--')}"

    @property
    def blobs(self) -> Path:
        """Where the files themselves lie."""
        return self.folder / "blobs"

    def blob(self, etag: str) -> Path:
        """Where a file lies when it is whole."""
        return self.blobs / etag

    def unfinished(self, etag: str) -> Path:
        """Where a file grows."""
        return self.blobs / f"{etag}{UNFINISHED}"

    def snapshot(self, commit: str) -> Path:
        """The folder in which the files have their names."""
        return self.folder / "snapshots" / commit

    def lock(self, etag: str) -> Path:
        """What the tools that share the cache lock while they fetch a file."""
        return root() / ".locks" / self.folder.name / f"{etag}.lock"

    def has(self, etag: str, size: int) -> bool:
        """Whether a file is here in its full length."""
        return length(self.blob(etag)) == size

    def prepare(self) -> None:
        """Make the folders."""
        for folder in (self.blobs, self.folder / "snapshots", self.lock("x").parent):
            folder.mkdir(parents=True, exist_ok=True)

    def link(self, commit: str, name: str, etag: str) -> None:
        """Give a blob its name in a snapshot, by a relative link that appears at once."""
        path = self.snapshot(commit) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(self.blob(etag), path.parent)
        if path.is_symlink() and path.readlink() == Path(target):
            return
        fresh = path.with_name(f".{secrets.token_hex(4)}.link")
        fresh.symlink_to(target)
        fresh.replace(path)

    def refer(self, revision: str, commit: str) -> None:
        """Note that a branch or tag is at `commit`; done last, so that an older whole snapshot serves until then."""
        path = self.folder / "refs" / revision
        if revision == commit or (path.is_file() and path.read_text(encoding="utf-8") == commit):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{secrets.token_hex(4)}.ref")
        fresh.write_text(commit, encoding="utf-8")
        fresh.replace(path)

    def sweep(self) -> None:
        """Remove files that nobody is fetching and nobody can go on with: other tools give them random names."""
        for path in self.blobs.glob(f"*.*{UNFINISHED}"):
            if not self.busy(path):
                path.unlink(missing_ok=True)

    def busy(self, path: Path) -> bool:
        """Whether some process is fetching the file that grows at `path`."""
        try:
            with locked(self.lock(path.name.partition(".")[0]), wanted=lambda: False):
                return False
        except TimeoutError:
            return True


def places() -> Iterator[Place]:
    """Every model's repository in the cache."""
    for folder in sorted(root().glob("models--*")):
        if folder.is_dir():
            yield Place(folder.name.removeprefix("models--").replace("--", "/"))


def neighbours(etag: str, size: int, *, but: Place) -> Iterator[Path]:
    """The same large file in the folders of other repositories."""
    if is_sha256(etag):
        for folder in sorted(root().glob("models--*/blobs")):
            path = folder / etag
            if folder != but.blobs and length(path) == size:
                yield path


def length(path: Path) -> int:
    """The length of a file; -1 when it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def is_sha256(etag: str) -> bool:
    """Whether an etag is that of a large file."""
    return bool(re.fullmatch("[0-9a-f]{64}", etag))


def is_hash(etag: str) -> bool:
    """Whether an etag is one of the hub's two hashes, and so safe as the name of a file."""
    return bool(re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", etag))


@contextmanager
def locked(path: Path, *, wanted: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock at `path`; TimeoutError when another process has it and we no longer want it."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(WeakFileLock(path, timeout=POLL_S))
                break
            except TimeoutError:
                if not wanted():
                    raise
        yield
