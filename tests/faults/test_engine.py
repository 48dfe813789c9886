"""What vidgen stands on breaks: numbers that are none, ffmpeg that dies or lies, libraries that are others."""

import json
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.conftest import PLACES
from tests.faults.injected import Injection, ffmpeg_dies, raising
from tests.faults.invariants import Asked, Place
from tests.faults.score import Fault, Scorecard, fault, slow_but, some

SEEN = "exit 7 at that step, and the checkpoint before it is kept; the same command goes on from there"
CHECKED = "exit 7, and the latents are kept; the same command decodes them again"
TOLD = "a clip, and its record and stderr say what is odd about it: it may have been meant so"
DIES = "exit 6 or 7 with ffmpeg's own words, no clip; the same command goes on"
OURS = "exit 1 with a traceback, and nothing is lost; the same command goes on"

Spoil = Callable[[Any], Any]


def times(factor: float) -> Spoil:
    """Every number of it so many times as large, or no number any more."""
    return lambda given: (given[0] * factor, *given[1:])


def filled(value: float) -> Spoil:
    """The decoder gives a video of this value."""
    return lambda given: (torch.full_like(given[0], value),)


def moving(given: Any) -> Any:
    """A video of one column that moves: it is in order."""
    video = torch.zeros_like(given[0])
    for frame in range(video.shape[2]):
        video[:, :, frame, :, frame : frame + 4] = 1.0
    return (video,)


SPOILT: dict[str, tuple[Fault, str, Spoil]] = {
    "step-nan": (fault("engine", 26, "NaN at every step", SEEN), "step", times(float("nan"))),
    "step-inf": (fault("engine", 26, "infinity at every step", SEEN), "step", times(float("inf"))),
    "step-large": (fault("engine", 26, "latents that explode at every step", SEEN), "step", times(1e6)),
    "forward-nan": (fault("engine", 26, "NaN of every pass of the transformer", SEEN), "forward", times(float("nan"))),
    "decode-nan": (fault("engine", 26, "NaN of the VAE", CHECKED), "decode", times(float("nan"))),
    "decode-black": (fault("engine", 27, "a black clip", CHECKED), "decode", filled(-1.0)),
    "decode-few": (fault("engine", 27, "too few frames", CHECKED), "decode", lambda given: (given[0][:, :, :-3],)),
    "decode-small": (fault("engine", 27, "frames too small", CHECKED), "decode", lambda given: (given[0][..., :-8],)),
}
ODD: dict[str, tuple[Fault, Spoil, str]] = {
    "plain": (fault("engine", 27, "a clip of one colour", TOLD), filled(0.25), "of one colour"),
    "frozen": (
        fault("engine", 27, "a clip that does not move", TOLD),
        lambda given: (moving(given)[0][:, :, :1].expand_as(given[0]),),
        "does not move",
    ),
    "half": (
        fault("engine", 27, "a clip that is black here and there", TOLD),
        lambda given: (torch.cat([moving(given)[0][:, :, :5], torch.full_like(given[0][:, :, 5:], -1.0)], 2),),
        "are black",
    ),
}
DEATHS = {
    "feed": fault("engine", 46, "ffmpeg dies at every frame", DIES),
    "finish": fault("engine", 46, "every ffmpeg dies before its end", DIES),
    "spawn": fault(
        "engine", 46, "no more processes can be begun", "exit 75; the same command goes on from the latents"
    ),
}
CODES = {"feed": [6], "finish": [6, 7, 0], "spawn": [75]}
"""An ffmpeg that has said all that it was asked for may die: that is no fault."""

