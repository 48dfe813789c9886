"""docs/ci.md as it is written: its job's commands, from a cold start, where every use of the network is an error."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tools.docs import DOCS

ALONE = """
import json, shlex, sys

met = []
outward = ("connect", "sendto", "sendmsg", "getaddrinfo", "gethostbyname", "gethostbyaddr")

def hear(event, words):
    if event.startswith("socket.") and event.endswith(outward):
        met.append(f"{event} {words}")
        raise PermissionError(f"no network here: {event}")

sys.addaudithook(hear)
from vidgen.cli.app import start
codes = [start(shlex.split(line)[1:]) for line in sys.argv[1:]]
sys.stderr.write("\\n" + json.dumps([codes, met]))
"""


def lines() -> list[str]:
    """The vidgen commands of the job."""
    [job] = re.findall(r"```yaml\n(.*?)```", (DOCS / "ci.md").read_text(encoding="utf-8"), re.DOTALL)
    return [line.strip() for line in job.splitlines() if line.strip().startswith("vidgen ")]


def alone(*words: str) -> subprocess.CompletedProcess[str]:
    """These commands in a fresh interpreter that may not use the network, and is not told to leave it alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "VIDGEN_"))}
    return subprocess.run(
        [sys.executable, "-c", ALONE, *words],
        env={**environment, "HOME": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_job_runs_as_written_from_a_cold_start_and_never_asks_for_the_network() -> None:
    assert [line.split()[:2] for line in lines()] == [["vidgen", "smoke"]] * 2
    done = alone(*lines())
    codes, met = json.loads(done.stderr.rpartition("\n")[2])
    assert (codes, met) == ([0, 0], []), done.stdout + done.stderr
    assert "6 of 6 clips of pocket are as asked" in done.stdout
    suite = ElementTree.parse("smoke.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("6", "0")


def test_the_hook_hears_whoever_asks_for_the_network() -> None:
    words = "import socket; socket.create_connection(('192.0.2.1', 9), 1)"
    heard = subprocess.run(
        [sys.executable, "-c", ALONE.partition("from vidgen")[0] + words], capture_output=True, text=True, check=False
    )
    assert "no network here" in heard.stderr


@pytest.mark.slow
def test_it_takes_less_than_30_seconds() -> None:
    """True of two cores that nobody else uses."""
    began = time.monotonic()
    assert alone("vidgen smoke").returncode == 0
    assert time.monotonic() - began < 30
