"""The ffmpeg binary as a child process: every exit code looked at, every child reaped. Knows no container, no codec."""

import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from vidgen.core.errors import TryLater, UsageRefused

SAFE = ("-protocol_whitelist", "file,pipe")
"""Before every input: a clip that names other places is not followed there."""

CLIPS = (*SAFE, "-format_whitelist", "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm")
"""Before every input that we did not write ourselves: no playlists, which could name other files."""

_PREFIX = re.compile(r"^(\[[^\]]*@ 0x[0-9a-f]+\] ?)+")
_DULL = re.compile(r"Terminating thread|Task finished|Nothing was written|Conversion failed")
_REASON = re.compile(r"(?:return|error) code:? -?\d+ \(([^()]+)\)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A running ffmpeg: `feed` bytes to it, read its `output`, then let it `finish`."""

    process: "subprocess.Popen[bytes]"
    said: "deque[str]"
    drain: Thread

    @property
    def output(self) -> IO[bytes]:
        """What ffmpeg writes to its standard output."""
        if self.process.stdout is None:
            raise ValueError("ffmpeg was started without reading=True")
        return self.process.stdout

    def feed(self, data: bytes) -> bool:
        """Hand over `data`; False when ffmpeg no longer listens."""
        if self.process.stdin is None:
            raise ValueError("ffmpeg was started without feeding=True")
        try:
            self.process.stdin.write(data)
        except BrokenPipeError:
            return False
        return True

    def close(self) -> None:
        """Say that nothing more comes."""
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()

    def finish(self) -> int:
        """Say that nothing more comes, wait for the end, and give the exit code (a signal's is negative)."""
        self.close()
        code = self.process.wait()
        self.drain.join()
        return code

    @property
    def last_words(self) -> str:
        """Why ffmpeg failed, in its own words and one line."""
        code = self.process.poll()
        lines = [_PREFIX.sub("", line).strip() for line in self.said]
        told = [line for line in lines if line and not _DULL.search(line)]
        reasons = [found[1] for line in lines if (found := _REASON.search(line))]
        words = told[-1] if told else _ending(code)
        return words if not reasons or reasons[-1] in words else f"{words} ({reasons[-1]})"


@contextmanager
def running(arguments: Sequence[str], *, feeding: bool = False, reading: bool = False) -> Iterator[Child]:
    """Run ffmpeg, in a session of its own, so that Ctrl-C reaches us first; killed and reaped when we leave early."""
    with _begun(arguments, feeding=feeding, reading=reading) as process:
        said: deque[str] = deque(maxlen=20)
        drain = Thread(target=_listen, args=(process.stderr, said), daemon=True)
        try:
            drain.start()
            yield Child(process=process, said=said, drain=drain)
        finally:
            _end(process)
            drain.join()


def _begun(arguments: Sequence[str], *, feeding: bool, reading: bool) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            [_binary(), "-nostdin", "-hide_banner", "-loglevel", "error", *arguments],
            stdin=subprocess.PIPE if feeding else subprocess.DEVNULL,
            stdout=subprocess.PIPE if reading else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "SVT_LOG": "1"},
        )
    except (FileNotFoundError, PermissionError) as error:
        said = f"ffmpeg cannot be begun: {error.filename}: {error.strerror}"
        raise UsageRefused(said, "look at IMAGEIO_FFMPEG_EXE, or unset it") from error
    except OSError as error:
        said = f"ffmpeg cannot be begun: {error.strerror}"
        raise TryLater(
            said, "look at memory and at the number of processes, then give the same command again"
        ) from error


def name(path: Path) -> str:
    """The path as ffmpeg must be told it: always a file, never an option, an address or a pattern."""
    return f"file:{path.absolute()}"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _binary() -> str:
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise UsageRefused(
            "no ffmpeg was found", "install it with: pip install --force-reinstall imageio-ffmpeg"
        ) from error


def _listen(errors: IO[bytes], said: "deque[str]") -> None:
    # Read in pieces of bounded size: a line of ffmpeg may hold a whole metadata value.
    while line := errors.readline(4096):
        said.append(line.decode("utf-8", "replace"))


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"ffmpeg was killed by {signal.Signals(-code).name}"
    return f"ffmpeg ended with code {code}, without a word"
