"""What this machine has shown: on which rung a clip worked after the planned one failed, and how long work takes."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from vidgen.core.card import ModelCard, Phase
from vidgen.core.machine import Machine
from vidgen.core.plan import Job, Rung

MORE = 1.1
"""With so many times the memory that was free then, the rung that failed may be tried again."""

LARGEST = 1 << 16

LAST = 5
"""Clips of which the pace is the median: what a machine does changes with its drivers and its other work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """`failed` is what was planned with `memory_gib` free, `worked` what the clip was finished on; `when` is a date."""

    failed: Rung
    worked: Rung
    memory_gib: float
    when: str


def store() -> Path:
    """Where it is kept: VIDGEN_CACHE, or the user's cache folder."""
    from platformdirs import user_cache_path

    named = os.environ.get("VIDGEN_CACHE")
    return (Path(named) if named else user_cache_path("vidgen")) / "history"


def lesson(job: Job) -> Lesson | None:
    """What was learnt of the rung that is planned for `job`; None when it never failed, or there is more memory now."""
    try:
        with _file(job).open("rb") as file:
            facts = json.loads(file.read(LARGEST))
        found = Lesson(
            failed=Rung.of(facts["failed"]),
            worked=Rung.of(facts["worked"]),
            memory_gib=float(facts["memory_gib"]),
            when=str(facts["when"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    same = replace(found.failed, resident=0) == replace(job.plan.rung, resident=0)
    return found if same and job.plan.machine.memory_gib < found.memory_gib * MORE else None


def learn(job: Job) -> None:
    """Keep what `job` was finished on, where that is not what was planned. A disk that refuses costs nothing else."""
    if job.plan.rung == job.plan.chosen:
        return
    found = Lesson(
        failed=job.plan.chosen,
        worked=job.plan.rung,
        memory_gib=job.plan.machine.memory_gib,
        when=datetime.now(UTC).date().isoformat(),
    )
    _write(_file(job), asdict(found))


def forget(job: Job) -> None:
    """What was planned has worked after all."""
    with suppress(OSError):
        _file(job).unlink(missing_ok=True)


def pace(machine: Machine, card: ModelCard) -> Mapping[Phase, float]:
    """How many times as long as arithmetic says each phase of a model took here: the median of the last few clips."""
    return {phase: median(ratios) for phase, ratios in _ratios(_paces(machine, card)).items()}


def paced(job: Job, seconds: Mapping[str, float], said: Mapping[Phase, float]) -> None:
    """Keep how long the phases of `job` took beside what arithmetic said, both in seconds."""
    path = _paces(job.plan.machine, job.card)
    known = _ratios(path)
    for phase in Phase:
        if seconds.get(phase, 0.0) > 0 and said.get(phase, 0.0) > 0:
            known[phase] = [*known.get(phase, []), seconds[phase] / said[phase]][-LAST:]
    _write(path, known)


def _ratios(path: Path) -> dict[Phase, list[float]]:
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(LARGEST))
        found = {Phase(name): [float(ratio) for ratio in ratios] for name, ratios in facts.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {phase: ratios for phase, ratios in found.items() if ratios and all(0 < one < 1e9 for one in ratios)}


def _write(path: Path, facts: Any) -> None:
    """Keep `facts`, whole or not at all. A disk that refuses costs nothing else."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_text(json.dumps(facts), encoding="ascii")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def _paces(machine: Machine, card: ModelCard) -> Path:
    """One file for a machine and a model."""
    return _named([machine.name, machine.device, card.name, card.revision], "pace-")


def _file(job: Job) -> Path:
    """One file for a machine, a model, a mode and a canvas."""
    machine, canvas, request = job.plan.machine, job.canvas, job.request
    facts: list[object] = [machine.name, machine.device, job.card.name, str(job.weights.folder), request.mode]
    facts += [canvas.width, canvas.height, canvas.frames]
    return _named(facts, "")


def _named(facts: list[object], kind: str) -> Path:
    return store() / f"{kind}{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]}.json"
