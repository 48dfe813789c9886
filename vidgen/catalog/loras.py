"""Kinds of LoRAs: for which families they are made, known by the names of what they change. Data: `loras.toml`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vidgen.catalog.tables import Table, load


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """The LoRAs of one family; or of models that make no `video`, for which there is none."""

    title: str
    marks: tuple[str, ...]
    never: tuple[str, ...]
    video: bool

    def has(self, names: Iterable[str]) -> bool:
        """Whether a LoRA that changes `names` can be of this kind."""
        flat = [name.replace(".", "_") for name in names]
        return _some(self.marks, flat) and not _some(self.never, flat)


@cache
def kinds() -> Mapping[str, Kind]:
    """Every kind, by family."""
    file = Path(__file__).with_suffix(".toml")
    return {name: _kind(Table(values, f"{file} [{name}]")) for name, values in load(file).items()}


def makers(names: Iterable[str]) -> Mapping[str, Kind]:
    """The kinds that a LoRA that changes `names` can be of, by family."""
    changed = list(names)
    return {family: kind for family, kind in kinds().items() if kind.has(changed)}


def _kind(table: Table) -> Kind:
    found = Kind(
        title=table.take("title", str),
        marks=table.texts("marks"),
        never=table.texts("never"),
        video=table.take("video", bool, default=True),
    )
    table.finish()
    return found


def _some(patterns: Iterable[str], names: Iterable[str]) -> bool:
    return any(re.search(pattern, name) for pattern in patterns for name in names)
