"""What was counted for a plan, beside what the numbers of the model's card say: in words and as data."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from vidgen.core.amounts import duration
from vidgen.core.plan import Counted, Job, PhasePlan
from vidgen.planning.detours import moved
from vidgen.planning.ladder import describe


def rows(job: Job, counted: Counted) -> Iterator[list[str]]:
    """A row for each phase and one for the choice, if it is another; then what was counted, by what and how long."""
    for phase, usual in _pairs(job, counted):
        said = f"{phase.gib:.2f} GiB, {usual.gib:.2f} by the card's numbers{_percent(phase.gib, usual.gib)}"
        timed = phase.seconds and usual.seconds
        time = f"; {duration(phase.seconds)}, {duration(usual.seconds)} by the card's" if timed else ""
        yield ["counted", f"{phase.phase}: {said}{time}"]
    if counted.usual is None:
        yield ["counted", "by the card's numbers nothing fits"]
    elif counted.usual != job.plan.chosen:
        yield ["counted", f"by the card's numbers it would be another choice: {describe(counted.usual)}"]
    parts = ", ".join(f"{name} {many:,}" for name, many in counted.parameters.items())
    yield ["counted", f"parameters: {parts}"]
    yield ["counted", counted.configuration]
    read = f"{counted.prompt} tokens of text" if counted.read else f"the {counted.prompt} tokens that a text may have"
    yield ["counted", f"{read}; in {counted.seconds:.1f} s on {job.card.cost.measured}"]


def data(job: Job, counted: Counted) -> dict[str, Any]:
    """The same for a script."""
    return {
        "phases": [
            {
                "phase": phase.phase,
                "gib": phase.gib,
                "card_gib": usual.gib,
                "percent": round(_more(phase.gib, usual.gib), 2) if usual.gib else None,
                "seconds": phase.seconds,
                "card_seconds": usual.seconds,
            }
            for phase, usual in _pairs(job, counted)
        ],
        "card_rung": asdict(counted.usual) if counted.usual else None,
        "same_rung": counted.usual == job.plan.chosen,
        "parameters": dict(counted.parameters),
        "configuration": counted.configuration,
        "prompt_tokens": counted.prompt,
        "prompt_read": counted.read,
        "seconds": round(counted.seconds, 3),
    }


def _pairs(job: Job, counted: Counted) -> Iterator[tuple[PhasePlan, PhasePlan]]:
    """Each phase by what was counted, and by the card's numbers on the same rung."""
    usual = moved(replace(job, card=counted.card), job.plan.rung).plan
    return zip(job.plan.phases, usual.phases, strict=True)


def _more(counted: float, usual: float) -> float:
    return 100 * (counted / usual - 1)


def _percent(counted: float, usual: float) -> str:
    return f" ({_more(counted, usual):+.1f} %)" if usual else ""
