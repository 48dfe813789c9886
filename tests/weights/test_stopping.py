"""Downloads that are killed, stopped and run beside each other, as real processes."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.loopback import (
    CANARY,
    COMMIT,
    MODEL,
    REPOSITORY,
    SISTER,
    UNWANTED,
    Hub,
    etag,
    pipeline,
    running,
    until,
)

KILLS = 10
WASTE = 1.05
LISTING = 16 * 1024
"""Bytes of small files that may come again, for their names and tables."""

DOWNLOAD = [sys.executable, "-m", "vidgen", "download", MODEL]
LONG_STOP_S = 2.0


def started(hub: Hub, *more: str, words: list[str] | None = None, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*(words or DOWNLOAD), *more],
        env={**hub.environment(Path("home").resolve()), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def right(hub: Hub, repository: str = REPOSITORY) -> bool:
    snapshot = Path("home/hub") / f"models--{repository.replace('/', '--')}" / "snapshots" / COMMIT
    wanted = {name: data for name, data in hub.files[repository].items() if name not in UNWANTED}
    return all(etag(name, (snapshot / name).read_bytes()) == etag(name, data) for name, data in wanted.items())


def kept() -> int:
    """Bytes of files, whole or on their way, that are in the cache."""
    return sum(path.stat().st_size for path in Path("home/hub").glob("*/blobs/*"))


def test_killed_ten_times_it_still_fetches_every_byte_about_once() -> None:
    with running() as hub:
        hub.files[REPOSITORY] = pipeline(mib=12)
        hub.piece, hub.pace_s = 4096, 0.005  # what is under way when a process dies is lost, and counts
        places = sorted(random.Random(4).sample(range(1, 95), KILLS))
        for percent in places:
            process = started(hub, "-q")
            target = hub.size() * percent // 100
            until(lambda: hub.served >= target)  # noqa: B023 - it is called at once
            process.kill()
            assert finished(process)[0] == -signal.SIGKILL
        hub.pace_s = 0.0
        assert finished(started(hub))[0] == 0
        assert right(hub)
        print(f"served {hub.served} of {hub.size()}: {hub.served / hub.size():.4f}")
        assert hub.served <= WASTE * hub.size() + LISTING
        assert not list(Path("home/hub").glob("*/blobs/*.incomplete"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("stalled", [False, True], ids=["at work", "while the hub is silent"])
def test_a_stop_is_prompt_and_keeps_what_came(number: int, code: int, stalled: bool) -> None:
    with running() as hub:
        hub.files[REPOSITORY] = pipeline(mib=4)
        hub.pace_s = 0.01
        process = started(hub)
        until(lambda: hub.served > hub.size() // 3)
        hub.pace_s = 60.0 if stalled else 0.01
        time.sleep(0.1)
        began = time.monotonic()
        process.send_signal(number)
        ended, out, err = finished(process)
        seconds = time.monotonic() - began
        print(f"stopped in {seconds:.2f} s")
        assert (ended, out) == (code, "")
        assert "what came stays" in err
        assert "Traceback" not in err
        assert seconds < LONG_STOP_S
        assert kept() > hub.size() // 4


def test_after_a_stop_the_same_command_goes_on() -> None:
    with running() as hub:
        hub.files[REPOSITORY] = pipeline(mib=4)
        hub.pace_s = 0.01
        process = started(hub)
        until(lambda: hub.served > hub.size() // 2)
        process.send_signal(signal.SIGINT)
        assert finished(process)[0] == 130
        hub.pace_s = 0.0
        code, _, err = finished(started(hub))
        assert (code, " here" in err) == (0, True)
        assert right(hub)
        assert hub.served <= WASTE * hub.size() + LISTING


def test_two_processes_at_once_share_the_work() -> None:
    with running() as hub:
        hub.files[REPOSITORY] = pipeline(mib=2)
        hub.pace_s = 0.01
        ends = [finished(process) for process in [started(hub, "-q") for _ in range(2)]]
        assert [code for code, _, _ in ends] == [0, 0]
        assert ends[0][1] == ends[1][1]
        assert (right(hub), hub.served) == (True, hub.size())


def test_one_killed_beside_another_does_it_no_harm() -> None:
    with running() as hub:
        hub.files[REPOSITORY] = pipeline(mib=2)
        hub.pace_s = 0.01
        first, second = started(hub, "-q"), started(hub, "-q")
        until(lambda: hub.served > hub.size() // 3)
        first.kill()
        finished(first)
        assert finished(second)[0] == 0
        assert right(hub)


def test_a_token_goes_to_the_hub_and_nowhere_else() -> None:
    with running(**{SISTER: pipeline(seed=9)}) as hub:
        hub.gated, hub.tokens = {REPOSITORY}, {CANARY}
        said = [
            finished(started(hub, *more, words=words, HF_TOKEN=CANARY, VIDGEN_DEBUG="1"))
            for words, more in [
                (DOWNLOAD, ["--dry-run", "--json"]),
                (DOWNLOAD, ["--json", "--progress", "json"]),
                (DOWNLOAD, ["--verify"]),
                ([*DOWNLOAD[:-1], "ltx-video"], []),
            ]
        ]
        assert [code for code, _, _ in said] == [0, 0, 0, 4]
        assert not [asked.path for asked in hub.asked if "agent" in asked.path]
        assert {asked.authorised for asked in hub.asked if not asked.large} == {True}
        assert {asked.authorised for asked in hub.asked if asked.large} == {False}
    assert not any(CANARY in text for _, out, err in said for text in (out, err))
    files = [path for path in Path().rglob("*") if path.is_file()]
    assert not [path for path in files if CANARY.encode() in path.read_bytes() or CANARY in str(path)]


def test_a_download_loads_neither_torch_nor_numpy() -> None:
    script = """
import sys
from vidgen.cli.app import start
code = start(sys.argv[1:])
print(code, sorted({"torch", "diffusers", "transformers", "numpy"} & set(sys.modules)), file=sys.stderr)
"""
    with running() as hub:
        code, _, err = finished(started(hub, words=[sys.executable, "-c", script, "download", MODEL, "-q"]))
    assert (code, err) == (0, "0 []\n")


def test_the_variables_of_hugging_face_mean_what_they_mean_elsewhere() -> None:
    with running() as hub:
        assert finished(started(hub, HF_HUB_CACHE=str(Path("cache").resolve())))[0] == 0
        assert len(list(Path("cache").glob("models--*/snapshots/*/model_index.json"))) == 1
        code, _, err = finished(started(hub, HF_HUB_OFFLINE="1"))
        assert (code, "HF_HUB_OFFLINE is set" in err) == (4, True)
        assert finished(started(hub, "-q", HF_HUB_DISABLE_XET="1"))[0] == 0
    assert right(hub)
