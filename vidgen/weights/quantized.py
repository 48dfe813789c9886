"""Quantized copies of weights, as the cache's owner sees them: for which model, how large, and which can go."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from vidgen.backends.store import Copy, copies
from vidgen.core.card import ModelCard
from vidgen.weights.cache import Waste


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantized:
    """One component at one precision; `model` is the repository or the folder that it was made of."""

    model: str
    models: tuple[str, ...]
    component: str
    precision: str
    size: int
    path: Path


def kept(cards: Iterable[ModelCard]) -> list[Quantized]:
    """Every copy that can be used, the largest first."""
    known = list(cards)
    found = [_quantized(copy, copy.source, known) for copy in copies() if copy.source and not copy.fault]
    return sorted(found, key=lambda entry: (-entry.size, entry.path))


def of(card: ModelCard | None, repositories: Collection[str]) -> list[Waste]:
    """The copies that were made of `repositories`, or of the folder of `card`."""
    folder = card.folder.resolve() if card and card.folder else None
    return [
        Waste(path=copy.path, why="a quantized copy", size=copy.size)
        for copy in copies()
        if copy.source and (_repository(copy.source) in repositories or copy.source.resolve().parent == folder)
    ]


def waste() -> list[Waste]:
    """Copies that nobody can use: of weights that have gone or changed, of another library, damaged, not finished."""
    return [Waste(path=copy.path, why=copy.fault, size=copy.size) for copy in copies() if copy.fault]


def _quantized(copy: Copy, source: Path, known: Iterable[ModelCard]) -> Quantized:
    repository, parent = _repository(source), source.resolve().parent
    mine = [card for card in known if repository in card.repositories or _is(card, parent)]
    return Quantized(
        model=repository or str(parent),
        models=tuple(card.name for card in mine),
        component=_component(source, repository, mine),
        precision=copy.precision,
        size=copy.size,
        path=copy.path,
    )


def _is(card: ModelCard, folder: Path) -> bool:
    return card.folder is not None and card.folder.resolve() == folder


def _component(source: Path, repository: str, mine: Iterable[ModelCard]) -> str:
    """What is in a folder: it is called so, unless it is at the top of a repository."""
    if source.parent.name != "snapshots":
        return source.name
    return next((part.name for card in mine for part in card.share(repository).components if part.at == "."), "")


def _repository(source: Path) -> str:
    """The repository of models--OWNER--NAME/snapshots/COMMIT and of a folder in that; none of another one."""
    parts = source.parts[-3:] if source.parent.name == "snapshots" else source.parts[-4:]
    if len(parts) > 2 and parts[0].startswith("models--") and parts[1] == "snapshots":
        return parts[0].removeprefix("models--").replace("--", "/")
    return ""
