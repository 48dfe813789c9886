"""A clip never begins a download by surprise: it names the command, asks on a terminal, or obeys --download."""

import io
import json
import os
import sys
from pathlib import Path

import pytest

from tests import twins
from tests.conftest import ANSWER
from tests.loopback import MODEL, REPOSITORY, Fault, Hub
from vidgen import hub as here
from vidgen.catalog.cards import card
from vidgen.core.amounts import amount
from vidgen.weights.place import Place

WORDS = ("t2v", "a red circle", "-m", MODEL, "--size", "64x32", "--frames", "9", "--steps", "1", "-o", "x.mp4")


@pytest.fixture
def served(hub: Hub, tmp_path: Path) -> Hub:
    """A hub whose model really makes clips: a tiny one."""
    folder = twins.ltx(tmp_path / "twin", pipeline="LTXConditionPipeline")
    files = [path for path in folder.rglob("*") if path.is_file()]
    hub.files[REPOSITORY] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return hub


class Terminal(io.StringIO):
    """A person who types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody at a terminal, who says no and then yes."""
    monkeypatch.setattr(sys, "stdin", Terminal("n\ny\n"))
    monkeypatch.setattr("vidgen.cli.lacking.attended", lambda: True)


def absent() -> bool:
    return here.find(card(MODEL)).folder is None


def test_without_being_told_it_names_the_command_and_moves_nothing(served: Hub, vidgen: ANSWER) -> None:
    answer = vidgen(*WORDS)
    assert (answer.code, answer.out, served.asked) == (4, "", [])
    assert f"fetch it: vidgen download {MODEL}" in answer.err


def test_told_to_it_fetches_and_makes_the_clip(served: Hub, vidgen: ANSWER) -> None:
    answer = vidgen(*WORDS, "--download")
    assert (answer.code, answer.out) == (0, "x.mp4\n"), answer.err
    assert f"{MODEL} is here; fetched" in answer.err
    once = served.served
    again = vidgen(*WORDS, "--download", "--overwrite", "--json", "-q")
    assert (again.code, again.err, served.served) == (0, "", once)
    assert json.loads(again.out)["path"] == "x.mp4"


def test_the_prompt_is_read_once(served: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a blue square")))
    assert vidgen("t2v", "-", *WORDS[2:], "--download", "-q").code == 0
    assert json.loads(Path("x.mp4.json").read_text())["request"]["prompt"] == "a blue square"


@pytest.mark.usefixtures("person")
def test_on_a_terminal_it_asks_with_the_size_and_the_room(served: Hub, vidgen: ANSWER) -> None:
    no = vidgen(*WORDS)
    assert (no.code, absent(), served.served) == (4, True, 0)
    assert f"{MODEL} is not on this machine" in no.err
    assert f"fetch {amount(served.size())}? " in no.err
    assert f" are free in {Place(REPOSITORY).folder.parent} [y/N] " in no.err
    assert f"fetch it: vidgen download {MODEL}" in no.err
    yes = vidgen(*WORDS)
    assert (yes.code, yes.out, absent()) == (0, "x.mp4\n", False)


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("more", ["--json", "-q", "--dry-run"])
def test_a_script_is_never_asked(more: str, served: Hub, vidgen: ANSWER) -> None:
    answer = vidgen(*WORDS, more)
    assert (answer.code, served.asked) == (0 if more == "--dry-run" else 4, [])
    assert "[y/N]" not in answer.err


@pytest.mark.parametrize("stream", ["stdin", "stderr"])
def test_nobody_is_asked_whose_answer_or_question_goes_elsewhere(
    stream: str, served: Hub, vidgen: ANSWER, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, stream, Terminal("y\n"))
    assert (vidgen(*WORDS).code, served.asked) == (4, [])


@pytest.mark.usefixtures("person")
def test_without_a_hub_nobody_is_asked(served: Hub, vidgen: ANSWER) -> None:
    served.faults.append(Fault(status=404, headers={"X-Error-Code": "RepoNotFound"}))
    answer = vidgen(*WORDS)
    assert (answer.code, "[y/N]" in answer.err) == (4, False)
    assert f"fetch it: vidgen download {MODEL}" in answer.err


def test_a_download_that_is_refused_says_so(served: Hub, vidgen: ANSWER) -> None:
    served.gated = {REPOSITORY}
    answer = vidgen(*WORDS, "--download")
    assert (answer.code, answer.out, "is gated" in answer.err) == (4, "", True)


def test_what_is_damaged_is_not_fetched_but_mended(served: Hub, vidgen: ANSWER) -> None:
    assert vidgen("download", MODEL).code == 0
    file = next(iter(here.cached(REPOSITORY, "").glob("vae/*.safetensors"))).resolve()  # type: ignore[union-attr]
    os.truncate(file, file.stat().st_size - 1)
    answer = vidgen(*WORDS, "--download")
    assert (answer.code, f"vidgen download --repair {MODEL}" in answer.err) == (4, True)


def test_plan_has_no_such_option(vidgen: ANSWER) -> None:
    assert vidgen("plan", *WORDS, "--download").code == 2
