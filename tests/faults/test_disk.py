"""The disk is full, closed, broken or taken: a clip is whole or not there, and what was kept is gone on from."""

import errno
import os
import resource
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults import elsewhere
from tests.faults.conftest import PLACES
from tests.faults.injected import Injection, Tally, failing
from tests.faults.invariants import STEPS, Asked, Place
from tests.faults.score import Fault, Scorecard, fault, rounds, slow_but, some

REFUSED = "exit 6 with a sentence, or a whole clip; the same command goes on when the disk is well"
EARLY = "exit 6 before anything is loaded; the same command works when the place is well"

CALLS = {
    ("write", errno.ENOSPC): fault("disk", 8, "no space at every write", REFUSED),
    ("write", errno.EDQUOT): fault("disk", 8, "quota exceeded at every write", REFUSED),
    ("write", errno.EIO): fault("disk", 8, "input/output error at every write", REFUSED),
    ("fsync", errno.EIO): fault("disk", 8, "input/output error at every fsync", REFUSED),
    ("open", errno.ENOSPC): fault("disk", 8, "no space at every file opened", REFUSED),
    ("open", errno.EACCES): fault("disk", 8, "permission denied at every file opened", REFUSED),
    ("open", errno.EMFILE): fault("disk", 8, "too many open files at every file opened", REFUSED),
    ("place", errno.ENOSPC): fault("disk", 8, "no space at every rename and link", REFUSED),
    ("place", errno.EIO): fault("disk", 8, "input/output error at every rename and link", REFUSED),
}
STAYS = fault("disk", 8, "no space at a write, and never again", REFUSED)
FULL = fault("disk", 8, "a full disk of every size", REFUSED)
SMALL = fault("disk", 8, "files that may not grow, of every size", REFUSED)
CLOSED = fault("disk", 9, "a read-only disk", EARLY)
DENIED = fault("disk", 9, "a folder without the right to write", EARLY)
MISSING = fault("disk", 9, "a folder that is not there", EARLY)
FILE = fault("disk", 9, "a folder that is a file", EARLY)
TAKEN = fault("disk", 9, "an output that is somebody's folder", EARLY)
LONG = fault(
    "disk", 9, "names of every length", "a whole clip and nothing beside it, or exit 6 before anything is loaded"
)
APPEARS = fault("disk", 9, "a file that appears at the place of the clip", "exit 6; that file stays, and the latents")
REMOVED = fault("disk", 9, "somebody removes the folder at work", "exit 6 or a whole clip; the same command works")
UNLINKED = fault("disk", 9, "a disk without links", "the clip is put in place without one")
UNSAID = fault("disk", 8, "stdout is full", "exit 6; the clip stands whole at its place")


@pytest.mark.parametrize("at", slow_but([(key,) for key in CALLS], (("write", errno.ENOSPC),)), ids=str)
def test_a_call_fails(at: tuple[str, int], card: Scorecard, asked: Asked, places: PLACES) -> None:
    site, number = at
    for nth in asked.each(site, 2):
        with card.round(CALLS[at]) as trial:
            place = places()
            ended = place.run(injection=Injection(site=site, nth=nth, act=failing(number)))
            place.unharmed(trial, ended, [0] if nth > asked.calls.of(site) else [6, 7, 0])
            place.again(trial)


@pytest.mark.slow
def test_a_disk_that_stays_full(card: Scorecard, asked: Asked, places: PLACES) -> None:
    for nth in asked.each("write", 1):
        with card.round(STAYS) as trial:
            place = places()
            ended = place.run(injection=Injection(site="write", nth=nth, act=failing(errno.ENOSPC), on=True))
            place.unharmed(trial, ended, [0] if nth > asked.calls.of("write") else [6])
            place.again(trial)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a mount namespace; the failing calls stand for this one")
def test_a_full_disk(card: Scorecard, asked: Asked, tmp_path: Path) -> None:
    """As many kilobytes as it takes, until a run is not touched."""
    for kilobytes in some(1, range(20, 200, 4)):
        with card.round(FULL) as trial:
            folder = tmp_path / str(kilobytes)

            def work(trial: Any, folder: Path = folder) -> None:
                place = Place(folder, asked)
                place.unharmed(trial, place.run(), [6, 0])
                elsewhere.resize(folder, "64m")
                place.again(trial)

            elsewhere.on_a_disk(folder, f"{kilobytes}k", trial, work)


@pytest.mark.slow
def test_files_that_may_not_grow(card: Scorecard, places: PLACES) -> None:
    for size in some(2, range(400, 16000, 600)):
        with card.round(SMALL) as trial:
            place = places()
            ended = place.run(before=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size)))
            place.unharmed(trial, ended, [6, 0])
            place.again(trial)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a mount namespace; a folder without rights stands for it")
