"""Memory runs out: in every phase, once, for good, for real. The clip arrives, or what was finished is kept."""

import json
import resource
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.conftest import PLACES
from tests.faults.injected import KILLED, Injection, Tally, raising
from tests.faults.invariants import STEPS, Asked, Place
from tests.faults.score import Scorecard, fault, slow_but, some

ARRIVES = (
    "the clip arrives, with the same frames; stderr and the record say what was stepped down, and plans begin there"
)
KEPT = "exit 5; what was finished is kept, and the same command goes on from there"
LOWEST = "exit 5; what was finished is kept, and the same command goes on from there on the last rung, and says so"

RUNGS = 15
"""That a denoising with guidance goes down on a processor, the one that was planned among them."""

ONCE = {
    "encode": fault("memory", 10, "out of memory as words are encoded", ARRIVES),
    "forward": fault("memory", 10, "out of memory at every pass of the transformer", ARRIVES),
    "decode": fault("memory", 11, "out of memory as the VAE decodes", ARRIVES),
}
ALWAYS = {
    "forward": fault("memory", 10, "out of memory on every rung, from a pass of the transformer on", LOWEST),
    "decode": fault("memory", 11, "out of memory on every rung as the VAE decodes", LOWEST),
}
FORBIDDEN = {
    "forward": fault("memory", 10, "out of memory at a pass of the transformer, under --no-fallback", KEPT),
    "decode": fault("memory", 11, "out of memory as the VAE decodes, under --no-fallback", KEPT),
}
KILL = fault(
    "memory", 12, "SIGKILL after a step down", "the same command goes on; the frames are those that were begun"
)
LIMIT = fault(
    "memory", 12, "a process that may not grow, of every size", "a whole clip, or exit 5, 4 or 75 in a sentence"
)

ERRORS: list[Callable[[], BaseException]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: MemoryError(),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("site", slow_but(ONCE, "forward", "decode"))
def test_once(site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    calls = [(error, nth) for error in ERRORS for nth in range(1, asked.calls.of(site) + 1)]
    for error, nth in some(1, calls):
        with card.round(ONCE[site]) as trial:
            place = places()
            injection = Injection(site=site, nth=nth, act=raising(error))
            ended = place.run(injection=injection)
            place.unharmed(trial, ended, [0])
            place.clean(trial)
            adjustments = json.loads(Path("x.mkv.json").read_text())["adjustments"]
            if "ran out of memory" not in ended.err or not any("ran out of memory" in said for said in adjustments):
                trial.silent(f"nothing was said: {adjustments}")
            if ended.tally.of("forward") > asked.steps + 1:
                trial.lost("more than a step was done again")
            assert _planned(place) == "phase"


@pytest.mark.slow
@pytest.mark.parametrize("site", ALWAYS)
def test_always(site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    calls = [(error, nth) for error in ERRORS for nth in range(1, asked.calls.of(site) + 1)]
    for error, nth in some(1, calls):
        with card.round(ALWAYS[site]) as trial:
            # one pass failed on each rung; on the last, with guidance in turns, each step is two passes
            place = places(every=RUNGS + STEPS, detoured=True)
            injection = Injection(site=site, nth=nth, act=raising(error), on=True)
            ended = place.run(injection=injection)
            place.unharmed(trial, ended, [5])
            place.again(trial)


@pytest.mark.slow
@pytest.mark.parametrize("site", FORBIDDEN)
def test_forbidden(site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    calls = [(error, nth) for error in ERRORS for nth in range(1, asked.calls.of(site) + 1)]
    for error, nth in some(1, calls):
        with card.round(FORBIDDEN[site]) as trial:
            place = places()
            ended = place.run("--no-fallback", injection=Injection(site=site, nth=nth, act=raising(error)))
            place.unharmed(trial, ended, [5])
            place.again(trial)


@pytest.mark.slow
def test_killed_after_a_step_down(card: Scorecard, asked: Asked, places: PLACES) -> None:
    def act(tally: Tally, called: Any) -> None:
        if tally.of("forward") == 2:
            raise MemoryError
        KILLED(tally, called)

    for later in some(1, range(1, asked.steps)):
        with card.round(KILL) as trial:
            place = places(every=2)

            def once(tally: Tally, called: Any, later: int = later) -> None:
                if tally.of("forward") in (2, 2 + later):
                    act(tally, called)

            ended = place.run(injection=Injection(site="forward", nth=2, act=once, on=True))
            place.unharmed(trial, ended, [-9])
            place.again(trial)


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="asks Linux how large the process is; the raised errors stand for it"
)
def test_a_process_that_may_not_grow(card: Scorecard, places: PLACES) -> None:
    """As many megabytes more as it takes, until a run is not touched."""
    for megabytes in some(1, range(4, 124, 4)):
        with card.round(LIMIT) as trial:
            place = places(every=4)
            ended = place.run(before=partial(_limit, megabytes))
            place.unharmed(trial, ended, [0, 5, 75])
            place.again(trial)


def _planned(place: Place) -> object:
    words = ["plan", *place.asked.words, "--seed", "4", "-o", "z.mkv", "--json"]
    ended = place.begin(words=words).wait()
    return json.loads(ended.out)["rung"]["placement"]


def _limit(megabytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
