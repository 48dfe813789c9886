"""Bytes on their way, as a person or a script sees them; and a stop that loses none of them."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from vidgen.cli import screen
from vidgen.cli.options import Progress
from vidgen.cli.progress import EVERY_S, can_draw
from vidgen.core.amounts import amount
from vidgen.core.errors import Stopped
from vidgen.weights.fetch import Moment

Shown = Callable[[Moment], None]


@contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """SIGINT and SIGTERM stop at once, and say what is kept."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped("stopped", kept, signal_number=number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shown(word: str, progress: Progress) -> Iterator[Shown]:
    """How far it is: a bar on a terminal, a line every few seconds elsewhere, JSON, or nothing."""
    if progress is Progress.OFF:
        yield lambda moment: None
    elif progress is Progress.JSON:
        yield lambda moment: _json(word, moment)
    elif progress is Progress.AUTO and can_draw():
        with _bar(word) as bar:
            yield bar
    else:
        yield _Lines(word).show


def _json(word: str, moment: Moment) -> None:
    said = {"schema": screen.SCHEMA, "phase": word, "done": moment.done, "total": moment.total}
    screen.say(json.dumps({**said, "fetched": moment.fetched, "note": moment.note}))


class _Lines:
    """A line every few seconds, and none for what is quickly done."""

    def __init__(self, word: str) -> None:
        self._word, self._pace, self._said = word, _Pace(), time.monotonic()

    def show(self, moment: Moment) -> None:
        if moment.note:
            screen.say(f"vidgen: {moment.note}")
        if time.monotonic() - self._said >= EVERY_S:
            self._said = time.monotonic()
            screen.say(f"{self._word} {amount(moment.done)} of {amount(moment.total)}{self._pace.said(moment)}")


class _Pace:
    """Bytes a second since it began, and how long the rest takes."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def said(self, moment: Moment) -> str:
        rate = moment.fetched / max(time.monotonic() - self._began, 1e-3)
        if rate < 1:
            return ""
        left = round((moment.total - moment.done) / rate)
        return f", {amount(int(rate))}/s, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} to go"


@contextmanager
def _bar(word: str) -> Iterator[Shown]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[said]}"))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task, pace = bars.add_task(word, total=None, said=""), _Pace()

        def show(moment: Moment) -> None:
            said = f"{amount(moment.done)} of {amount(moment.total)}{pace.said(moment)}"
            bars.update(task, completed=moment.done, total=moment.total, said=said)
            if moment.note:
                bars.console.print(f"vidgen: {screen.harmless(moment.note)}", markup=False, highlight=False)

        yield show
