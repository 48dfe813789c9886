"""The n-th call of something goes wrong: it fails, the process is killed there, or what it gives is spoilt.

Nothing of vidgen's is replaced, only what it stands on: the disk, ffmpeg, and the classes of Diffusers.
"""

import builtins
import errno
import io
import mmap
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

SITES = ("open", "write", "fsync", "place", "encode", "forward", "decode", "step", "spawn", "feed", "finish")
"""What is counted: files opened, written, flushed and renamed or linked in the folder of the test; the text encoder,
the transformer, the VAE's decoder, the scheduler; processes of ffmpeg begun, frames fed to them, and their ends."""

Act = Callable[["Tally", Any], object]
"""What happens just before the call; it is told the file, the object or the process that is called."""


class Tally:
    """How often each site was passed, when work began and when a signal came; a killed process leaves it behind."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096)

    def passed(self, site: str) -> int:
        """Count one call of `site`; how many it has had."""
        count = self.of(site) + 1
        struct.pack_into("q", self._memory, 8 * SITES.index(site), count)
        return count

    def of(self, site: str) -> int:
        """How often `site` was called."""
        count: int = struct.unpack_from("q", self._memory, 8 * SITES.index(site))[0]
        return count

    def mark(self) -> None:
        """The moment of the signal is now."""
        struct.pack_into("d", self._memory, 8 * len(SITES), time.monotonic())

    def begin(self) -> None:
        """vidgen has begun."""
        struct.pack_into("d", self._memory, 8 * len(SITES) + 8, 1.0)

    @property
    def begun(self) -> bool:
        """Whether vidgen has begun."""
        return bool(struct.unpack_from("d", self._memory, 8 * len(SITES) + 8)[0])

    @property
    def marked(self) -> float:
        """The moment of the signal; 0 when there was none."""
        moment: float = struct.unpack_from("d", self._memory, 8 * len(SITES))[0]
        return moment


@dataclass(frozen=True, kw_only=True)
class Injection:
    """At the `nth` call of `site` do `act`; `spoil` what it gives; `on`: and at every later one."""

    site: str
    nth: int
    act: Act = lambda tally, called: None
    spoil: Callable[[Any], Any] = lambda given: given
    on: bool = False

    def meets(self, site: str, count: int) -> bool:
        """Whether this call is the one."""
        return site == self.site and (count == self.nth or (self.on and count > self.nth))


def failing(number: int) -> Act:
    """The call fails with this errno."""

    def act(tally: Tally, called: Any) -> None:
        raise OSError(number, os.strerror(number), str(called))

    return act


FULL, BROKEN, DENIED = failing(errno.ENOSPC), failing(errno.EIO), failing(errno.EACCES)


def raising(error: Callable[[], BaseException]) -> Act:
    """The call raises."""

    def act(tally: Tally, called: Any) -> None:
        raise error()

    return act


def signalled(number: int, times: int = 1) -> Act:
    """The process gets a signal there, or several at once."""

    def act(tally: Tally, called: Any) -> None:
        tally.mark()
        for _ in range(times):
            os.kill(os.getpid(), number)

    return act


KILLED = signalled(signal.SIGKILL)


def ffmpeg_dies(tally: Tally, child: Any) -> None:
    """The ffmpeg that is called is killed first."""
    child.process.kill()
    child.process.wait()


def install(injection: Injection | None, tally: Tally) -> None:
    """Put every site under watch, in this process and for good."""

    def passed(site: str, called: Any) -> Callable[[Any], Any]:
        count = tally.passed(site)
        if injection and injection.meets(site, count):
            injection.act(tally, called)
            return injection.spoil
        return lambda given: given

    _watch_disk(passed, Path.cwd())
    _watch_ffmpeg(passed)
    _watch_model(passed)


Passed = Callable[[str, Any], Callable[[Any], Any]]


def _watch_disk(passed: Passed, place: Path) -> None:
    def within(path: Any) -> bool:
        return isinstance(path, str | Path) and (place / path).is_relative_to(place)

    class Raw(io.FileIO):
        """A file whose writes are counted."""

        def write(self, data: Any) -> int:
            passed("write", self.name)
            return super().write(data)

    plain = io.open

    def opened(file: Any, mode: str = "r", buffering: int = -1, *words: Any, **named: Any) -> Any:
        if not within(file):
            return plain(file, mode, buffering, *words, **named)
        passed("open", file)
        if not set(mode) & set("wxa+"):
            return plain(file, mode, buffering, *words, **named)
        raw = Raw(file, mode.replace("t", ""), opener=named.pop("opener", None))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *words, **named)

    io.open = builtins.open = opened
    _wrap(os, "open", lambda path, *_, **__: passed("open", path) if within(path) else None)
    _wrap(os, "fsync", lambda number: passed("fsync", number))
    for name in ("replace", "rename", "link"):
        _wrap(os, name, lambda source, target, **_: passed("place", target) if within(target) else None)


def _watch_ffmpeg(passed: Passed) -> None:
    from vidgen.media.ffmpeg import Child

    _wrap(subprocess.Popen, "__init__", lambda process, *_, **__: passed("spawn", process))
    _wrap(Child, "feed", lambda child, data: passed("feed", child))
    _wrap(Child, "finish", lambda child: passed("finish", child))


def _watch_model(passed: Passed) -> None:
    from diffusers.models.autoencoders.autoencoder_kl_ltx import AutoencoderKLLTXVideo
    from diffusers.models.transformers.transformer_ltx import LTXVideoTransformer3DModel
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
    from transformers import T5EncoderModel

    _wrap(T5EncoderModel, "forward", lambda model, *_, **__: passed("encode", model))
    _wrap(LTXVideoTransformer3DModel, "forward", lambda model, *_, **__: passed("forward", model))
    _wrap(AutoencoderKLLTXVideo, "decode", lambda model, *_, **__: passed("decode", model))
    _wrap(FlowMatchEulerDiscreteScheduler, "step", lambda scheduler, *_, **__: passed("step", scheduler))


def _wrap(owner: Any, name: str, before: Callable[..., Any]) -> None:
    """Call `before` with the same words first; it may give what makes something else of the result."""
    plain = getattr(owner, name)

    @wraps(plain)
    def called(*words: Any, **named: Any) -> Any:
        spoil = before(*words, **named)
        given = plain(*words, **named)
        return spoil(given) if spoil else given

    setattr(owner, name, called)