LIES = {
    "silence": ("exit 0", fault("engine", 46, "an ffmpeg that does nothing and says that all is well", DIES)),
    "refusal": ("exit 1", fault("engine", 46, "an ffmpeg that fails without a word", DIES)),
    "deaf": ("exec 0<&-; sleep 0.1; exit 3", fault("engine", 46, "an ffmpeg that does not listen", DIES)),
    "half": (
        "last=; for last; do :; done; head -c 6000 > /dev/null; "
        'case "$last" in file:*) head -c 100 /dev/zero > "${last#file:}";; esac',
        fault("engine", 46, "an ffmpeg that writes rubbish and says that all is well", DIES),
    ),
}
NONE = fault("engine", 46, "no ffmpeg on the machine", "exit 2 and where it was looked for; the latents are kept")
MOVED = {
    "forward": fault("engine", 47, "a transformer that raises what nobody expects", OURS),
    "step": fault("engine", 47, "a scheduler that raises what nobody expects", OURS),
    "decode": fault("engine", 47, "a VAE that raises what nobody expects", OURS),
}


@pytest.mark.parametrize("name", slow_but(SPOILT, "step-nan", "decode-black"))
def test_what_is_spoilt_is_seen(name: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    tried, site, spoil = SPOILT[name]
    for nth in asked.each(site, 1):
        with card.round(tried) as trial:
            place = places()
            ended = place.run(injection=Injection(site=site, nth=nth, spoil=spoil))
            place.unharmed(trial, ended, [0] if nth > asked.calls.of(site) else [7])
            if ended.code and site != "decode" and ended.tally.of("step") != nth:
                trial.silent("it went on with what was spoilt")
            place.again(trial)


@pytest.mark.parametrize("name", slow_but(ODD, "frozen"))
def test_what_may_be_meant_is_said(name: str, card: Scorecard, places: PLACES) -> None:
    tried, spoil, said = ODD[name]
    with card.round(tried) as trial:
        place = places(whole="")
        ended = place.run(injection=Injection(site="decode", nth=1, spoil=spoil))
        place.unharmed(trial, ended, [0])
        adjustments = json.loads(Path("x.mkv.json").read_text())["adjustments"]
        if said not in ended.err or not any(said in sentence for sentence in adjustments):
            trial.silent(f"nothing was said: {adjustments}")
        place.clean(trial)


@pytest.mark.parametrize("site", slow_but(DEATHS, "feed"))
def test_ffmpeg_dies(site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    act = raising(lambda: BlockingIOError(11, "Resource temporarily unavailable")) if site == "spawn" else ffmpeg_dies
    for nth in asked.each(site, 1):
        with card.round(DEATHS[site]) as trial:
            place = places()
            ended = place.run(injection=Injection(site=site, nth=nth, act=act))
            place.unharmed(trial, ended, CODES[site] if nth <= asked.calls.of(site) else [0])
            place.again(trial)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIES)
def test_ffmpeg_lies(name: str, card: Scorecard, places: PLACES, tmp_path: Path) -> None:
    script, tried = LIES[name]
    with card.round(tried) as trial:
        ended, place = _with_ffmpeg(tmp_path / "ffmpeg", script, places())
        place.unharmed(trial, ended, [6, 7])
        place.again(trial)


@pytest.mark.slow
def test_no_ffmpeg(card: Scorecard, places: PLACES, tmp_path: Path) -> None:
    with card.round(NONE) as trial:
        place = places()
        ended = place.run(before=lambda: os.environ.update(IMAGEIO_FFMPEG_EXE=str(tmp_path / "nowhere")))
        place.unharmed(trial, ended, [2])
        place.again(trial)


@pytest.mark.parametrize("site", slow_but(MOVED, "step"))
def test_what_nobody_expects(site: str, card: Scorecard, asked: Asked, places: PLACES) -> None:
    for error, nth in some(
        1, [(e, n) for e in (TypeError, AttributeError) for n in range(1, asked.calls.of(site) + 1)]
    ):
        with card.round(MOVED[site]) as trial:
            place = places()
            act = raising(partial(error, "got an unexpected keyword argument"))
            ended = place.run(injection=Injection(site=site, nth=nth, act=act))
            place.unharmed(trial, ended, [1])
            place.again(trial)


def _with_ffmpeg(binary: Path, script: str, place: Place) -> tuple[Any, Place]:
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    return place.run(before=lambda: os.environ.update(IMAGEIO_FFMPEG_EXE=str(binary))), place
