"""A report in the form that build servers read: JUnit's XML, a test case for each clip."""

import unicodedata
from pathlib import Path
from xml.etree import ElementTree

from vidgen.core.errors import OutputRefused
from vidgen.smoke.judged import Report, Verdict


def prove(path: Path) -> None:
    """Refuse (exit 6) a path that cannot be written, before any work. An older report goes, lest it be believed."""
    try:
        path.unlink(missing_ok=True)
        path.touch(exist_ok=False)
        path.unlink()
    except OSError as error:
        raise _refusal(path, error) from error


def write(path: Path, report: Report) -> None:
    """Write the report: whole, or not at all (OutputRefused, exit 6)."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_text(text(report), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise _refusal(path, error) from error


def text(report: Report) -> str:
    """The report as XML."""
    suite = ElementTree.Element("testsuite", name=f"vidgen smoke: {report.subject}", time=f"{report.seconds:.3f}")
    suite.attrib |= {"tests": str(len(report.verdicts)), "failures": str(report.failed), "errors": "0", "skipped": "0"}
    for verdict in report.verdicts:
        suite.append(_case(verdict))
    ElementTree.indent(suite)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_sayable(ElementTree.tostring(suite, encoding="unicode"))}\n'


def _case(verdict: Verdict) -> ElementTree.Element:
    place = f"vidgen.smoke.{verdict.model.replace('.', '_')}"
    case = ElementTree.Element(
        "testcase", classname=place, name=f"{verdict.trial.mode} {verdict.trial.name}", time=f"{verdict.seconds:.3f}"
    )
    if not verdict.well:
        failure = ElementTree.SubElement(case, "failure", type="ChecksFailed", message=verdict.wrong[0])
        failure.text = "\n".join([*verdict.wrong, f"the prompt was: {verdict.trial.prompt}"])
    return case


def _sayable(text: str) -> str:
    """`text` without the characters that XML cannot hold."""
    return "".join(char for char in text if char == "\n" or unicodedata.category(char) not in {"Cc", "Cs", "Cn"})


def _refusal(path: Path, error: OSError) -> OutputRefused:
    return OutputRefused(f"cannot write {path}: {error.strerror}", "give --junit another file")
