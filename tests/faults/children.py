"""Command lines of vidgen, each in a forked process of its own: a real one, but for the seconds that torch takes.

Forking is sound as long as nobody computes on several threads: `warm` sees to that, and a test compares the frames with
those of a process that was begun afresh.
"""

import gc
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.faults.injected import Injection, Tally, install

CANARY = "hf_canary0123456789canary0123456789"
"""A token in the environment of every child, which is to be found nowhere afterwards."""

PATIENCE_S = 300
"""A child that takes so long hangs."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a child ended: the exit code (a signal's below 0), what it said, what it called, seconds since its signal."""

    code: int
    out: str
    err: str
    tally: Tally
    seconds: float = 0.0


class Running:
    """A child at work."""

    def __init__(self, child: int, folder: Path, tally: Tally) -> None:
        self.child, self._folder, self.tally = child, folder, tally

    def signal(self, number: int, delay: float = 0.0) -> None:
        """Send a signal, so many seconds after vidgen began."""
        while not self.tally.begun:
            time.sleep(0.001)
        time.sleep(delay)
        self.tally.mark()
        os.kill(self.child, number)

    def wait(self) -> Ended:
        """Wait for its end."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])
        took = time.monotonic() - self.tally.marked if self.tally.marked else 0.0
        out, err = (_text(self._folder / name) for name in ("out", "err"))
        return Ended(code=code, out=out, err=err, tally=self.tally, seconds=took)


def begin(
    words: Sequence[str],
    *,
    said: Path,
    injection: Injection | None = None,
    before: Callable[[], object] = lambda: None,
) -> Running:
    """Run `vidgen WORDS` in this folder; `before` is called in the child. What it says goes into the folder `said`."""
    said.mkdir(parents=True, exist_ok=True)
    tally = Tally()
    child = os.fork()
    if not child:
        code = 1
        try:
            _be_alone(said)
            before()
            install(injection, tally)
            code = _main(words, tally)
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    return Running(child, said, tally)


def _be_alone(said: Path) -> None:
    """As a process is that a shell has begun."""
    signal.alarm(PATIENCE_S)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path in ((0, os.devnull), (1, said / "out"), (2, said / "err")):
        os.dup2(os.open(path, flags if number else os.O_RDONLY, 0o600), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for the whole process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    warnings.resetwarnings()
    torch.set_num_threads(1)
    os.environ["HF_TOKEN"] = CANARY


def _main(words: Sequence[str], tally: Tally) -> int:
    """The real `main`, and what the interpreter would make of its end."""
    from vidgen.__main__ import main
    from vidgen.cli import app

    start = app.start

    def begun(words: Sequence[str]) -> int:
        tally.begin()
        return start(words)

    app.start = begun
    sys.argv = ["vidgen", *words]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def warm(folder: Path, words: Sequence[str]) -> None:
    """Import all that a run imports, by making a clip here."""
    from vidgen.cli.app import start

    torch.set_num_threads(1)
    if start([*words, "-q", "-o", str(folder / "warm.mkv")]):
        raise RuntimeError("the warm-up failed")
    gc.collect()
    gc.freeze()  # else each child would copy what a collection touches


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
