"""What must hold of a command that was refused: its code, two plain lines, nothing written, and no hostile code run."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Answer
from tests.faults.score import Trial

RAN = "canary-ran"
"""The file in the folder of a test that hostile code would make."""


def check(trial: Trial, answer: Answer, codes: int | Sequence[int], *said: str) -> None:
    """Assert that `answer` is a refusal with one of `codes` that says each of `said`."""
    wanted = (codes,) if isinstance(codes, int) else tuple(codes)
    if Path(RAN).exists():
        trial.ran(f"{RAN} is there")
    if answer.code == 0:
        trial.silent(f"exit code 0 instead of {wanted}: {answer.out}{answer.err}")
    assert answer.code in wanted, f"{answer.code} instead of {wanted}: {answer.err}"
    assert answer.out == ""
    plain(answer.err)
    for text in said:
        assert text in answer.err, f"{text!r} is not said in {answer.err!r}"


def plain(err: str) -> None:
    """Assert that what was said on stderr is for a person: no traceback, no escape codes, and its end two lines."""
    assert "Traceback" not in err, err
    assert "a bug of ours" not in err, err
    assert not [char for char in err if char != "\n" and not char.isprintable()], repr(err)
    *_, wrong, remedy = err.splitlines()
    assert wrong.startswith("vidgen: "), err
    assert remedy.startswith("    "), err


@contextmanager
def nothing_written(*, but: str = "") -> Iterator[None]:
    """While it lasts, nothing in this folder may change, except what begins with `but`, which is forgotten."""
    before = census(but)
    yield
    assert census(but) == before


def census(but: str = "") -> dict[str, str]:
    """Every file below this folder by what is in it; a link by where it leads."""
    found = {}
    for place, folders, files in os.walk("."):
        for name in (*folders, *files):
            path = Path(place, name)
            if not (but and path.parts[0].startswith(but)):
                found[str(path)] = _content(path)
    return found


def _content(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
