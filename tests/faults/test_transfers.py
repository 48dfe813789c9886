"""Downloads that are killed, stopped, spoilt on the disk or out of room: what came stays, and is gone on with."""

import errno
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import ANSWER
from tests.faults import refused
from tests.faults.children import CANARY, begin
from tests.faults.invariants import Asked
from tests.faults.score import Scorecard, Trial, fault, rounds, some
from tests.faults.test_hub import FETCH, TRANSFORMER, delivered, forget, resumed
from tests.loopback import COMMIT, MODEL, REPOSITORY, UNWANTED, Hub, etag, pipeline, until
from tests.weights.test_fetch import right
from vidgen.weights.growing import Growing
from vidgen.weights.place import Place

DISK = fault(
    "hub", 14, "a bit turned on the disk, in any file", "`--verify` names it, `--repair` fetches that file alone"
)
LOST = fault("hub", 14, "a file of the cache that has gone or was cut off", "named; `--repair` fetches that file alone")
BEGUN = fault("hub", 6, "the beginning of a file spoilt on the disk", "found by its hash, fetched again")
SMALL = fault("hub", 7, "a disk too small for what is to come", "exit code 6 before a byte moves")
FULL = fault("hub", 7, "a disk that fills up at any piece", "exit code 6; what came stays")
BROKEN = fault("hub", 7, "a disk that cannot be written at any piece", "exit code 6; what came stays")


def mended(trial: Trial, hub: Hub, vidgen: ANSWER, name: str) -> None:
    """A second look names the file, and a repair fetches it and no other."""
    index = Place(REPOSITORY).snapshot(COMMIT) / "model_index.json"
    if not index.exists():  # without it nothing is called a model, and the plain command brings it
        refused.check(trial, vidgen("download", MODEL, "--verify", "-q"), 4, f"vidgen download {MODEL}")
        delivered(trial, hub, vidgen(*FETCH))
        return
    served = hub.served
    answer = vidgen("download", MODEL, "--verify", "-q", "--json")
    if answer.code == 0:
        trial.silent("a second look found nothing")
    assert (answer.code, name in answer.err) == (4, True), answer.err
    assert hub.served == served
    delivered(trial, hub, vidgen("download", "--repair", MODEL, "-q"))
    if hub.served - served > len(hub.files[REPOSITORY][name]):
        trial.lost(f"{hub.served - served} bytes were fetched")


