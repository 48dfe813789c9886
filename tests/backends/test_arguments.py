"""Nothing is left to the defaults of Diffusers: every family says every argument of every pipeline that it calls."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL.Image import Image

from tests import twins as pictured
from vidgen import prepare
from vidgen.backends.port import opened
from vidgen.backends.quiet import found
from vidgen.backends.twin import build
from vidgen.catalog import cards, twins
from vidgen.core.card import ModelCard
from vidgen.core.plan import Job
from vidgen.core.request import Mode
from vidgen.smoke.asked import of_twin

VERBS = ("encode_prompt", "__call__")
"""What families call of a pipeline, where it has it."""


def served() -> Iterator[tuple[ModelCard, Mode]]:
    """Each mode of each card that a twin stands for."""
    for family in twins.twins():
        for card in cards.cards().values():
            if card.family == family and card.serves:
                yield from ((card, mode) for mode in card.ways)


@pytest.mark.parametrize(("card", "mode"), list(served()), ids=lambda value: getattr(value, "name", str(value)))
def test_every_argument_of_the_pipeline_is_said(card: ModelCard, mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when Diffusers takes an argument no longer, or grows one with a default: say it in the family."""
    described = twins.twin(card.family)
    build(described, Path("tiny"), pipeline=card.serves[0], says=described.index(card))
    job = asked(card, mode)
    kind = found("diffusers", card.ways[mode].pipeline)
    calls: list[str] = []
    said = {verb: recorded(monkeypatch, kind, verb, calls) for verb in VERBS if hasattr(kind, verb)}
    wanted = {verb: set(inspect.signature(getattr(kind, verb)).parameters) - {"self"} for verb in said}
    work(job)
    assert said["__call__"]
    for verb, given in said.items():
        assert not given or set(given) == wanted[verb], verb


def asked(card: ModelCard, mode: Mode) -> Job:
    """The job that the smoke test has for `mode`, with a picture where it needs one."""
    trial = next(trial for trial in of_twin(card) if trial.mode is mode)
    picture = Path("first.png")
    pictured.picture(64, 64).save(picture)
    [job] = prepare(
        mode,
        prompt=trial.prompt,
        at=[f"{mark.frame}:{picture}" for mark in trial.marks],
        model="./tiny",
        size=f"{trial.width}x{trial.height}",
        frames=trial.frames,
        steps=trial.steps,
        seed=1,
    )
    return job


def work(job: Job) -> None:
    """Encode and denoise, by the family."""
    canvas = job.canvas

    def look(wanted: Job) -> list[Image]:
        return [pictured.picture(canvas.width, canvas.height) for _ in wanted.request.keyframes]

    with opened(job) as backend:
        conditioning = backend.encode([job], look)[0]
        backend.denoise(job, conditioning, look(job), lambda done, total, state=None, /: None)


def recorded(monkeypatch: pytest.MonkeyPatch, kind: Any, verb: str, calls: list[str]) -> dict[str, Any]:
    """What the family's own first call of `verb` is given, from now on; a pipeline calls some of its verbs itself."""
    given: dict[str, Any] = {}
    own: Callable[..., Any] = getattr(kind, verb)

    def record(self: Any, *positional: Any, **named: Any) -> Any:
        if not given and not calls:
            given.update(inspect.signature(own).bind(self, *positional, **named).arguments)
            given.pop("self")
        calls.append(verb)
        try:
            return own(self, *positional, **named)
        finally:
            calls.pop()

    record.__signature__ = inspect.signature(own)  # type: ignore[attr-defined]
    monkeypatch.setattr(kind, verb, record)
    return given
