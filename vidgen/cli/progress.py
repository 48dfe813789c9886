"""Progress: bars on a terminal, lines elsewhere, JSON for a script, or nothing."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

from vidgen.cli import screen
from vidgen.cli.options import Progress
from vidgen.core.result import Event

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

EVERY_S = 5.0


class Display(Protocol):
    """Shows events."""

    def event(self, event: Event) -> None:
        """Show one moment."""

    def pause(self) -> None:
        """Make room for a line of another kind."""


@contextmanager
def display(progress: Progress) -> Iterator[Display]:
    """The display that `progress` names; auto means bars on a terminal that can draw them, lines elsewhere."""
    if progress is Progress.AUTO and can_draw():
        with _bars() as bars:
            yield bars
    elif progress is Progress.OFF:
        yield _Silence()
    elif progress is Progress.JSON:
        yield _Json()
    else:
        yield _Lines()


def can_draw() -> bool:
    """Whether stderr is a terminal on which a line can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown"}


def label(event: Event) -> str:
    """What is going on, in a word or two."""
    return f"{event.phase} {event.clip + 1}/{event.clips}" if event.clips > 1 else event.phase


class _Silence:
    def event(self, event: Event) -> None:
        pass

    def pause(self) -> None:
        pass


class _Json:
    def event(self, event: Event) -> None:
        screen.say(json.dumps({"schema": screen.SCHEMA, **asdict(event)}))

    def pause(self) -> None:
        pass


class _Lines:
    """A line when a phase begins and ends, and one every few seconds between."""

    def __init__(self) -> None:
        self._phase = ("", -1)
        self._began = self._said = 0.0

    def event(self, event: Event) -> None:
        now = time.monotonic()
        if event.note:
            screen.say(f"vidgen: {event.note}")
        elif (event.phase, event.clip) != self._phase:
            self._phase, self._began, self._said = (event.phase, event.clip), now, now
            screen.say(f"{label(event)} ...")
        elif event.done == event.total or now - self._said >= EVERY_S:
            self._said = now
            screen.say(f"{label(event)} {event.done}/{event.total}{self._speed(event, now)}")

    def pause(self) -> None:
        pass

    def _speed(self, event: Event, now: float) -> str:
        each = (now - self._began) / max(event.done, 1)
        left = each * (event.total - event.done)
        return f", {each:.2f} s each" + (f", {left:.0f} s to go" if left else "")


class _Bars:
    """One bar for each phase, with steps, seconds a step and the time to go."""

    def __init__(self, bars: "Bars") -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def event(self, event: Event) -> None:
        name = label(event)
        if event.note:
            self._bars.console.print(screen.harmless(f"vidgen: {event.note}"), markup=False, highlight=False)
            return
        if name not in self._tasks:
            for task in self._tasks.values():
                self._bars.stop_task(task)
            self._tasks[name] = self._bars.add_task(name, total=event.total or None)
        self._bars.update(self._tasks[name], completed=event.done, total=event.total or None)

    def pause(self) -> None:
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()


@contextmanager
def _bars() -> Iterator[_Bars]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Pace(ProgressColumn):
        """Seconds a step."""

        def render(self, task: Task) -> Text:
            return Text(f"{1 / task.speed:.2f} s/it" if task.speed else "")

    columns = (TextColumn("{task.description:<12}", markup=False), BarColumn(), MofNCompleteColumn(), Pace())
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        yield _Bars(bars)
