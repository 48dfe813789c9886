"""Killed, stopped and stopped once more, at every step and every frame: nothing that was finished is lost."""

import fcntl
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.conftest import PLACES
from tests.faults.injected import KILLED, Injection, signalled
from tests.faults.invariants import STEPS, Asked
from tests.faults.score import Scorecard, fault, rounds, slow_but, some
from vidgen.media.inspect import digest

GOES_ON = "the same command goes on from the last artefact; the frames are those of an undisturbed run, bit for bit"
STOPS = "ends at once or after the step at work, with 130, 143 or 129; the same command goes on"
LIMIT_S = 20.0
"""A machine may be busy; what a stop took at worst is in the scorecard."""

KILLS = {
    "step": fault("signals", 1, "SIGKILL at every step of the scheduler", GOES_ON),
    "feed": fault("signals", 2, "SIGKILL at every frame on its way to ffmpeg", GOES_ON),
    "forward": fault("signals", 1, "SIGKILL within every pass of the transformer", GOES_ON),
    "decode": fault("signals", 2, "SIGKILL as the VAE decodes", GOES_ON),
    "spawn": fault("signals", 2, "SIGKILL as every ffmpeg begins", GOES_ON),
    "finish": fault("signals", 2, "SIGKILL as every ffmpeg ends", GOES_ON),
    "open": fault("signals", 1, "SIGKILL at every file opened", GOES_ON),
    "write": fault("signals", 1, "SIGKILL at every write", GOES_ON),
    "fsync": fault("signals", 1, "SIGKILL at every fsync", GOES_ON),
    "place": fault("signals", 1, "SIGKILL at every file put in place", GOES_ON),
}
SPARSE = fault("signals", 1, "SIGKILL between checkpoints", "no more work is repeated than one checkpoint interval")
AGAIN = fault("signals", 1, "SIGKILL again and again, at any time", GOES_ON)
STOPPED = {
    signal.SIGINT: fault("signals", 3, "Ctrl-C at every call", STOPS),
    signal.SIGTERM: fault("signals", 4, "SIGTERM at every call", STOPS),
    signal.SIGHUP: fault("signals", 4, "hung up at every call", STOPS),
}
TWICE = fault("signals", 3, "Ctrl-C twice", "the second ends it at once, with 130; what was kept stays")
ANY_TIME = {
    signal.SIGINT: fault("signals", 3, "Ctrl-C at any time", STOPS),
    signal.SIGTERM: fault("signals", 4, "SIGTERM at any time", STOPS),
    signal.SIGHUP: fault("signals", 4, "hung up at any time", STOPS),
}
WAITING = fault("signals", 3, "Ctrl-C while it waits for another vidgen", "ends at once with 130; the other is let be")
NOHUP = fault("signals", 4, "hung up under nohup", "works on to the end")
REAL = {
    signal.SIGKILL: fault("signals", 1, "SIGKILL of a process begun by a shell", GOES_ON),
    signal.SIGINT: fault("signals", 3, "Ctrl-C of a process begun by a shell", STOPS),
    signal.SIGTERM: fault("signals", 4, "SIGTERM of a process begun by a shell", STOPS),
}


