"""What the cache holds of models, and what of it can go. Data sets and other tools' things are not touched."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from vidgen.core.card import ModelCard
from vidgen.core.errors import OutputRefused, TryLater
from vidgen.weights.place import UNFINISHED, Place, length, places


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One repository in the cache: which models it serves, and bytes on disk.

    Of `size`, `shared` belong to other repositories too; `unfinished` are those of files on their way, and not in it.
    """

    repository: str
    models: tuple[str, ...]
    size: int
    shared: int
    unfinished: int
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Waste:
    """Something that can go: a file or a folder, what it is, and the bytes that it takes."""

    path: Path
    why: str
    size: int


def kept(cards: Iterable[ModelCard]) -> list[Kept]:
    """Every model's repository in the cache, the largest first."""
    known = list(cards)
    found = []
    for place in places():
        files = _files(place)
        if not files and not _snapshots(place):  # what a refused download leaves
            continue
        unfinished = sum(max(0, length(path)) for path in _unfinished(place))
        entry = Kept(
            repository=place.repository,
            models=tuple(card.name for card in known if place.repository in card.repositories),
            size=_bytes(files) - unfinished,
            shared=_bytes(path for path in files if path.stat().st_nlink > 1),
            unfinished=unfinished,
            folder=place.folder,
        )
        found.append(entry)
    return sorted(found, key=lambda entry: (-entry.size, entry.repository))


def total() -> int:
    """Bytes on the disk of all that `kept` lists: a file that repositories share counts once."""
    return _bytes(path for place in places() for path in _files(place))


def waste(cards: Iterable[ModelCard]) -> list[Waste]:
    """What nothing needs in the repositories of `cards`: files nobody finishes, old snapshots, blobs without a name."""
    known = list(cards)
    found: list[Waste] = []
    for place in places():
        pinned = {card.share(place.repository).revision for card in known if place.repository in card.repositories}
        if pinned:
            found += _wasted(place, pinned)
    return found


def remove(repository: str) -> None:
    """Remove all of a repository from the cache; TryLater (exit 75) while some process fetches it."""
    place = Place(repository)
    if any(place.busy(path) for path in _unfinished(place)):
        raise TryLater(f"another program is fetching {repository}", "wait for it, or stop it")
    with _written(place.folder):
        _leave_shared(repository)
        if place.folder.exists():
            shutil.rmtree(place.folder)


def clear(found: Sequence[Waste]) -> None:
    """Remove what `waste` found."""
    for entry in found:
        with _written(entry.path):
            if entry.path.is_dir():
                shutil.rmtree(entry.path)
            else:
                entry.path.unlink(missing_ok=True)


def _leave_shared(repository: str) -> None:
    """Let the library remove it first: it keeps a store that repositories share, and counts who needs what."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    with suppress(CacheNotFound):
        found = scan_cache_dir()
        for repo in found.repos:
            if repo.repo_type == "model" and repo.repo_id == repository:
                found.delete_revisions(*(revision.commit_hash for revision in repo.revisions)).execute()


def _wasted(place: Place, pinned: set[str]) -> Iterator[Waste]:
    for path in _unfinished(place):
        if not place.busy(path):
            yield Waste(path=path, why="a download that was not finished", size=max(0, length(path)))
    old = _old(place, pinned)
    for folder in old:
        yield Waste(path=folder, why="an older version", size=0)
    needed = {target for folder in _snapshots(place) if folder not in old for target in _targets(folder)}
    for path in _entries(place.blobs):
        if not path.name.endswith(UNFINISHED) and path.name not in needed and not place.busy(path):
            alone = path.is_symlink() or path.stat().st_nlink == 1
            yield Waste(path=path, why="a file of an older version", size=length(path) if alone else 0)


def _old(place: Place, pinned: set[str]) -> list[Path]:
    """Snapshots that no branch is at and no card names. One that is newer than those is still on its way, and stays."""
    meant = [folder for folder in _snapshots(place) if folder.name in _referred(place) | pinned]
    newest = max((folder.stat().st_mtime_ns for folder in meant), default=0)
    return [folder for folder in _snapshots(place) if folder not in meant and folder.stat().st_mtime_ns < newest]


def _snapshots(place: Place) -> list[Path]:
    return [folder for folder in _entries(place.folder / "snapshots") if folder.is_dir()]


def _referred(place: Place) -> set[str]:
    """The commits that a branch or tag is at."""
    refs = (path for path in (place.folder / "refs").rglob("*") if path.is_file())
    return {path.read_text(encoding="utf-8", errors="replace").strip() for path in refs}


def _targets(snapshot: Path) -> Iterator[str]:
    """The blobs that a snapshot names."""
    yield from (path.readlink().name for path in snapshot.rglob("*") if path.is_symlink())


def _unfinished(place: Place) -> list[Path]:
    return [path for path in _entries(place.blobs) if path.name.endswith(UNFINISHED)]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(place: Place) -> list[Path]:
    """The files of a repository themselves, without the links to them."""
    everything = chain(place.blobs.rglob("*"), (place.folder / "snapshots").rglob("*"))
    return [path for path in everything if path.is_file() and not path.is_symlink()]


def _bytes(files: Iterable[Path]) -> int:
    """What files take on the disk; one that has several names counts once."""
    sizes = {}
    for path in files:
        found = path.stat()
        sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


class _written:  # noqa: N801 - reads as `with _written(path)`
    """Says in a sentence that something could not be removed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            said = f"{self._path} cannot be removed: {error.strerror}"
            raise OutputRefused(said, "look at whose it is and what it may be written by") from error
