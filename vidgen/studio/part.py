"""The folder in which a clip is made: `clip.mp4.part/`, with an artefact for each phase that is done.

A folder belongs to one request, known by its fingerprint. The same request finds it and goes on from what is there;
another request leaves it alone and works beside it. It goes when the clip stands at its place.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vidgen.core.errors import InputRefused, OutputRefused, TryLater
from vidgen.core.plan import Job
from vidgen.studio import artefacts, asked, checkpoints
from vidgen.studio.artefacts import CHECKPOINT as CHECKPOINT
from vidgen.studio.artefacts import CONDITIONING as CONDITIONING
from vidgen.studio.artefacts import LATENTS as LATENTS
from vidgen.studio.fingerprint import fingerprint

if TYPE_CHECKING:
    from torch import Tensor

CLAIM = "claim"
PART, KEPT, GONE, RECORD = ".part", ".latents", ".gone", ".json"
PAUSE_S = 0.2


class Part:
    """One clip in the making. `film` is where the finished file is built; `skip`: another has made the clip by now."""

    def __init__(self, folder: Path, output: Path) -> None:
        self.folder = folder
        self.output = output
        self.film = folder / f"film{output.suffix}"
        self.record = folder / f"{self.film.name}{RECORD}"
        self.sound = folder / "sound.wav"
        self.delivered = False
        self.skip = False

    def load(self, phase: str) -> "Mapping[str, Tensor]":
        """The artefact of `phase`, as it was saved."""
        return artefacts.load(self.folder, phase)

    def save(self, phase: str, tensors: "Mapping[str, Tensor]") -> None:
        """Write the artefact of `phase`: whole, or not at all (OutputRefused, exit 6)."""
        artefacts.save(self.folder, phase, tensors)

    def forget(self, phase: str) -> None:
        """Remove the artefact of `phase`."""
        artefacts.forget(self.folder, phase)

    def has(self, phase: str) -> bool:
        """Whether the artefact of `phase` is there and whole."""
        return artefacts.has(self.folder, phase)

    def note(self, job: Job) -> None:
        """Write down that the clip goes on as `job` is now; it is still the same clip."""
        _agree(job, self.folder, asked.mark_of(self.folder))

    def deliver(self, *, overwrite: bool = False, keep: bool = False) -> None:
        """Put the finished film and its record at their places; the folder goes, or becomes `clip.mp4.latents`.

        Never replaces what has appeared at the place, unless told to: of several who deliver at once, one succeeds.
        """
        try:
            _place(self.film, self.output, overwrite=overwrite)
        except OSError as error:
            if os.path.lexists(self.output) and not overwrite:
                raise _there(self.output) from error
            raise OutputRefused(f"cannot write {self.output}: {error.strerror}", "give another --output") from error
        self.delivered = True
        self._deliver_record()
        if keep or self.folder.suffix == KEPT:
            self.discard_film()
            self._keep()
        else:
            remove(self.folder)  # the film in it too: until then `sweep` knows by it what was delivered

    def tidy(self) -> None:
        """After a stop: keep the folder for the sake of what can be gone on from, else remove it."""
        if self.delivered:
            return
        self.discard_film()
        if self.folder.is_dir() and not self.has(LATENTS) and not self.has(CHECKPOINT):
            remove(self.folder)

    def discard_film(self) -> None:
        """Remove a film that was begun and not finished, and its sound."""
        self.sound.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)
        if self.film.is_dir():
            shutil.rmtree(self.film)
        self.film.unlink(missing_ok=True)

    def _deliver_record(self) -> None:
        if not self.record.is_file():
            return
        place = self.output.with_name(f"{self.output.name}{RECORD}")
        try:
            self.record.replace(place)
        except OSError as error:
            said = f"{self.output} is finished, but {place.name} beside it cannot be written: {error.strerror}"
            raise OutputRefused(said, "read the record in the clip itself: vidgen show") from error

    def _keep(self) -> None:
        """Move the folder to where latents are kept; where something that is not ours lies there, it stays."""
        kept = self.output.with_name(f"{self.output.name}{KEPT}")
        if self.folder.suffix == KEPT:
            return
        if asked.mark_of(kept):
            remove(kept)
        with suppress(OSError):
            self.folder.rename(kept)


@contextmanager
def part(
    job: Job, waiting: Callable[[], None] = lambda: None, damaged: Callable[[str], None] = lambda phase: None
) -> Iterator[Part]:
    """The folder of `job`, claimed for this process.

    While another process works in it: waits when the job says so, and calls `waiting` once; else TryLater (exit 75).
    Artefacts that have changed on the disk are removed, and `damaged` is told of each.
    """
    mark = "" if job.source else fingerprint(job)
    with _claimed(job, mark, waiting) as folder:
        found = Part(folder, job.request.output)
        try:
            found.skip = os.path.lexists(found.output) and not job.overwrite
            if found.skip and not job.skip_existing:
                raise _there(found.output)
            if not found.skip:
                _agree(job, folder, mark)
                found.discard_film()
                for phase in artefacts.sweep(folder):
                    damaged(phase)
                checkpoints.begin(job, folder)
            yield found
        finally:
            found.tidy()


def _agree(job: Job, folder: Path, mark: str) -> None:
    """Write into a folder whose it is; embeddings of another precision than the job's are made again."""
    if asked.began_of(folder) not in ("", asked.began(job)):
        artefacts.forget(folder, CONDITIONING)
    if mark:
        asked.write(job, folder, mark)


