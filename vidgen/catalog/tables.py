"""A TOML table read strictly: every key is wanted, known and of its type, or the file is refused by name."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from vidgen.core.errors import UsageRefused
from vidgen.core.words import nearest

LARGEST = 1 << 20

T = TypeVar("T")


def load(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; UsageRefused when it cannot be read or is not TOML."""
    try:
        if path.stat().st_size > LARGEST:
            raise UsageRefused(f"{path} is larger than 1 MiB", "a configuration is a page, not a book")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageRefused(f"{path} cannot be read: {error.strerror}", "check its name and permissions") from error
    except (ValueError, RecursionError) as error:
        raise UsageRefused(f"{path} is not valid TOML: {error}", "mend that line") from error


class Table:
    """One table on its way into a value. `take` each key once, then `finish`."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.where = where
        self._rest = dict(values)
        self._known: list[str] = []

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The value of `key`, of type `kind` (an int will do for a float); refused when absent without a default."""
        self._known.append(key)
        value = self._rest.pop(key, default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if value is None or not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            said = "is missing" if value is None else f"= {value!r} is not of type {kind.__name__}"
            raise UsageRefused(f"{self.where}: {key} {said}", f"give {key} a value of type {kind.__name__}")
        return value

    def __contains__(self, key: str) -> bool:
        """Whether `key` is still to be taken."""
        return key in self._rest

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty when absent."""
        values = self.take(key, list, [])
        if not all(isinstance(value, str) for value in values):
            raise UsageRefused(f"{self.where}: {key} is not a list of strings", f'write {key} = ["one", "two"]')
        return tuple(values)

    def table(self, key: str) -> "Table":
        """A table within this one; empty when absent."""
        return Table(self.take(key, dict, {}), f"{self.where} [{key}]")

    def tables(self, key: str) -> "dict[str, Table]":
        """The tables within the table `key`, by name."""
        return {
            name: Table(values if isinstance(values, dict) else {}, f"{self.where} [{key}.{name}]")
            for name, values in self.take(key, dict, {}).items()
        }

    def rest(self) -> dict[str, Any]:
        """Everything not yet taken."""
        rest, self._rest = self._rest, {}
        return rest

    def finish(self) -> None:
        """Refuse whatever was not taken."""
        for key in self._rest:
            raise UsageRefused(f"{self.where}: unknown key {key!r}{nearest(key, self._known)}", "remove it or mend it")
