"""Many at once on one output and on one cache: one winner, clear words for the others, and no broken file."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults import refused
from tests.faults.children import CANARY, Ended, begin
from tests.faults.invariants import Asked
from tests.faults.score import Scorecard, Trial, fault, rounds, some
from tests.faults.test_hub import FETCH, forget
from tests.loopback import REPOSITORY, Hub, pipeline
from tests.weights.test_fetch import right
from vidgen.media.inspect import digest

ONE = "one clip, whole, of an undisturbed run's frames; 75 or 6 and a sentence for the others"
SAME = fault("concurrency", 41, "two to twenty of one command at one output", ONE)
WAITING = fault("concurrency", 41, "two to twenty of one command, each willing to wait", ONE)
OTHERS = fault(
    "concurrency", 41, "different clips at one output", "one clip, whole; 75 or 6 and a sentence for the others"
)
REPLACING = fault("concurrency", 41, "several that may replace the clip", "one whole clip at the end")
NEIGHBOURS = fault("concurrency", 41, "different outputs in one folder", "each its own clip")
CACHE = fault("concurrency", 42, "two to twenty downloads into one cache", "every byte served once; all end with 0")
SPOILT = fault("concurrency", 42, "downloads at once from a hub that cuts off", "every hash right; all end with 0")
MENDING = fault("concurrency", 42, "repairs at once of one damaged file", "every hash right; all end with 0")


def all_of(lines: Sequence[Sequence[str]], folder: Path) -> list[Ended]:
    """Command lines at once, in this folder."""
    running = [begin(words, said=folder / str(number)) for number, words in enumerate(lines)]
    return [child.wait() for child in running]


def others_are_told(trial: Trial, ended: Sequence[Ended], winners: int) -> None:
    """So many ended with 0, and each other one said why it did not."""
    codes = Counter(child.code for child in ended)
    assert codes[0] == winners, f"{codes}: {[child.err[-300:] for child in ended]}"
    assert set(codes) <= {0, 6, 75}, codes
    for child in ended:
        if child.code:
            assert child.out == ""
            refused.plain(child.err)
            assert "x.mkv" in child.err
        if CANARY in child.out + child.err:
            trial.ran("the token was said")


def only(*names: str) -> None:
    """Assert that nothing lies here but these, and their records."""
    wanted = {*names, *(f"{name}.json" for name in names)}
    assert {path.name for path in Path().iterdir()} == wanted


def fresh(name: str, patch: pytest.MonkeyPatch) -> None:
    Path(name).mkdir()
    patch.chdir(name)


@pytest.mark.parametrize("wait", [False, True], ids=["at once", "waiting"])
def test_one_command_at_one_output(
    wait: bool, card: Scorecard, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (2, 20) if not wait else (2, 5)
    for number, many in enumerate([*sizes[:1], *(sizes[1:] * len(rounds(1, 3)))]):
        with card.round(WAITING if wait else SAME) as trial, monkeypatch.context() as patch:
            fresh(f"round{number}", patch)
            ended = all_of([[*asked.words, *(["--wait"] if wait else [])]] * many, tmp_path / "said")
            others_are_told(trial, ended, 1)
            if digest(Path("x.mkv")) != asked.whole:
                trial.silent("other frames")
            only("x.mkv")


def test_different_clips_at_one_output(
    card: Scorecard, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in rounds(1, 3):
        with card.round(OTHERS) as trial, monkeypatch.context() as patch:
            fresh(f"round{number}", patch)
            lines = [[*asked.words, "--seed", str(seed)] for seed in (3, 4, 5)]
            others_are_told(trial, all_of(lines, tmp_path / "said"), 1)
            digest(Path("x.mkv"))
            left = [path.name for path in Path().iterdir() if path.name not in ("x.mkv", "x.mkv.json")]
            assert all(name.endswith(".part") for name in left), left  # the others' latents: they may go elsewhere


def test_several_that_may_replace(
    card: Scorecard, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in rounds(1, 3):
        with card.round(REPLACING) as trial, monkeypatch.context() as patch:
            fresh(f"round{number}", patch)
            ended = all_of([[*asked.words, "--overwrite", "--wait"]] * 3, tmp_path / "said")
            others_are_told(trial, ended, 3)
            if digest(Path("x.mkv")) != asked.whole:
                trial.silent("other frames")
            only("x.mkv")


def test_different_outputs_in_one_folder(
    card: Scorecard, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in rounds(1, 2):
        with card.round(NEIGHBOURS) as trial, monkeypatch.context() as patch:
            fresh(f"round{number}", patch)
            names = [f"{letter}.mkv" for letter in "abc"]
            ended = all_of([[*asked.words, "-o", name] for name in names], tmp_path / "said")
            assert [child.code for child in ended] == [0, 0, 0], [child.err for child in ended]
            if {digest(Path(name)) for name in names} != {asked.whole}:
                trial.silent("other frames")
            only(*names)


def fetched_by_all(trial: Trial, hub: Hub, ended: Sequence[Ended]) -> None:
    assert {child.code for child in ended} == {0}, [child.err for child in ended]
    if not right(hub):
        trial.silent("not what the hub has")


@pytest.mark.usefixtures("asked")
def test_downloads_into_one_cache(card: Scorecard, hub: Hub, tmp_path: Path) -> None:
    for many in some(2, (2, 3, 5, 8, 12, 20)):
        forget(hub)
        hub.pace_s = 0.001
        with card.round(CACHE) as trial:
            fetched_by_all(trial, hub, all_of([FETCH] * many, tmp_path / "said"))
            if hub.served > 1.05 * hub.size():
                trial.lost(f"{hub.served} bytes of {hub.size()} were served")


@pytest.mark.usefixtures("asked")
def test_downloads_at_once_from_a_hub_that_cuts_off(card: Scorecard, hub: Hub, tmp_path: Path) -> None:
    from tests.loopback import Fault

    chance = random.Random(42)
    for _ in rounds(1, 6):
        forget(hub)
        hub.files[REPOSITORY] = pipeline()
        cuts = [Fault("cut", "diffusion", after=chance.randrange(60_000), times=1) for _ in range(3)]
        hub.faults = [*cuts, Fault(at="resolve", status=503, times=2)]
        with card.round(SPOILT) as trial:
            fetched_by_all(trial, hub, all_of([FETCH] * 3, tmp_path / "said"))


@pytest.mark.usefixtures("asked")
def test_repairs_at_once(card: Scorecard, hub: Hub, tmp_path: Path) -> None:
    from tests.faults.test_hub import TRANSFORMER
    from tests.loopback import COMMIT
    from vidgen.weights.place import Place

    assert begin(FETCH, said=tmp_path / "said").wait().code == 0
    for number in rounds(1, 5):
        blob = (Place(REPOSITORY).snapshot(COMMIT) / TRANSFORMER).resolve()
        data = bytearray(blob.read_bytes())
        data[1000 + number] ^= 1
        blob.write_bytes(data)
        with card.round(MENDING) as trial:
            fetched_by_all(trial, hub, all_of([(*FETCH, "--repair")] * 4, tmp_path / "said"))