def begun(job: Job) -> bool:
    """Whether somebody has begun a clip of that name; cheap, where `folder_of` reads every file of the request."""
    return job.source is not None or _plain(job.request.output).is_dir()


def folder_of(job: Job) -> Path:
    """Where `job` is made, or would be."""
    return job.source or _folder(job.request.output, fingerprint(job))


def remove(folder: Path) -> None:
    """Remove a folder that is ours, at one blow: whoever wants that name meets nothing or a whole folder."""
    gone = folder.with_name(f"{folder.name}.{os.getpid()}{GONE}")
    with suppress(OSError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def sweep(output: Path) -> None:
    """Remove what a process left that was killed when it had delivered `output`: its film is that file's twin."""
    _sweep_gone(output)
    for folder in output.parent.glob(f"{escape(output.name)}*{PART}"):
        with suppress(OSError):
            if asked.mark_of(folder) and output.samefile(folder / f"film{output.suffix}") and idle(folder):
                remove(folder)


def _sweep_gone(output: Path) -> None:
    for old in output.parent.glob(f"{escape(output.name)}.*{GONE}"):
        shutil.rmtree(old, ignore_errors=True)  # whoever was removing it was killed


def idle(folder: Path) -> bool:
    """Whether nobody works in `folder` just now."""
    try:
        with (folder / CLAIM).open("rb") as claim:
            return _locked(claim)
    except OSError:
        return True


@contextmanager
def _claimed(job: Job, mark: str, waiting: Callable[[], None]) -> Iterator[Path]:
    """The folder, locked for as long as this lasts."""
    output, told = job.request.output, False
    while True:
        folder = job.source or _folder(output, mark)
        with _claim(folder, output, begin=job.source is None) as claim:
            if _locked(claim):
                if _still(claim, folder):
                    yield folder
                    return
                continue
        if not job.wait:
            raise TryLater(f"another vidgen is making {output}", "add --wait to wait for it, or give another --output")
        if not told:
            waiting()
            told = True
        time.sleep(PAUSE_S)


def _claim(folder: Path, output: Path, *, begin: bool) -> BinaryIO:
    """The claim of `folder`, open; a folder to begin in is made."""
    if begin:
        _sweep_gone(output)
    fault: OSError
    for _ in range(100):
        try:
            if begin:
                folder.mkdir(exist_ok=True)
                _refuse_link(folder)
            return os.fdopen(os.open(folder / CLAIM, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "rb")
        except FileNotFoundError as error:
            fault = error  # its last owner has removed it just now, or its parent is not there
        except OSError as error:
            fault = error
            break
    if begin:
        said = f"cannot write in {output.parent}: {fault.strerror}"
        raise OutputRefused(said, "give another --output") from fault
    raise InputRefused(f"{folder} cannot be worked in: {fault.strerror}", "look at its rights") from fault


def _refuse_link(folder: Path) -> None:
    """A link would lead the work, and its removal at the end, to where nobody asked for either."""
    if folder.is_symlink():
        raise OSError(errno.ELOOP, f"{folder.name} is a link")


def _locked(claim: BinaryIO) -> bool:
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _still(claim: BinaryIO, folder: Path) -> bool:
    """Whether what was locked is the claim of `folder`, and not of one that its owner has just removed."""
    try:
        return os.path.samestat(os.fstat(claim.fileno()), (folder / CLAIM).stat())
    except OSError:
        return False


def _plain(output: Path) -> Path:
    return output.with_name(f"{output.name}{PART}")


def _folder(output: Path, mark: str) -> Path:
    """`clip.mp4.part`, or a name of its own when another request's work lies there."""
    plain = _plain(output)
    theirs = asked.mark_of(plain)
    free = not theirs and not any(artefacts.has(plain, phase) for phase in (CONDITIONING, CHECKPOINT, LATENTS))
    return plain if free or theirs == mark else output.with_name(f"{output.name}.{mark[:8]}{PART}")


def _place(film: Path, output: Path, *, overwrite: bool) -> None:
    """Give a film its name in one step; FileExistsError, or another OSError, when that is taken."""
    if overwrite:
        if output.is_dir() and not output.is_symlink():
            shutil.rmtree(output)
        film.replace(output)
    elif film.is_dir():
        film.rename(output)  # refuses to replace anything but an empty folder
    else:
        try:
            os.link(film, output)
        except FileExistsError:
            raise
        except OSError as error:  # a file system without links: look, then replace
            if os.path.lexists(output):
                raise FileExistsError from error
            film.replace(output)


def _there(output: Path) -> OutputRefused:
    return OutputRefused(f"{output} exists by now", "add --overwrite, or give another --output")