@pytest.mark.parametrize("tried", [DISK, LOST], ids=["turned", "lost"])
def test_what_is_on_the_disk_is_looked_at_again(tried: object, card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    assert vidgen(*FETCH).code == 0
    chance = random.Random(7)
    names = sorted(set(hub.files[REPOSITORY]) - UNWANTED)
    for number in rounds(2, 30):
        name = chance.choice(names)
        blob = (Place(REPOSITORY).snapshot(COMMIT) / name).resolve()
        data = bytearray(blob.read_bytes())
        with card.round(DISK if tried is DISK else LOST) as trial:
            if tried is DISK:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                blob.write_bytes(data)
            elif number % 2:
                blob.unlink()
            else:
                blob.write_bytes(data[: chance.randrange(len(data))])
            mended(trial, hub, vidgen, name)


def test_a_beginning_spoilt_on_the_disk(card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    data, chance = hub.files[REPOSITORY][TRANSFORMER], random.Random(3)
    for number in rounds(2, 12):
        forget(hub)
        Place(REPOSITORY).prepare()
        begun = bytearray(data[: chance.randrange(1, len(data))])
        begun[chance.randrange(len(begun))] ^= 1
        more = bytes(chance.randbytes(9)) * (len(data) if number % 4 == 3 else 0)  # longer than the file itself
        Place(REPOSITORY).unfinished(etag(TRANSFORMER, data)).write_bytes(bytes(begun) + more)
        with card.round(BEGUN) as trial:
            delivered(trial, hub, vidgen(*FETCH))


def test_a_disk_too_small(card: Scorecard, hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    for free in some(2, (0, 1, 1024, hub.size() - 1, hub.size(), hub.size() + 64 * 2**20 - 1)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40, free))  # noqa: B023
        with card.round(SMALL) as trial, refused.nothing_written():
            refused.check(trial, vidgen(*FETCH), 6, "are to come")
            assert hub.served == 0


@pytest.mark.parametrize(("tried", "number"), [(FULL, errno.ENOSPC), (FULL, errno.EDQUOT), (BROKEN, errno.EIO)])
def test_a_disk_that_fails_at_any_piece(
    tried: object, number: int, card: Scorecard, hub: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, chosen = Growing.add, FULL if tried is FULL else BROKEN
    for nth in some(2, range(1, 40, 3)):
        forget(hub)
        left = [nth]

        def add(self: Growing, data: bytes, left: list[int] = left) -> int:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(number, "the disk fails")
            return plain(self, data)

        with card.round(chosen) as trial:
            monkeypatch.setattr(Growing, "add", add)
            answer = vidgen(*FETCH)
            monkeypatch.setattr(Growing, "add", plain)
            if left[0] > 0:  # fewer pieces came: this run passed untouched
                assert right(hub), answer.err
                return
            refused.check(trial, answer, 6)
            resumed(trial, hub, vidgen)


WASTE = 1.05
KILLED = fault("hub", 6, "SIGKILL ten times in a download", "served at most 1.05 times the size; every hash right")
STOPPED = {
    signal.SIGINT: fault("hub", 5, "Ctrl-C in a download", "130 within two seconds, and what came stays"),
    signal.SIGTERM: fault("hub", 5, "SIGTERM in a download", "143 within two seconds, and what came stays"),
}
SILENT = fault("hub", 5, "Ctrl-C while the hub is silent", "130 within two seconds, and what came stays")


def clean_of_the_token(trial: Trial, said: str) -> None:
    files = [path for path in Path.cwd().parent.rglob("*") if path.is_file()]
    if CANARY in said or [path for path in files if CANARY.encode() in path.read_bytes()]:
        trial.ran("the token is somewhere")


class Step:
    """Keeps a hub in step with the disk: what is under way is lost with a process, and more of it on a busy machine."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.held, self.over, self.behind = hub, False, False, 0

    def begin(self) -> None:
        """From now on the hub is no more than some pieces ahead."""
        self.held, self.over, self.behind = True, False, self.hub.served - kept()

    def end(self) -> None:
        """Nobody is there any more to be sent anything."""
        self.held, self.over = False, True

    def __call__(self) -> None:
        while self.held and self.hub.served - kept() > self.behind + 8 * self.hub.piece:
            time.sleep(0.001)
        if self.over:
            raise ConnectionResetError


def kept() -> int:
    """Bytes of files, whole or on their way, that are in the cache."""
    return sum(path.stat().st_size for path in Place(REPOSITORY).blobs.glob("*") if path.exists())


def test_killed_ten_times(card: Scorecard, hub: Hub, asked: Asked, tmp_path: Path) -> None:
    for number in rounds(1, 5):
        forget(hub)
        hub.files[REPOSITORY] = pipeline(seed=number, mib=4)
        hub.piece, step = 1536, Step(hub)
        hub.hold = step
        chance = random.Random(number)
        with card.round(KILLED) as trial:
            said = ""
            for percent in sorted(chance.sample(range(1, 96), 10)):
                step.begin()
                child = begin(FETCH, said=tmp_path / "said")
                until(lambda: hub.served >= hub.size() * percent // 100)  # noqa: B023 - it is called at once
                child.signal(signal.SIGKILL)
                ended = child.wait()
                step.end()
                assert ended.code == -signal.SIGKILL, ended.err
                said += ended.out + ended.err
            step.begin()
            ended = begin(FETCH, said=tmp_path / "said").wait()
            assert ended.code == 0, ended.err
            if not right(hub):
                trial.silent("not what the hub has")
            if hub.served > WASTE * hub.size():
                trial.lost(f"served {hub.served} of {hub.size()}")
            clean_of_the_token(trial, said + ended.out + ended.err)


@pytest.mark.parametrize("how", ["sigint", "sigterm", "silent"])
def test_stopped_anywhere(how: str, card: Scorecard, hub: Hub, asked: Asked, tmp_path: Path) -> None:
    chance = random.Random(how)
    number = signal.SIGTERM if how == "sigterm" else signal.SIGINT
    for _ in rounds(1, 10):
        forget(hub)
        hub.files[REPOSITORY] = pipeline(mib=1)
        hub.piece, hub.pace_s = 4096, 0.004
        with card.round(SILENT if how == "silent" else STOPPED[number]) as trial:
            child = begin(("download", MODEL), said=tmp_path / "said")
            share = chance.uniform(0.02, 0.9)
            until(lambda: hub.served >= hub.size() * share)  # noqa: B023 - it is called at once
            if how == "silent":
                hub.pace_s = 5.0
                time.sleep(0.1)
            child.signal(number)
            ended = child.wait()
            trial.stopped(ended.seconds)
            assert (ended.code, ended.out) == (128 + number, ""), ended.err
            assert "what came stays" in ended.err
            refused.plain(ended.err)
            if kept() < share * hub.size() - 64 * hub.piece:  # what was under way
                trial.lost(f"{kept()} bytes kept of {share * hub.size():.0f}")
            hub.pace_s = 0.0
            again = begin(FETCH, said=tmp_path / "said").wait()
            assert (again.code, right(hub)) == (0, True), again.err
            clean_of_the_token(trial, ended.err + again.err)
