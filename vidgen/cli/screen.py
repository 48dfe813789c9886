"""What reaches a person or a script: results on stdout, everything else on stderr, nobody's escape codes on either."""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

from vidgen.core.errors import OutputRefused, Refusal

SCHEMA = 1

PARAGRAPH = 60
"""Letters of a cell that is longer than a column should be wide for."""


def prepare_streams() -> None:
    """Make both streams able to say anything, also when they were closed or lack the letters."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for the whole process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if utf8 and stream is sys.stdout else "backslashreplace")


def harmless(text: str) -> str:
    """`text` with control characters, direction overrides and lone surrogates spelled out; line ends stay."""
    return "".join(char if char == "\n" or _printable(char) else repr(char)[1:-1] for char in text)


def _printable(char: str) -> bool:
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs"}


def result(text: str) -> None:
    """A result, on stdout: as it is for a script, harmless for a terminal."""
    _write(sys.stdout, harmless(text) if sys.stdout.isatty() else text)


def data(value: dict[str, Any]) -> None:
    """A result as one line of JSON with a schema number, in ASCII."""
    _write(sys.stdout, json.dumps({"schema": SCHEMA, **value}))


def say(text: str) -> None:
    """A sentence for the person, on stderr."""
    _write(sys.stderr, harmless(text))


def refuse(refusal: Refusal) -> None:
    """What is wrong and one thing to do about it."""
    say(f"vidgen: {refusal.message}")
    if refusal.remedy:
        say(f"    {refusal.remedy}")


def table(rows: Iterable[Sequence[str]]) -> None:
    """Rows in columns, on stdout."""
    for line in columns(rows):
        _write(sys.stdout, line)


def columns(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Rows as lines in columns; the last column takes what room it wants, and so does a paragraph in another."""
    texts = [[harmless(cell) for cell in row] for row in rows]
    widths = [max([0, *(len(cell) for cell in cells if len(cell) <= PARAGRAPH)]) for cells in zip(*texts, strict=False)]
    for row in texts:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _write(stream: TextIO, text: str) -> None:
    """Write a line; a reader that has gone away is no error, and nothing more is said to it."""
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        _forget(stream)
    except OSError as error:
        _forget(stream)
        if stream is sys.stdout:
            said = f"the results cannot be written: {error.strerror}"
            raise OutputRefused(said, "look at where stdout goes") from error


def _forget(stream: TextIO) -> None:
    """Whatever is still to be said on `stream` goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
