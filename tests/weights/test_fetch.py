"""Fetching from a real hub on this machine, while everything that can go wrong does."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Event as Flag

import pytest
from huggingface_hub import constants, hf_hub_download, scan_cache_dir, snapshot_download

from tests.loopback import COMMIT, MODEL, REPOSITORY, SISTER, UNWANTED, Fault, Hub, etag, pipeline, tensors
from vidgen import hub as here
from vidgen.catalog.cards import card
from vidgen.core.errors import OutputRefused, Refusal, TryLater, WeightsRefused
from vidgen.weights import answers
from vidgen.weights.answers import Asker, Dropped, Line, Patience
from vidgen.weights.fetch import Moment, fetch
from vidgen.weights.order import Order, State, orders
from vidgen.weights.place import Place, locked

TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
ALLOWED = [name for name in pipeline() if name not in UNWANTED]
NEXT = "f" * 40


def ordered(name: str = MODEL) -> Order:
    return orders([card(name)], Line())[0]


def fetched(name: str = MODEL) -> int:
    return fetch(ordered(name), lambda moment: None)


def right(hub: Hub, repository: str = REPOSITORY, commit: str = COMMIT) -> bool:
    """Whether every wanted file lies in the snapshot, byte for byte, as a link to a blob of its hash."""
    folder = Place(repository).snapshot(commit)
    wanted = {name: data for name, data in hub.files[repository].items() if name not in UNWANTED}
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    links = {name: path.readlink() for name, path in there.items()}
    return (
        {name: path.read_bytes() for name, path in there.items()} == wanted
        and not any(link.is_absolute() for link in links.values())
        and {name: link.name for name, link in links.items()} == {name: etag(name, wanted[name]) for name in wanted}
        and not list(Place(repository).blobs.glob("*.incomplete"))
    )


def test_what_is_fetched_is_what_the_hub_has_and_nothing_more_is_asked_for(hub: Hub) -> None:
    assert fetched() == hub.size() == hub.served
    assert right(hub)
    assert here.find(card(MODEL)).missing == ()
    assert not [asked.path for asked in hub.asked if any(asked.path.endswith(name) for name in UNWANTED)]
    assert not [asked.path for asked in hub.asked if "agent" in asked.path]


def test_other_tools_find_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched()
    served, cache = hub.served, constants.HF_HUB_CACHE
    found = Place(REPOSITORY).snapshot(COMMIT)
    assert snapshot_download(REPOSITORY, cache_dir=cache, allow_patterns=ALLOWED, endpoint=hub.endpoint) == str(found)
    assert hub.served == served
    scanned = scan_cache_dir(cache)
    assert (len(scanned.repos), scanned.warnings, list(scanned.incomplete_files)) == (1, [], [])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hf_hub_download(REPOSITORY, TRANSFORMER, cache_dir=cache) == str(found / TRANSFORMER)


def test_what_is_all_here_needs_no_right_to_write(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched()
    monkeypatch.setattr(Place, "prepare", lambda self: pytest.fail("it wrote"))
    assert fetched() == 0


def test_what_other_tools_fetched_is_not_fetched_again(hub: Hub) -> None:
    cache = constants.HF_HUB_CACHE
    snapshot_download(REPOSITORY, cache_dir=cache, allow_patterns=ALLOWED, endpoint=hub.endpoint)
    served = hub.served
    assert (fetched(), hub.served, right(hub)) == (0, served, True)


@pytest.mark.parametrize(
    ("fault", "again"),
    [
        (Fault("cut", TRANSFORMER, after=50_000, times=2), 0),
        (Fault("cut", "vae/diffusion", after=0, times=4), 0),
        (Fault("stall", TRANSFORMER, after=50_000, times=1), 0),
        (Fault("short", TRANSFORMER, times=1), 0),
        (Fault("long", TRANSFORMER, times=1), 16_384),
        (Fault("flip", TRANSFORMER, after=50_000, times=1), 132_000),
        (Fault("flip", "vae/config.json", after=1, times=1), 2),
        (Fault(at="resolve", status=429, headers={"Retry-After": "0"}, times=4), 0),
        (Fault(at="/api/models", status=429, headers={"ratelimit": '"api";r=0;t=0'}, times=2), 0),
        (Fault(at="/api/models", status=503, times=4), 0),
        (Fault(at=TRANSFORMER, status=500, times=4), 0),
        (Fault(at=TRANSFORMER, status=502, times=1), 0),
        (Fault(at="vae", status=408, times=1), 0),
    ],
    ids=lambda value: f"{value.kind or value.status} {value.at}" if isinstance(value, Fault) else "",
)
def test_what_passes_is_waited_for_and_no_byte_comes_twice(
    fault: Fault, again: int, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault.kind == "stall":
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1.0)
    hub.faults = [fault]
    fetched()
    assert right(hub)
    assert fault.times == 0
    assert hub.served <= hub.size() + again


def test_a_hub_that_ignores_the_range_gives_the_file_anew(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PATIENCE", Patience(tries=2, first_s=0.01))
    hub.faults = [Fault("cut", TRANSFORMER, after=50_000, times=1), Fault("whole", TRANSFORMER)]
    fetched()
    assert right(hub)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": format_datetime(datetime.now(UTC) - timedelta(seconds=9))}, 0.0),
        ({"Retry-After": "soon"}, 0.01),
        ({}, 0.01),
    ],
)
def test_the_wait_is_the_one_that_the_hub_asks_for(header: dict[str, str], wait: float, hub: Hub) -> None:
    waits: list[float | None] = []

    class Watched(Flag):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            return False

    hub.faults = [Fault(at="/api/models", status=503, headers=header, times=1)]
    orders([card(MODEL)], Line(stop=Watched()))
    assert waits == [wait]


def test_waits_grow_and_end() -> None:
    patience = Patience(first_s=1.0, longest_s=10.0)
    assert [patience.wait_s(tried, None) for tried in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_a_wait_too_long_is_not_waited(hub: Hub) -> None:
    hub.faults = [Fault(at="/api/models", status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(TryLater) as refused:
        ordered()
    assert (len(hub.asked), "in 3600 seconds" in refused.value.remedy) == (1, True)


def test_a_stop_ends_a_wait() -> None:
    line = Line()
    line.stop.set()
    with pytest.raises(Dropped):
        Asker("a/b", "", line).again(_unwell())


def test_a_long_wait_is_told_of(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(answers, "TOLD_S", 0.0)
    hub.faults = [Fault(at="vae/config.json", status=429, headers={"Retry-After": "0"}, times=1)]
    fetch(ordered(), lambda moment: told.append(moment.note) if moment.note else None)
    assert told == ["the hub is busy (429): waiting 0 s"]


def test_a_model_whose_index_names_what_its_repository_lacks_is_not_called_whole(hub: Hub) -> None:
    del hub.files[REPOSITORY]["text_encoder/model-00002-of-00002.safetensors"]
    with pytest.raises(WeightsRefused, match=r"is not whole: text_encoder/model-00002-of-00002.safetensors"):
        fetched()


def _unwell() -> Exception:
    from httpx2 import ConnectError

    return ConnectError("gone")


def test_a_file_that_always_arrives_damaged_is_refused_and_never_delivered(hub: Hub) -> None:
    hub.faults = [Fault("flip", TRANSFORMER, after=1000)]
    with pytest.raises(WeightsRefused, match=r"arrived damaged 3 times"):
        fetched()
    blob = Place(REPOSITORY).blob(etag(TRANSFORMER, hub.files[REPOSITORY][TRANSFORMER]))
    assert not blob.exists()
    assert here.find(card(MODEL)).missing


def test_a_beginning_that_a_disk_has_spoiled_costs_one_more_fetch(hub: Hub) -> None:
    place = Place(REPOSITORY)
    place.prepare()
    place.unfinished(etag(TRANSFORMER, hub.files[REPOSITORY][TRANSFORMER])).write_bytes(b"spoiled" * 1000)
    fetched()
    assert right(hub)


@pytest.mark.parametrize("extra", [0, 5])
def test_a_file_that_was_all_there_before_a_crash_is_only_looked_at(extra: int, hub: Hub) -> None:
    place, data = Place(REPOSITORY), hub.files[REPOSITORY][TRANSFORMER]
    place.prepare()
    place.unfinished(etag(TRANSFORMER, data)).write_bytes(data + b"x" * extra)
    assert fetched() == hub.size() - (0 if extra else len(data))
    assert right(hub)


def test_a_fetch_goes_on_where_the_last_one_stopped(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PATIENCE", Patience(tries=1))
    hub.faults = [Fault("cut", TRANSFORMER, after=50_000, times=1)]
    with pytest.raises(TryLater):
        fetched()
    (item,) = [item for item in ordered().items if item.file.name == TRANSFORMER]
    assert (item.state, item.have) == (State.PARTLY, 49_152)
    fetched()
    assert [asked.range for asked in hub.asked if asked.path.endswith(TRANSFORMER) and asked.large][-1] == (
        "bytes=49152-"
    )
    assert right(hub)
    # pieces of other files may have been on their way when the first fetch gave up: those of this one came once
    (served,) = [sent for path, sent in hub.sent.items() if path.endswith(TRANSFORMER)]
    assert served == len(hub.files[REPOSITORY][TRANSFORMER])


def test_a_file_of_another_repository_is_shared_and_lies_on_the_disk_once(hub: Hub) -> None:
    hub.files[SISTER] = pipeline(seed=50)
    assert fetched() == hub.size()
    order = ordered("ltx-video-2b-0.9.1")
    shards = [item for item in order.items if item.shared]
    assert {item.file.name for item in shards} >= {f"text_encoder/model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    assert all((item.state, item.shared) == (State.SHARED, REPOSITORY) for item in shards)
    served = hub.served
    assert fetch(order, lambda moment: None) == order.to_fetch == hub.served - served
    assert right(hub, SISTER)
    name = "text_encoder/model-00001-of-00002.safetensors"
    assert (Place(SISTER).snapshot(COMMIT) / name).samefile(Place(REPOSITORY).snapshot(COMMIT) / name)


def test_a_damaged_file_of_another_repository_is_not_shared(hub: Hub) -> None:
    hub.files[SISTER] = pipeline(seed=50)
    fetched()
    name = "text_encoder/model-00001-of-00002.safetensors"
    spoiled = (Place(REPOSITORY).snapshot(COMMIT) / name).resolve()
    spoiled.write_bytes(bytes([spoiled.read_bytes()[0] ^ 1]) + spoiled.read_bytes()[1:])
    fetched("ltx-video-2b-0.9.1")
    assert right(hub, SISTER)


def test_two_models_of_one_command_count_a_shared_file_once(hub: Hub) -> None:
    hub.files[SISTER] = pipeline(seed=50)
    found = orders([card(MODEL), card("ltx-video-2b-0.9.1")], Line())
    for order in found:
        fetch(order, lambda moment: None)
    assert sum(order.to_fetch for order in found) == hub.served
    assert right(hub, SISTER)


def test_a_newer_version_brings_only_what_changed_and_the_older_one_serves_until_then(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched()
    served, found = hub.served, here.find(card(MODEL)).folder
    hub.commits[REPOSITORY] = NEXT
    hub.files[REPOSITORY]["vae/diffusion_pytorch_model.safetensors"] = tensors(7, 5000)
    monkeypatch.setattr(answers, "PATIENCE", Patience(tries=1))
    hub.faults = [Fault(at="vae", status=503, times=1)]
    with pytest.raises(TryLater):
        fetched()
    assert here.find(card(MODEL)).folder == found
    fetched()
    assert hub.served - served == len(tensors(7, 5000))
    assert here.find(card(MODEL)).folder == Place(REPOSITORY).snapshot(NEXT)


def test_a_pinned_revision_is_asked_for_by_its_commit(hub: Hub) -> None:
    hub.commits[REPOSITORY] = NEXT
    pinned = replace(card(MODEL), revision=NEXT)
    fetch(orders([pinned], Line())[0], lambda moment: None)
    assert here.find(pinned).missing == ()
    assert hub.asked[0].path.endswith(f"/revision/{NEXT}")


def test_what_other_tools_left_behind_is_swept_unless_they_are_at_it(hub: Hub) -> None:
    place = Place(REPOSITORY)
    place.prepare()
    orphan, live = (place.blobs / f"{letter * 64}.12345678.incomplete" for letter in "ab")
    for path in (orphan, live):
        path.write_bytes(b"x")
    with locked(place.lock("b" * 64), wanted=lambda: True):
        fetched()
    assert (orphan.exists(), live.exists()) == (False, True)


def test_twenty_at_once_fetch_every_byte_once(hub: Hub) -> None:
    with ThreadPoolExecutor(20) as crew:
        counts = list(crew.map(lambda _: fetched(), range(20)))
    assert (sum(counts), hub.served) == (hub.size(), hub.size())
    assert right(hub)


def test_progress_ends_at_the_sum_whatever_happened_on_the_way(hub: Hub) -> None:
    moments: list[Moment] = []
    hub.faults = [Fault("flip", TRANSFORMER, after=50_000, times=1), Fault("whole", "vae/diff", times=1)]
    fetch(ordered(), moments.append)
    assert (moments[-1].done, moments[-1].total) == (hub.size(), hub.size())


def test_a_listener_stops_it_by_raising_and_what_came_stays(hub: Hub) -> None:
    hub.pace_s = 0.01

    def stop(moment: Moment) -> None:
        if moment.done > 20_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(ordered(), stop)
    have = sum(item.have for item in ordered().items)
    assert have >= 20_000
    hub.pace_s = 0.0
    assert fetched() == hub.size() - have
    assert right(hub)


def test_a_full_disk_is_said_and_what_came_stays(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("vidgen.weights.growing.Growing.add", full)
        with pytest.raises(OutputRefused, match="is full"):
            fetched()
    fetched()
    assert right(hub)


def test_whatever_a_thread_meets_reaches_the_person(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(self: object, data: bytes) -> int:
        raise TimeoutError(110, "Connection timed out")  # as a network's file system has it

    monkeypatch.setattr("vidgen.weights.growing.Growing.add", late)
    with pytest.raises(OutputRefused, match="timed out"):
        fetched()


def test_a_neighbour_that_cannot_be_read_is_not_shared(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files[SISTER] = pipeline(seed=50)
    fetched()

    def bad(path: Path, etag: str, told: object) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("vidgen.weights.hashes.is_whole", bad)
    fetched("ltx-video-2b-0.9.1")
    assert right(hub, SISTER)


def test_a_cache_that_cannot_be_written_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(Path("file").resolve() / "hub"))
    order = ordered()
    with pytest.raises(Refusal) as refused:
        fetch(order, lambda moment: None)
    assert (refused.value.exit_code, "cannot write in" in refused.value.message) == (6, True)


@pytest.mark.parametrize("harm", [{"sha": "../.."}, {"siblings": None}])
def test_a_hub_that_is_none_is_not_believed(harm: dict[str, object], hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidgen.weights import listing

    told = listing._info
    monkeypatch.setattr(listing, "_info", lambda card: _with(told(card), harm))
    with pytest.raises(Refusal):
        ordered()


def _with(info: object, harm: dict[str, object]) -> object:
    for name, value in harm.items():
        setattr(info, name, value)
    return info
