"""Which file is at fault when a component cannot be loaded: the libraries' own messages often name the wrong one."""

import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open

from vidgen.backends.fit import UNREADABLE, first_line
from vidgen.core.errors import WeightsRefused


def same_class(name: str, card: Path, wanted: str) -> None:
    """Refuse a folder that names another class: a scheduler of another kind would load without a word."""
    try:
        named = json.loads(card.read_text(encoding="utf-8")).get("_class_name", wanted)
    except UNREADABLE:
        return
    if named != wanted:
        raise WeightsRefused(
            f"{name} in {card.parent} is a {named}, not a {wanted}", "these are another model's files: check the card"
        )


def refused(name: str, folder: Path, card: str, error: Exception, *, weights: bool = True) -> WeightsRefused:
    """The refusal that names the file at fault; `card` names the class, `weights` says whether there are such files."""
    for file in _wanted_files(folder, card, weights=weights):
        if not file.is_file():
            return WeightsRefused(
                f"{name} cannot be loaded: {file} is missing", "if it was downloaded: vidgen download --repair MODEL"
            )
        try:
            _peek(file)
        except UNREADABLE as fault:
            return WeightsRefused(
                f"{name} cannot be loaded: {file} is damaged ({first_line(fault)})",
                "if it was downloaded: vidgen download --repair MODEL",
            )
    return WeightsRefused(
        f"{name} in {folder} cannot be loaded: {first_line(error)}",
        "the files are damaged or another model's: vidgen download --repair MODEL mends downloaded ones",
    )


def _wanted_files(folder: Path, card: str, *, weights: bool) -> Iterator[Path]:
    yield folder / card
    if not weights:
        return
    indices = sorted(folder.glob("*.safetensors.index.json"))
    yield from indices
    for index in indices:
        yield from (folder / shard for shard in sorted(set(json.loads(index.read_text())["weight_map"].values())))
    files = sorted(folder.glob("*.safetensors"))
    yield from files or [folder / "*.safetensors"]


def _peek(file: Path) -> None:
    """Read as much of `file` as shows that it is whole."""
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt"):
            return
    if not isinstance(json.loads(file.read_text(encoding="utf-8")), dict):
        raise ValueError("it is no object of JSON")