def test_a_disk_that_is_read_only(card: Scorecard, asked: Asked, tmp_path: Path) -> None:
    for number in rounds(1, 4):
        with card.round(CLOSED) as trial:
            folder = tmp_path / str(number)

            def work(trial: Any, folder: Path = folder) -> None:
                place = Place(folder, asked)
                elsewhere.close(folder)
                _early(place, trial)
                elsewhere.resize(folder, "64m")
                place.again(trial)

            elsewhere.on_a_disk(folder, "64m", trial, work)


def test_a_folder_without_rights(card: Scorecard, places: PLACES) -> None:
    for _ in rounds(1, 4):
        with card.round(DENIED) as trial:
            place = places()
            place.folder.chmod(0o555)
            _early(place, trial, before=elsewhere.without_rights if sys.platform == "linux" else lambda: None)
            place.folder.chmod(0o755)
            place.again(trial)


PLACED: list[tuple[Fault, str]] = [(MISSING, "none/x.mkv"), (FILE, "notes.txt/x.mkv"), (TAKEN, "y.png")]


@pytest.mark.parametrize(("tried", "output"), PLACED)
def test_a_place_that_is_none(tried: Fault, output: str, card: Scorecard, places: PLACES) -> None:
    for _ in rounds(1, 4):
        with card.round(tried) as trial:
            place = places()
            (place.folder / "y.png").mkdir()
            (place.folder / "y.png/mine").touch()
            _early(place, trial, "-o", output, "--overwrite")
            shutil.rmtree(place.folder / "y.png")
            assert sorted(path.name for path in place.folder.iterdir()) == place.there


@pytest.mark.slow
def test_names_of_every_length(card: Scorecard, places: PLACES) -> None:
    for length in some(2, range(217, 258)):
        with card.round(LONG) as trial:
            name = "x" * (length - 4) + ".mkv"
            place = places(output=name)
            ended = place.run("-o", name)
            place.unharmed(trial, ended, [0 if length <= 230 else 2])
            if ended.code == 0:
                place.clean(trial)
            else:
                assert sorted(path.name for path in place.folder.iterdir()) == place.there


@pytest.mark.slow
@pytest.mark.parametrize("site", ["step", "feed", "place"])
def test_a_file_that_appears(site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    def appear(tally: Tally, called: Any) -> None:
        if not Path("x.mkv").exists():
            Path("x.mkv").symlink_to("notes.txt")

    for nth in some(1, range(1, min(9, asked.calls.of(site)) + 1)):
        with card.round(APPEARS) as trial:
            place = places()
            ended = place.run(injection=Injection(site=site, nth=nth, act=appear))
            assert Path("x.mkv").is_symlink()
            Path("x.mkv").unlink()
            place.unharmed(trial, ended, [6])
            place.again(trial)


@pytest.mark.slow
@pytest.mark.parametrize("site", ["step", "forward", "feed", "spawn"])
def test_somebody_removes_the_folder(site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    def remove(tally: Tally, called: Any) -> None:
        shutil.rmtree("x.mkv.part", ignore_errors=True)

    for nth in some(1, range(1, asked.calls.of(site) + 1)):
        with card.round(REMOVED) as trial:
            place = places(every=STEPS)
            ended = place.run(injection=Injection(site=site, nth=nth, act=remove))
            place.unharmed(trial, ended, [6, 7, 0])
            place.again(trial)


@pytest.mark.slow
def test_a_disk_without_links(card: Scorecard, places: PLACES) -> None:
    for number in some(1, [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV]):
        with card.round(UNLINKED) as trial:
            place = places()
            ended = place.run(before=partial(_no_links, number))
            place.unharmed(trial, ended, [0])
            place.clean(trial)


def _no_links(number: int) -> None:
    def link(*words: Any, **named: Any) -> None:
        raise OSError(number, os.strerror(number))

    os.link = link  # in a process of its own


@pytest.mark.slow
def test_stdout_is_full(card: Scorecard, places: PLACES) -> None:
    for more in some(1, [(), ("--json",)]):
        with card.round(UNSAID) as trial:
            place = places()
            ended = place.run(*more, before=lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 1))
            place.unharmed(trial, ended, [6])
            place.clean(trial)
            place.again(trial, *more)


def _early(place: Place, trial: Any, *more: str, before: Callable[[], object] = lambda: None) -> None:
    ended = place.run(*more, before=before)
    place.unharmed(trial, ended, [6])
    assert "load ..." not in ended.err, "refused too late"
