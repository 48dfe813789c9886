"""The folder in which a clip is made: `clip.mp4.part/`, with an artefact for each phase that is done.

A folder belongs to one request, known by its fingerprint. The same request finds it and goes on from what is there;
another request leaves it alone and works beside it. It goes when the clip stands at its place.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from vidgen.core.errors import InputRefused, OutputRefused, TryLater
from vidgen.core.plan import Job

if TYPE_CHECKING:
    from torch import Tensor

FINGERPRINT = "fingerprint"
CLAIM = "claim"
CONDITIONING = "conditioning"
LATENTS = "latents"
NOT_PIXELS = frozenset({"output", "crf", "codec"})


class Part:
    """One clip in the making. `film` is where the finished file is built."""

    def __init__(self, folder: Path, output: Path) -> None:
        self.folder = folder
        self.output = output
        self.film = folder / f"film{output.suffix}"
        self.sound = folder / "sound.wav"
        self.delivered = False

    def load(self, phase: str) -> "Mapping[str, Tensor]":
        """The artefact of `phase`, as it was saved."""
        from safetensors.torch import load_file

        return load_file(self._artefact(phase))

    def save(self, phase: str, tensors: "Mapping[str, Tensor]") -> None:
        """Write the artefact of `phase`: whole, or not at all (OutputRefused, exit 6)."""
        from safetensors.torch import save

        self._write(self._artefact(phase), save({name: tensor.contiguous() for name, tensor in tensors.items()}))

    def _write(self, path: Path, content: bytes) -> None:
        fresh = path.with_name(f"{path.name}.new")
        try:
            fresh.write_bytes(content)
            fresh.replace(path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise OutputRefused(f"cannot write in {self.folder}: {error.strerror}", "make room there") from error

    def has(self, phase: str) -> bool:
        """Whether the artefact of `phase` is there."""
        return self._artefact(phase).is_file()

    def _artefact(self, phase: str) -> Path:
        return self.folder / f"{phase}.safetensors"

    def mark(self, mark: str) -> None:
        """Write whose folder this is: whole, or not at all, so that a kill never parts a request from its latents."""
        self._write(self.folder / FINGERPRINT, mark.encode("ascii"))

    def deliver(self, *, overwrite: bool = False) -> None:
        """Put the finished film at its place, and remove the folder. Refuses to replace what has appeared there."""
        if os.path.lexists(self.output):
            if not overwrite:
                raise OutputRefused(f"{self.output} exists by now", "add --overwrite, or give another --output")
            if self.output.is_dir() and not self.output.is_symlink():
                shutil.rmtree(self.output)
        self.film.replace(self.output)
        shutil.rmtree(self.folder)
        self.delivered = True

    def tidy(self) -> None:
        """After a stop: keep the folder for the sake of finished latents, else remove it. Once delivered it is gone."""
        if self.delivered:
            return
        self.discard_film()
        if self.folder.is_dir() and not self.has(LATENTS):
            shutil.rmtree(self.folder)

    def discard_film(self) -> None:
        """Remove a film that was begun and not finished, and its sound."""
        self.sound.unlink(missing_ok=True)
        if self.film.is_dir():
            shutil.rmtree(self.film)
        self.film.unlink(missing_ok=True)


@contextmanager
def part(job: Job) -> Iterator[Part]:
    """The folder of `job`, claimed for this process; TryLater (exit 75) when another process works in it."""
    mark = fingerprint(job)
    output = job.request.output
    folder = _folder(output, mark)
    try:
        folder.mkdir(exist_ok=True)
        claim = (folder / CLAIM).open("w", encoding="ascii")
    except OSError as error:
        raise OutputRefused(f"cannot write in {output.parent}: {error.strerror}", "give another --output") from error
    with claim:
        if not _claimed(claim):
            raise TryLater(f"another vidgen is making {output}", "wait for it, or give another --output")
        found = Part(folder, output)
        found.mark(mark)
        found.discard_film()
        try:
            yield found
        finally:
            found.tidy()


def _claimed(claim: TextIO) -> bool:
    """Whether the claim is ours: locked, and not in a folder that its owner has just removed."""
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return os.fstat(claim.fileno()).st_nlink > 0


def _folder(output: Path, mark: str) -> Path:
    """`clip.mp4.part`, or a name of its own when another request's work lies there."""
    plain = output.with_name(f"{output.name}.part")
    try:
        theirs = (plain / FINGERPRINT).read_text(encoding="ascii")
    except OSError:
        return plain
    return plain if theirs == mark else output.with_name(f"{output.name}.{mark[:8]}.part")


def fingerprint(job: Job) -> str:
    """A hash of everything that changes the pixels of `job`: settings, model, precision, pictures and LoRAs."""
    card, request = job.card, {key: value for key, value in asdict(job.request).items() if key not in NOT_PIXELS}
    files = [keyframe.picture for keyframe in job.request.keyframes] + [lora.path for lora in job.request.loras]
    facts = {
        "request": request,
        "card": [card.name, card.repository, card.revision, card.tokens, card.settings, asdict(card.schedule)],
        "canvas": asdict(job.canvas),
        "weights": [str(job.weights.folder), dict(job.weights.sizes)],
        "rung": [job.plan.rung.precision, job.plan.rung.tiling, job.plan.machine.device],
        "files": [hash_of(path) for path in files],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=_plain).encode()).hexdigest()


def hash_of(path: Path) -> str:
    """The sha256 of a file's bytes; InputRefused (exit 3) when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputRefused(f"{path} cannot be read: {error.strerror}", "check the path") from error


def _plain(value: Any) -> str:
    match value:
        case Enum():
            return str(value.value)
        case Path() | Fraction():
            return str(value)
        case _:
            return repr(value)
