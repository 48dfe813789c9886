"""A run as a person sees it: progress, sentences, stops, results."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import FrameType

from vidgen.cli import screen
from vidgen.cli.options import Progress
from vidgen.cli.progress import Display, display
from vidgen.core.errors import Stopped
from vidgen.core.plan import Job
from vidgen.core.result import Event, Result


def perform(jobs: Sequence[Job], *, as_json: bool, quiet: bool, progress: Progress) -> None:
    """Make the clips of `jobs`; a line on stdout for each."""
    from vidgen.generate import run

    if not quiet:
        seeds = ", ".join(str(job.request.seed) for job in jobs[:9]) + (" ..." if len(jobs) > 9 else "")
        notes = dict.fromkeys(note for job in jobs for note in job.notes)
        for sentence in (*notes, *jobs[0].adjustments, f"{jobs[0].card.name}, seed {seeds}"):
            screen.say(f"vidgen: {sentence}")
    with watching(Progress.OFF if quiet else progress) as (listen, shown):
        for result in run(jobs, listen):
            shown.pause()
            _report(result, as_json=as_json, quiet=quiet)


@contextmanager
def watching(progress: Progress) -> Iterator[tuple[Callable[[Event], None], Display]]:
    """While it lasts, a listener that shows progress and lets Ctrl-C stop the work; and where it shows it."""
    with _stoppable() as stop, display(progress) as shown:

        def listen(event: Event) -> None:
            stop.check(event)
            shown.event(event)

        yield listen, shown
        stop.answer()


def _report(result: Result, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        screen.data({**asdict(result), "path": str(result.path)})
        return
    screen.result(str(result.path))
    if result.skipped:
        note = f"vidgen: skipped {result.path}: it exists"
    else:
        note = f"vidgen: made in {sum(result.seconds.values()):.1f} s"
    if not quiet:
        screen.say(note)


AT_STAKE = frozenset({"denoise", "deliver"})
"""Phases in which a stop waits for the next event: a step that is worth keeping, a clip that is being put in place.

Until the first step is done the transformer is still being loaded, and there is nothing to wait for.
"""


class _Halt(KeyboardInterrupt):
    """A stop on its way out: unlike a refusal, no library takes it for a fault of its own."""


class _Stop:
    """Remembers that the user asked to stop. While nothing is at stake, stops at once."""

    def __init__(self) -> None:
        self._asked = 0
        self._patient = False
        self.broke_in = False
        self._before = ("", 0)

    def check(self, event: Event) -> None:
        now = (event.phase, event.clip)
        self._patient = event.phase in AT_STAKE and (event.phase != "denoise" or now == self._before)
        self._before = now
        self.answer()

    def answer(self) -> None:
        if self._asked:
            raise _Halt

    def ask(self, number: int, frame: FrameType | None) -> None:
        again, self._asked = self._asked, number
        if _torch_begins():
            return  # an exception in the midst of it would abort the process; the next event stops
        if again or not self._patient:
            self.broke_in = True
            raise _Halt
        screen.say("vidgen: stopping after this step; once more to stop at once")

    def refusal(self) -> Stopped:
        return Stopped("stopped", "", signal_number=self._asked or signal.SIGINT)


def _torch_begins() -> bool:
    """Whether torch is being imported: it takes seconds, and part of it is not Python's."""
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


@contextmanager
def _stoppable() -> Iterator[_Stop]:
    """SIGINT, SIGTERM and SIGHUP ask for a stop, unless they are ignored (`nohup`); given back at the end."""
    stop = _Stop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heard = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop.ask) for number in heard}
    try:
        yield stop
    except KeyboardInterrupt:
        raise stop.refusal() from None
    except Exception:
        if stop.broke_in:  # safetensors, which is not Python, makes an error of its own of it
            raise stop.refusal() from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
