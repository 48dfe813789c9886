"""Looks again at what is in the cache, without the hub: the name of each blob is the hash that it had there."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vidgen import hub
from vidgen.core.card import ModelCard
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.weights import hashes
from vidgen.weights.place import is_hash, length
from vidgen.weights.wanted import known


class Verdict(StrEnum):
    """What a second look at a file showed."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    MISSING = "missing"
    UNRECORDED = "no hash recorded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One file of a model, looked at again."""

    name: str
    etag: str
    size: int
    verdict: Verdict


def verify(card: ModelCard, told: Callable[[int], None] = lambda count: None) -> list[Seen]:
    """Every file of `card` with its verdict; WeightsRefused when none of it is here. `told` hears of bytes read."""
    found = [_look(path, name, told) for folder in snapshots(card) for path, name in folder]
    return [*found, *(Seen(name=name, etag="", size=0, verdict=Verdict.MISSING) for name in _lost(card, found))]


def snapshots(card: ModelCard) -> list[list[tuple[Path, str]]]:
    """What of `card` is in the cache, by repository: each file and what it is to the model."""
    if not card.repository or card.folder is not None:
        raise UsageRefused(
            f"{card.name} is a folder on this machine: no hash of its files is recorded", "name a downloaded model"
        )
    shares = [card.share(repository) for repository in card.repositories]
    folders = [(share, folder) for share in shares if (folder := hub.home(share)) is not None]
    if not folders:
        raise WeightsRefused(f"{card.name} is not on this machine", f"fetch it: {hub.command(card)}")
    return [_files(share, folder) for share, folder in folders]


def size(card: ModelCard) -> int:
    """The bytes that `verify` will read."""
    return sum(max(0, length(path)) for folder in snapshots(card) for path, _ in folder)


def _files(share: ModelCard, folder: Path) -> list[tuple[Path, str]]:
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    named = ((path, known(share, path.relative_to(folder).as_posix())) for path in paths)
    return [(path, name) for path, name in named if name]


def _lost(card: ModelCard, found: Sequence[Seen]) -> Iterator[str]:
    """What is missing and has left no link behind that would name it."""
    named = {seen.name for seen in found}
    broken = {f"{seen.name.partition('/')[0]}/*.safetensors" for seen in found if seen.verdict is Verdict.MISSING}
    for name in hub.find(card).missing:
        if name not in named | broken and not name.endswith(")"):
            yield name


def _look(path: Path, name: str, told: Callable[[int], None]) -> Seen:
    etag = path.readlink().name if path.is_symlink() else ""
    if length(path) < 0:
        verdict = Verdict.MISSING
    elif not is_hash(etag):
        verdict = Verdict.UNRECORDED
    else:
        verdict = Verdict.WHOLE if _right(path, etag, told) else Verdict.DAMAGED
    return Seen(name=name, etag=etag, size=max(0, length(path)), verdict=verdict)


def _right(path: Path, etag: str, told: Callable[[int], None]) -> bool:
    """Whether a file has its hash; one that the disk cannot read has not."""
    try:
        return hashes.is_whole(path, etag, told)
    except OSError:
        return False
