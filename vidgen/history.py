"""What this machine has shown: on which rung a model's canvas worked after the one that was planned had failed."""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from vidgen.core.plan import Job, Rung

MORE = 1.1
"""With so many times the memory that was free then, the rung that failed may be tried again."""

LARGEST = 1 << 16


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
    same = found.failed == job.plan.rung and job.plan.machine.memory_gib < found.memory_gib * MORE
    return found if same else None


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
    path = _file(job)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_text(json.dumps(asdict(found)), encoding="ascii")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)


def forget(job: Job) -> None:
    """What was planned has worked after all."""
    with suppress(OSError):
        _file(job).unlink(missing_ok=True)


def _file(job: Job) -> Path:
    """One file for a machine, a model, a mode and a canvas."""
    machine, canvas, request = job.plan.machine, job.canvas, job.request
    facts: list[object] = [machine.name, machine.device, job.card.name, str(job.weights.folder), request.mode]
    facts += [canvas.width, canvas.height, canvas.frames]
    return store() / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]}.json"
