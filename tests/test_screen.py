"""The screen: results on stdout, talk on stderr, and nobody's escape codes on either."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vidgen.cli import screen
from vidgen.core.errors import UsageRefused

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a red circle", "a red circle"),
        ("naïve 字 🎈 é [bold]x[/bold]", "naïve 字 🎈 é [bold]x[/bold]"),
        ("one\ntwo", "one\ntwo"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\tc\0\x7f", "a\\rb\\tc\\x00\\x7f"),
        ("abc\u202egpm.exe", "abc\\u202egpm.exe"),
        ("\u2066\u200b\ufeff", "\\u2066\\u200b\\ufeff"),
        ("\ud800\udcff", "\\ud800\\udcff"),
    ],
)
def test_whatever_could_steer_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert screen.harmless(text) == shown


def test_what_is_harmless_stays_so() -> None:
    everything = "".join(map(chr, range(0x3000))) + "\U000e0001\ud800"
    once = screen.harmless(everything)
    assert screen.harmless(once) == once
    assert not {"\x1b", "\r", "\x9b", "\u202e", "\ud800"} & set(once)


def test_a_refusal_is_what_is_wrong_and_one_thing_to_do_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    screen.refuse(UsageRefused("width 850 is \x1boff the grid", "832 or 864"))
    assert capfd.readouterr() == ("", "vidgen: width 850 is \\x1boff the grid\n    832 or 864\n")


def test_a_result_goes_to_a_script_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    screen.result("a\tb.mp4")
    assert capfd.readouterr() == ("a\tb.mp4\n", "")


def test_data_is_one_line_of_ascii_with_a_schema_number(capfd: pytest.CaptureFixture[str]) -> None:
    screen.data({"prompt": "naïve\n🎈\x1b\udcff"})
    out, err = capfd.readouterr()
    assert (out.isascii(), out.count("\n"), err) == (True, 1, "")
    assert json.loads(out) == {"schema": screen.SCHEMA, "prompt": "naïve\n🎈\x1b\udcff"}


def test_a_table_stands_in_columns(capfd: pytest.CaptureFixture[str]) -> None:
    screen.table([["NAME", "", "FOR"], ["pocket", "here", "any machine"], ["x", "", "\x1b"]])
    assert capfd.readouterr().out == "NAME          FOR\npocket  here  any machine\nx             \\x1b\n"


def test_an_empty_table_is_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    screen.table([])
    assert capfd.readouterr().out == ""


def ran(script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-c", f"from vidgen.cli import screen\nscreen.prepare_streams()\n{script}"]
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, timeout=60, check=True)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "iso8859-9", "utf-8"])
def test_a_stream_of_any_encoding_can_say_anything(encoding: str) -> None:
    said = ran("screen.table([['字 🎈 \\udcff']]); screen.say('字 🎈')", PYTHONIOENCODING=encoding)
    spelled = "字 🎈" if encoding == "utf-8" else "\\u5b57 \\U0001f388"
    assert said.stdout.decode() == f"{spelled} \\udcff\n"
    assert said.stderr.decode() == f"{spelled}\n"


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "tr_TR.UTF-8"}, {}])
def test_a_path_that_is_no_utf8_reaches_a_script_byte_by_byte(locale: dict[str, str]) -> None:
    said = ran("screen.result('\\udce9.mp4')", PYTHONUTF8="1", **locale)
    assert said.stdout == b"\xe9.mp4\n"


def test_a_reader_that_went_away_is_no_error() -> None:
    script = "from vidgen.cli import screen\nfor n in range(20000): screen.result('x' * 100)"
    line = f"'{sys.executable}' -c \"{script}\" | head -n 1; echo ${{PIPESTATUS[0]}}"
    said = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "x" * 100 + "\n0\n"
    assert said.stderr == ""


def test_a_paragraph_in_a_table_does_not_push_its_neighbours_away() -> None:
    lines = list(screen.columns([["size", "64x64", "card"], ["negative", "blurry, " * 30, "card"]]))
    assert lines[0] == "size      64x64  card"
    assert lines[1] == f"negative  {'blurry, ' * 30}  card"
