"""Where clips go: decided and proved writable before any weight is loaded."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryFile

from vidgen.core.errors import OutputRefused
from vidgen.core.request import Request
from vidgen.core.words import OUTPUT
from vidgen.studio.names import has_field, name
from vidgen.studio.part import RECORD, sweep

PICTURE = re.compile(r"\d{4,}\.png|record\.json")
"""What a folder of pictures holds."""

INSTEAD = "add --overwrite or --skip-existing, or give another --output"

LARGEST = 1 << 24
"""Bytes of a record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A clip's path, and whether it is there already and stays."""

    path: Path
    skip: bool = False


def places(
    requests: Sequence[Request],
    *,
    chosen: bool,
    overwrite: bool,
    skip_existing: bool,
    today: date,
    instead: str = INSTEAD,
) -> list[Place]:
    """A place for each request, in order.

    An output that the user did not choose never meets an existing file: it gets a counter. One that the user chose is
    refused (exit 6) when it exists, unless it may be overwritten or skipped; `instead` says what can be done.
    """
    taken: set[Path] = set()
    found = []
    for request in requests:
        path = name(_template(request.output, several=len(requests) > 1), request, today)
        if not chosen and not skip_existing and not overwrite:
            path = _free(path, taken)
        if path in taken:
            raise OutputRefused(f"two clips would be called {path}", "use {seed} in --output")
        taken.add(path)
        found.append(_place(path, overwrite=overwrite, skip_existing=skip_existing, instead=instead))
    return found


def _template(output: Path, *, several: bool) -> Path:
    """A folder becomes a template within it; one name for several clips gets the seed."""
    if output.is_dir() and output.suffix != ".png":
        return output / OUTPUT
    if several and not has_field(output, "seed"):
        return output.with_name(f"{output.stem}-{{seed}}{output.suffix}")
    return output


def _free(path: Path, taken: set[Path]) -> Path:
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    free = (one for one in chain([path], numbered) if not _there(one) and not _foreign(_beside(one)))
    return next(candidate for candidate in free if candidate not in taken)


def _there(path: Path) -> bool:
    """Whether anything has that name, a broken link too."""
    return path.exists() or path.is_symlink()


def _place(path: Path, *, overwrite: bool, skip_existing: bool, instead: str) -> Place:
    if _there(path):
        sweep(path)
        if skip_existing:
            return Place(path=path, skip=True)
        if not overwrite:
            raise OutputRefused(f"{path} exists", instead)
        _replaceable(path)
    if _foreign(_beside(path)) and not overwrite:
        said = f"{_beside(path)} is there, where the clip's record goes, and is no record of vidgen's"
        raise OutputRefused(said, "move it, or give another --output")
    _writable(path.parent)
    return Place(path=path)


def _beside(path: Path) -> Path:
    """Where the record of the clip at `path` goes."""
    return path.with_name(f"{path.name}{RECORD}")


def _foreign(record: Path) -> bool:
    """Whether something lies there that vidgen did not write: that is somebody's, and not ours to replace."""
    if not _there(record):
        return False
    try:
        with record.open("rb") as file:
            return not str(json.loads(file.read(LARGEST))["made_by"]).startswith("vidgen")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True


def _replaceable(path: Path) -> None:
    """Only a file, or a folder that holds nothing but a clip's own pictures, may be replaced."""
    if path.is_dir():
        strangers = [entry.name for entry in path.iterdir() if not PICTURE.fullmatch(entry.name)]
        if path.suffix != ".png" or path.is_symlink() or strangers:
            raise OutputRefused(f"{path} is a folder that vidgen did not make", "give another --output")
    elif path.exists() and not path.is_file():
        raise OutputRefused(f"{path} is not an ordinary file", "give another --output")


def _writable(folder: Path) -> None:
    """Prove that a file can be made in `folder`, or in the folder that would hold it."""
    if not folder.exists():
        raise OutputRefused(f"folder {folder} does not exist", f"make it: mkdir -p {folder}")
    if not folder.is_dir():
        raise OutputRefused(f"{folder} is not a folder", "give another --output")
    try:
        with TemporaryFile(dir=folder):  # it has no name where the system can: a kill leaves nothing behind
            pass
    except OSError as error:
        raise OutputRefused(f"cannot write in {folder}: {error.strerror}", "give another --output") from error
