"""smoke: makes a handful of clips and says whether they are what was asked, for a person or for a build server."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidgen.catalog.cards import BUILT_IN
from vidgen.cli import screen
from vidgen.cli.make import Quiet, example
from vidgen.cli.models import Json
from vidgen.cli.options import Progress
from vidgen.cli.progress import can_draw
from vidgen.core.errors import ChecksFailed, UsageRefused

if TYPE_CHECKING:
    from vidgen.smoke.judged import Report, Verdict


def _families(incomplete: str) -> list[str]:
    from vidgen.catalog.twins import twins

    return [name for name in twins() if name.startswith(incomplete)]


Family = Annotated[
    str | None,
    typer.Option(
        help="Test the code of a family, such as ltx, on a tiny model with random weights.",
        metavar="NAME",
        autocompletion=_families,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Test other weights of the built-in model, in this folder.", metavar="FOLDER"),
]
Keep = Annotated[Path | None, typer.Option(help="Keep the clips in this folder, new or empty.", metavar="FOLDER")]
Junit = Annotated[Path | None, typer.Option(help="Write the report as JUnit's XML too.", metavar="FILE")]

test = typer.Typer()


@test.command(epilog=example("vidgen smoke --junit smoke.xml", "vidgen smoke --family ltx --json"))
def smoke(
    family: Family = None,
    model: Model = None,
    keep: Keep = None,
    junit: Junit = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a few clips with the built-in model, look at what they show, and end with 0 or 7. For CI."""
    from vidgen.cli.running import watching
    from vidgen.smoke import exam
    from vidgen.smoke import junit as xml

    if family is not None and model is not None:
        raise UsageRefused("both --family and --model are given", "give one of them")
    if junit is not None:
        xml.prove(junit)
    with watching(Progress.AUTO if can_draw() and not quiet else Progress.OFF) as (listen, _):
        if family is not None:
            report = exam.family(family, keep=keep, listener=listen)
        else:
            report = exam.built_in(model or BUILT_IN, keep=keep, listener=listen)
    if junit is not None:
        xml.write(junit, report)
    if as_json:
        screen.data(_as_data(report, kept=keep is not None))
    else:
        _show(report)
    if report.failed:
        said = f"{report.failed} of {len(report.verdicts)} clips of {report.subject} are not what was asked"
        raise ChecksFailed(said, report.remedy)


def _show(report: "Report") -> None:
    rows = [["", "CLIP", "MODE", "SECONDS", "ASKED"]]
    rows += [_row(verdict) for verdict in report.verdicts]
    screen.table(rows)
    for verdict in report.verdicts:
        if verdict.wrong:
            screen.result(f"FAIL {verdict.name}: {'; '.join(verdict.wrong)}")
    well = len(report.verdicts) - report.failed
    screen.result(f"{well} of {len(report.verdicts)} clips of {report.subject} are as asked, {report.seconds:.1f} s")


def _row(verdict: "Verdict") -> list[str]:
    trial = verdict.trial
    form = f"{trial.width}x{trial.height}, {trial.frames} frames at {trial.fps}"
    mark = "ok" if verdict.well else "FAIL"
    return [mark, verdict.name, str(trial.mode), f"{verdict.seconds:.1f}", f"{trial.prompt}; {form}"]


def _as_data(report: "Report", *, kept: bool) -> dict[str, Any]:
    return {
        "well": not report.failed,
        "subject": report.subject,
        "seconds": report.seconds,
        "clips": list(_clips(report, kept=kept)),
    }


def _clips(report: "Report", *, kept: bool) -> Iterator[dict[str, Any]]:
    for verdict in report.verdicts:
        checks = [
            {"name": check.name, "asked": check.asked, "seen": check.seen, "well": check.well}
            for check in verdict.checks
        ]
        yield {
            "name": verdict.name,
            "model": verdict.model,
            "mode": verdict.trial.mode,
            "prompt": verdict.trial.prompt,
            "seed": verdict.trial.seed,
            "path": str(verdict.path) if kept else "",
            "seconds": verdict.seconds,
            "well": verdict.well,
            "fault": verdict.fault,
            "checks": checks,
        }
