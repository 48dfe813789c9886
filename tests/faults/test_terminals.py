"""Poor terminals, other locales, arguments in other encodings, readers that go away: in processes begun afresh."""

import os
import subprocess
import sys
from collections.abc import Mapping

from tests.faults import refused
from tests.faults.score import Scorecard, fault, some

COMMAND = (sys.executable, "-m", "vidgen")

ARGV = fault("words", 29, "arguments that are not UTF-8", "exit code 0, 2, 3 or 6, never a traceback")
LOCALE = fault("words", 31, "a poor terminal or another locale", "the same clip, the same numbers, no traceback")
PIPE = fault("words", 32, "a reader that goes away", "quiet, and exit code 0")

LOCALES: Mapping[str, Mapping[str, str]] = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0"},
    "C without coercion": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C.UTF-8": {"LC_ALL": "C.UTF-8"},
    "POSIX": {"LANG": "POSIX", "LC_ALL": ""},
    "Turkish": {"LC_ALL": "tr_TR.UTF-8"},
    "comma": {"LC_ALL": "de_DE.UTF-8", "LC_NUMERIC": "de_DE.UTF-8"},
    "latin": {"PYTHONIOENCODING": "latin-1", "LC_ALL": "en_US.ISO-8859-1"},
    "utf-16": {"PYTHONIOENCODING": "utf-8:strict", "LC_ALL": "ja_JP.eucJP"},
    "none": {"LC_ALL": "nonsense", "LANG": "\x01", "LANGUAGE": "xx", "TERM": "dumb"},
}


def test_poor_terminals_and_other_locales(card: Scorecard) -> None:
    for name in some(1, list(LOCALES)):
        with card.round(LOCALE) as trial:
            words = [*COMMAND, "plan", "t2v", "円 é İI", "--fps", "23.976", "-g", "1.5", "-o", "é.mp4"]
            done = subprocess.run(words, capture_output=True, env={**os.environ, **LOCALES[name]}, check=False)
            assert done.returncode == 0, done.stderr
            assert b"Traceback" not in done.stderr
            if b"24000/1001" not in done.stdout or b"1.5" not in done.stdout:
                trial.silent(f"other numbers in {name}: {done.stdout!r}")


ARGUMENTS = (b"caf\xe9", b"\xff\xfe", b"\xed\xa0\x80", b"\xe5\x9c", b"a\xc0\x80b")


def test_arguments_that_are_not_utf8(card: Scorecard) -> None:
    for argument in some(1, ARGUMENTS):
        for words in some(1, ([b"t2v", argument], [b"t2v", b"x", b"-o", argument + b".mp4"], [b"i2v", argument, b"x"])):
            for more in some(1, ({}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})):
                with card.round(ARGV), refused.nothing_written():
                    line = [os.fsencode(sys.executable), b"-m", b"vidgen", b"plan", *words]
                    done = subprocess.run(line, capture_output=True, env={**os.environ, **more}, check=False)
                    assert done.returncode in (0, 2, 3, 6), done.stderr
                    assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away(card: Scorecard) -> None:
    for words in some(1, ("models", "plan t2v x --seed 1..50", "models --json", "--help", "t2v --help")):
        with card.round(PIPE):
            shell = f"set -o pipefail; {sys.executable} -m vidgen {words} | true"
            done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
