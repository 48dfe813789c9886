"""The report as XML: well-formed whatever was said in it, and written whole or not at all."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.smoke.test_judged import TRIAL
from tests.values import says
from vidgen.core.errors import OutputRefused
from vidgen.smoke import junit
from vidgen.smoke.judged import Check, Report, Verdict

WELL = Verdict(trial=TRIAL, model="pocket", path=Path("red.mp4"), seconds=1.5)
BLUE = Check(name="colour", asked="red", seen="blue", well=False)
REPORT = Report(
    subject="<pocket> & \x1b friends",
    remedy="",
    seconds=3.25,
    verdicts=(
        WELL,
        Verdict(trial=TRIAL, model="a.b", path=Path("blue.mp4"), checks=(BLUE,)),
        Verdict(trial=TRIAL, model="pocket", path=Path("none.mp4"), fault='NaN \x00 <in> "latents" \ufffe'),
    ),
)


def test_each_clip_is_a_case_and_each_wrong_one_a_failure() -> None:
    suite = ElementTree.fromstring(junit.text(REPORT))
    assert (suite.tag, suite.get("tests"), suite.get("failures"), suite.get("time")) == ("testsuite", "3", "2", "3.250")
    assert [(case.get("classname"), case.get("name"), case.get("time")) for case in suite] == [
        ("vidgen.smoke.pocket", "t2v red", "1.500"),
        ("vidgen.smoke.a_b", "t2v red", "0.000"),
        ("vidgen.smoke.pocket", "t2v red", "0.000"),
    ]
    failures = [case.find("failure") for case in suite]
    assert [failure is not None and failure.get("message") for failure in failures] == [
        False,
        "colour: asked for red, saw blue",
        'NaN  <in> "latents" ',
    ]
    assert failures[1] is not None
    assert "the prompt was: a red circle" in str(failures[1].text)


def test_a_report_replaces_an_older_one() -> None:
    path = Path("smoke.xml")
    path.write_text("old")
    junit.prove(path)
    assert not path.exists()
    junit.write(path, REPORT)
    assert ElementTree.parse(path).getroot().get("tests") == "3"
    assert [entry.name for entry in Path().iterdir()] == ["smoke.xml"]


def test_a_place_that_cannot_be_written_is_refused_before_any_work() -> None:
    Path("folder").mkdir()
    for name in ("folder", "gone/smoke.xml"):
        with pytest.raises(OutputRefused) as refused:
            junit.prove(Path(name))
        says(refused, 6, f"cannot write {name}", "--junit")
    with pytest.raises(OutputRefused):
        junit.write(Path("gone/smoke.xml"), REPORT)