@pytest.mark.parametrize("site", slow_but(KILLS, "step", "feed"))
def test_killed(site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    for nth in asked.each(site, 1):
        with card.round(KILLS[site]) as trial:
            place = places()
            ended = place.run(injection=Injection(site=site, nth=nth, act=KILLED))
            place.unharmed(trial, ended, [-signal.SIGKILL] if nth <= asked.calls.of(site) else [0])
            place.again(trial)


@pytest.mark.slow
def test_work_repeated_is_no_more_than_an_interval(card: Scorecard, places: PLACES) -> None:
    for every, step in some(1, [(every, step) for every in (2, 3) for step in range(1, STEPS + 1)]):
        with card.round(SPARSE) as trial:
            place = places(every=every)
            more = ("--checkpoint-every", str(every))
            ended = place.run(*more, injection=Injection(site="step", nth=step, act=KILLED))
            place.unharmed(trial, ended, [-signal.SIGKILL])
            place.again(trial, *more)


@pytest.mark.slow
def test_killed_again_and_again(card: Scorecard, places: PLACES) -> None:
    for number in rounds(1, 30):
        chance = random.Random(number)
        with card.round(AGAIN) as trial:
            place = places(every=9)
            for _ in range(3):
                stood, running = place.output.exists(), place.begin()
                running.signal(signal.SIGKILL, chance.uniform(0, 0.5))
                ended = place.seen(running.wait())
                place.unharmed(trial, ended, [-signal.SIGKILL, 6 if stood else 0])
            place.again(trial)


@pytest.mark.parametrize(
    ("number", "site"),
    slow_but(
        [(number, site) for number in STOPPED for site in KILLS if site not in ("open", "fsync")],
        (signal.SIGINT, "step"),
        (signal.SIGTERM, "feed"),
        (signal.SIGHUP, "forward"),
    ),
)
def test_stopped(number: signal.Signals, site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    for nth in asked.each(site, 1):
        with card.round(STOPPED[number]) as trial:
            place = places()
            ended = place.run(injection=Injection(site=site, nth=nth, act=signalled(number)))
            untouched = nth > asked.calls.of(site)
            place.unharmed(trial, ended, [0] if untouched else [128 + number, 0 if place.output.exists() else -1])
            trial.stopped(0.0 if untouched else ended.seconds)
            assert ended.seconds < LIMIT_S
            place.again(trial)


@pytest.mark.parametrize("site", slow_but(["step", "forward", "feed", "decode"], "step"))
def test_stopped_twice(site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    for nth in some(1, range(1, asked.calls.of(site) + 1)):
        with card.round(TWICE) as trial:
            place = places()
            ended = place.run(injection=Injection(site=site, nth=nth, act=signalled(signal.SIGINT, 2)))
            place.unharmed(trial, ended, [130])
            trial.stopped(ended.seconds)
            assert ended.seconds < LIMIT_S
            place.again(trial)


@pytest.mark.slow
@pytest.mark.parametrize("number", ANY_TIME, ids=lambda number: number.name)
def test_stopped_at_any_time(number: signal.Signals, card: Scorecard, places: PLACES) -> None:
    for seed in rounds(1, 50):
        with card.round(ANY_TIME[number]) as trial:
            place = places(every=2)
            running = place.begin()
            running.signal(number, random.Random(seed).uniform(0, 0.6))
            ended = place.seen(running.wait())
            place.unharmed(trial, ended, [128 + number, 0 if place.output.exists() else 128 + number])
            trial.stopped(ended.seconds if ended.code else 0.0)
            assert ended.seconds < LIMIT_S
            place.again(trial)


def test_stopped_while_it_waits(card: Scorecard, places: PLACES) -> None:
    for _ in rounds(1, 5):
        with card.round(WAITING) as trial:
            place = places()
            held = place.folder / "x.mkv.part"
            held.mkdir()
            with (held / "claim").open("wb") as claim:
                fcntl.flock(claim, fcntl.LOCK_EX)
                running = place.begin("--wait")
                running.signal(signal.SIGINT, 0.5)
                ended = place.seen(running.wait())
            place.unharmed(trial, ended, [130])
            trial.stopped(ended.seconds)
            place.again(trial)


@pytest.mark.slow
def test_hung_up_under_nohup(card: Scorecard, places: PLACES) -> None:
    for nth in some(1, range(1, STEPS + 1)):
        with card.round(NOHUP) as trial:
            place = places()
            injection = Injection(site="step", nth=nth, act=signalled(signal.SIGHUP))
            ended = place.run(injection=injection, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
            place.unharmed(trial, ended, [0])
            place.clean(trial)


@pytest.mark.slow
@pytest.mark.parametrize("number", REAL, ids=lambda number: number.name)
def test_a_process_of_a_shell(number: signal.Signals, card: Scorecard, places: PLACES, asked: Asked) -> None:
    """Its latents come from a process that was not forked, and are decoded by one that was: the frames are the same."""
    for _ in rounds(1, 2):
        with card.round(REAL[number]) as trial:
            place = places()
            os.chdir(place.folder)
            words = [sys.executable, "-m", "vidgen", *asked.words, "--progress", "json"]
            with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr is not None
                assert any('"phase": "decode"' in line for line in process.stderr)
                process.send_signal(number)
                began = time.monotonic()
                err = process.communicate(timeout=60)[1]
            trial.stopped(time.monotonic() - began)
            assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), err
            place.again(trial)
            if digest(Path("x.mkv")) != asked.whole:
                trial.silent("a process of its own makes other frames")
