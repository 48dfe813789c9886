"""Tensors on disk, between two phases: each file whole, or not there at all. Knows their headers, not torch."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vidgen.core.errors import InputRefused, OutputRefused
from vidgen.core.headers import Entry, entries, header

if TYPE_CHECKING:
    from torch import Tensor

CONDITIONING = "conditioning"
CHECKPOINT = "checkpoint"
LATENTS = "latents"
PHASES = (CONDITIONING, CHECKPOINT, LATENTS)

SEAL = "sha256"
"""Under which the header of an artefact keeps the hash of its tensors."""

NONE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError)
"""What shows that an artefact is not there or not whole. Any other error is the disk's, and says nothing of it."""


def load(folder: Path, phase: str) -> "Mapping[str, Tensor]":
    """The artefact of `phase`, as it was saved. One that has changed since is removed and refused (exit 3).

    One that cannot be read stays, here and elsewhere: OutputRefused (exit 6).
    """
    from safetensors.torch import load_file

    if not sound(folder, phase):
        forget(folder, phase)
        said = f"{_file(folder, phase)} is damaged: it is not what was written"
        raise InputRefused(said, "give the same command again: it is made anew")
    return load_file(_file(folder, phase))


def save(folder: Path, phase: str, tensors: "Mapping[str, Tensor]") -> None:
    """Write the artefact of `phase` with its hash: whole, or not at all (OutputRefused, exit 6)."""
    from safetensors.torch import save as to_bytes

    # each in memory of its own: two names of one tensor, as for a prompt that is its own negative, cannot be written
    own = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    write(_file(folder, phase), _sealed(to_bytes(own)))


def sound(folder: Path, phase: str) -> bool:
    """Whether the artefact of `phase` is there, bit for bit as it was written. Reads all of it, as `has` does not."""
    try:
        found = header(_file(folder, phase))
        begin = min((entry.begin for entry in found.tensors.values()), default=0)
        with _file(folder, phase).open("rb") as file:
            file.seek(begin)
            seal = hashlib.file_digest(file, lambda: _begun(found.tensors))
    except NONE:
        return False
    except OSError as error:
        raise _unread(folder, error) from error
    return found.facts.get(SEAL) == seal.hexdigest()


def copy(source: Path, folder: Path, phase: str) -> None:
    """Put the artefact of `phase` in `source` into `folder` too, if it is there; OutputRefused (exit 6) as `write`."""
    if has(source, phase):
        write(_file(folder, phase), _file(source, phase).read_bytes())


def sweep(folder: Path) -> list[str]:
    """Remove artefacts that are not what was written, so that the clip goes on from those before; their names."""
    damaged = [phase for phase in PHASES if _file(folder, phase).exists() and not sound(folder, phase)]
    for phase in damaged:
        forget(folder, phase)
    return damaged


def forget(folder: Path, phase: str) -> None:
    """Remove the artefact of `phase`."""
    _file(folder, phase).unlink(missing_ok=True)


def has(folder: Path, phase: str) -> bool:
    """Whether the artefact of `phase` is there, and not cut short."""
    return bool(_tensors(_file(folder, phase)))


def standing(folder: Path, steps: int) -> str:
    """How far the clip in `folder` has come, in words that follow "from"; empty when there is nothing to go on from."""
    if has(folder, LATENTS):
        return "finished latents"
    places = _tensors(_file(folder, CHECKPOINT))
    if "step" in places:
        step, total = (_number(folder, places.get(name)) for name in ("step", "steps"))
        return f"step {step} of {total or steps}"
    return ""


def _number(folder: Path, place: Entry | None) -> int:
    """The whole number that stands at `place` in a checkpoint; 0 for none, also where its owner has just removed it."""
    if place is None:
        return 0
    try:
        with _file(folder, CHECKPOINT).open("rb") as file:
            file.seek(place.begin)
            return int.from_bytes(file.read(place.end - place.begin), "little")
    except FileNotFoundError:
        return 0


def write(path: Path, content: bytes) -> None:
    """Write a file of the folder: whole, on the disk, or not at all (OutputRefused, exit 6)."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with fresh.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise OutputRefused(f"cannot write in {path.parent}: {error.strerror}", "make room there") from error


def _file(folder: Path, phase: str) -> Path:
    return folder / f"{phase}.safetensors"


def _tensors(path: Path) -> Mapping[str, Entry]:
    """The tensors of a file, by its header; none when it is not there or not whole."""
    try:
        return header(path).tensors
    except NONE:
        return {}
    except OSError as error:
        raise _unread(path.parent, error) from error


def _unread(folder: Path, error: OSError) -> OutputRefused:
    """The refusal of a folder that the system does not let us read, where nothing is wrong with what it holds."""
    return OutputRefused(
        f"cannot read in {folder}: {error.strerror}", "give the same command again when it is readable"
    )


def _sealed(raw: bytes) -> bytes:
    """The bytes of a safetensors file, with the hash of its tensors in its header."""
    begin = 8 + int.from_bytes(raw[:8], "little")
    said = json.loads(raw[8:begin])
    tensors = entries(said, begin)
    seal = _begun(tensors)
    seal.update(memoryview(raw)[begin:])
    text = json.dumps({**said, "__metadata__": {SEAL: seal.hexdigest()}}).encode()
    text += b" " * (-len(text) % 8)  # as the format wants it
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(raw)[begin:]))


def _begun(tensors: Mapping[str, Entry]) -> "hashlib._Hash":
    """A hash that has taken in names, kinds, shapes and places, wherever in its file the first tensor begins."""
    first = min((entry.begin for entry in tensors.values()), default=0)
    facts = [[name, one.kind, one.shape, one.begin - first, one.end - first] for name, one in sorted(tensors.items())]
    return hashlib.sha256(json.dumps(facts).encode())
