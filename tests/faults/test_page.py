"""docs/reliability.md lists the faults that there are."""

import re

import pytest

from tests.faults.score import KINDS, Fault, Score
from tools import faults


def test_the_page_lists_exactly_the_faults_that_are_tried() -> None:
    listed = faults.PAGE.read_text(encoding="utf-8").partition("## Every fault")[2]
    found = re.findall(r"^\| (.+?) \| \d+ \| (.+) \|$", listed, re.MULTILINE)
    assert found == [(fault.name, fault.promise) for fault in faults.registered()], "run `make faults`"


def test_there_are_as_many_faults_of_as_many_kinds_as_were_promised() -> None:
    assert len(faults.registered()) >= 48
    assert {fault.kind for fault in faults.registered()} == set(KINDS) == set(faults.CLASSES)


def test_every_number_of_the_list_is_tried() -> None:
    """The list of faults that vidgen began with, but for what the page says is not covered."""
    assert {fault.number for fault in faults.registered()} - {0} == set(range(1, 49)) - {17, 38, 43, 44, 45}


def test_the_scorecard_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Fault("disk", 8, "full", "it holds")
    monkeypatch.setattr(faults, "registered", lambda: [tried])
    page = faults.page([Score(tried, survived=True, seconds=0.25), Score(tried, survived=False, lost=True)], "played")
    assert "**1 faults, 2 rounds, 1 survived.**" in page
    assert "| disk | 1 | 2 | 1 | 0 | 1 | 0 | 0.2 s |\n" in page
    assert "| hub | 0 | 0 | 0 | 0 | 0 | 0 | - |\n" in page
    assert "| full | 2 | it holds |\n" in page
