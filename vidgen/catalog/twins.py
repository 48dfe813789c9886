"""Twins of families: TOML files in `models/twins/`, and in `twins/` of each folder that VIDGEN_FAMILIES names.

A twin's file name is its family's. Each table is a component: its class as `kind`, and that class's own arguments. What
one pipeline or card has otherwise stands in tables of its own: `[SomePipeline.transformer]`.
"""

from collections.abc import Mapping
from pathlib import Path

from vidgen.catalog.cards import folders
from vidgen.catalog.tables import Table, load
from vidgen.core.card import Twin, TwinPart
from vidgen.core.errors import UsageRefused
from vidgen.core.words import nearest

PIPELINE = "Pipeline"
"""How the class of a pipeline ends, and no component is called."""


def twins() -> Mapping[str, Path]:
    """The families that have a twin, and the file that describes it."""
    return {path.stem: path for folder in folders() for path in sorted((folder / "twins").glob("*.toml"))}


def twin(family: str) -> Twin:
    """The twin of `family`; UsageRefused with those that there are."""
    known = twins()
    if family not in known:
        said = f"no family {family!r} has a twin{nearest(family, known)}"
        raise UsageRefused(said, f"these have one: {', '.join(sorted(known))}")
    return read(known[family])


def read(path: Path) -> Twin:
    """One twin; UsageRefused with the file and the key when something is wrong with it."""
    tables = {name: _table(name, values, path) for name, values in load(path).items()}
    shared = {name: values for name, values in tables.items() if not _of_one(values)}
    return Twin(
        family=path.stem,
        parts=_parts(shared, str(path)),
        own={
            owner: _parts(
                {name: _whole(name, values, shared, path) for name, values in own.items()}, f"{path} [{owner}]"
            )
            for owner, own in tables.items()
            if _of_one(own)
        },
    )


def _of_one(values: Mapping[str, object]) -> bool:
    """Whether a table is no component but holds those of one pipeline or card."""
    return bool(values) and all(isinstance(value, dict) for value in values.values())


def _parts(tables: Mapping[str, Mapping[str, object]], where: str) -> dict[str, TwinPart]:
    known = {name: Table(values, f"{where} [{name}]") for name, values in tables.items()}
    return {name: TwinPart(kind=table.take("kind", str), arguments=table.rest()) for name, table in known.items()}


def _whole(name: str, values: object, shared: Mapping[str, Mapping[str, object]], path: Path) -> Mapping[str, object]:
    """What one says of a component, over what all say, unless its class is another."""
    said = _table(name, values, path)
    return said if "kind" in said else {**shared.get(name, {}), **said}


def _table(name: str, values: object, path: Path) -> dict[str, object]:
    if not isinstance(values, dict):
        raise UsageRefused(f"{path}: {name} is not a component", f"write [{name}], and its kind under it")
    return values
