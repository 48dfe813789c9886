"""A plan in plain words with numbers, and the same as data."""

from collections.abc import Sequence, Set
from dataclasses import asdict
from typing import Any

from vidgen.cli import counted, screen
from vidgen.core.amounts import duration
from vidgen.core.enhancer import Enhancer
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Job, PhasePlan
from vidgen.hub import command, unweighed
from vidgen.planning.advice import UNMEASURED
from vidgen.planning.enhancing import gib
from vidgen.planning.ladder import describe

UNTIMED = "not known: no clip of this model was made on this machine, and its card or its arithmetic is not known"


def show(jobs: Sequence[Job]) -> None:
    """Everything that would happen, for a person."""
    job = jobs[0]
    screen.result(f"{job.card.title} ({job.card.name}), {job.request.mode}")
    screen.result("")
    screen.table([[s.name.replace("_", "-"), s.value, s.origin] for s in job.settings if s.value])
    screen.result("")
    screen.table(_facts(job))
    screen.result("")
    for each in jobs:
        screen.result(f"{'skips' if each.skip else 'makes'} {each.request.output}")


def _facts(job: Job) -> list[list[str]]:
    canvas, plan, unknown = job.canvas, job.plan, frozenset(unweighed(job.card, job.weights))
    rows = [
        ["canvas", f"{canvas.width}x{canvas.height}, {canvas.frames} frames"],
        ["machine", machine(plan.machine)],
        ["rung", describe(plan.rung)],
    ]
    rows += [[phase.phase, _phase(phase, unknown)] for phase in plan.phases]
    least = "at least " if unknown else ""
    rows.append(["peak", f"{least}{plan.peak_gib:.2f} of {plan.machine.memory_gib:.1f} GiB"])
    rows.append(["time", f"about {duration(plan.seconds)}" if plan.seconds else UNTIMED])
    if not job.card.cost.token_kib:
        rows.append(["memory", UNMEASURED])
    rows += counted.rows(job, job.counted) if job.counted else ()
    rows.append(["weights", _weights(job)])
    rows += [[name, f"{each['path']} ({each['kind']}, {each['gib']:.2f} GiB)"] for name, each in _ggufs(job).items()]
    if job.enhancer:
        rows.append(["enhancer", _enhancer(job, job.enhancer)])
    rows += [["passed over", sentence] for sentence in plan.passed_over]
    rows += [["note", sentence] for sentence in (*plan.machine.notes, *job.notes, *job.adjustments)]
    return rows


def _ggufs(job: Job) -> dict[str, dict[str, Any]]:
    """The components that come from a GGUF file, each with the type of most of it and what it takes in memory."""
    stored = {part.name: part.stored for part in job.card.components if part.stored}
    return {
        name: {"path": str(each.path), "kind": each.kind, "gib": round(each.held / 2**30, 3)}
        for name, each in stored.items()
    }


def _enhancer(job: Job, enhancer: Enhancer) -> str:
    if enhancer.own:
        return enhancer.name
    return f"{enhancer.name}: {gib(enhancer, job.plan):.2f} GiB of weights, alone, on the {enhancer.device}"


def _enhancer_data(enhancer: Enhancer) -> dict[str, Any]:
    folder = str(enhancer.folder) if enhancer.folder else ""
    return {**asdict(enhancer), "name": enhancer.name, "folder": folder}


def machine(found: Machine) -> str:
    """A machine in a line: what computes, and how much memory is free."""
    ram = f"{found.host_gib:.1f} GiB of RAM free"
    if found.device is not Device.CUDA:
        return f"{found.name} ({found.device}), {ram}"
    return f"{found.name} ({found.device}), {found.vram_gib:.1f} GiB free, {ram}"


def _phase(phase: PhasePlan, unknown: Set[str]) -> str:
    work = f" + {phase.work_gib:.2f} GiB of work" if phase.work_gib else ""
    beside = f", {phase.host_gib:.2f} GiB through RAM" if phase.host_gib else ""
    time = f", {duration(phase.seconds)}" if phase.seconds else ""
    held = f"{phase.weights_gib:.2f} GiB of weights"
    if uncounted := [name for name in phase.components if name in unknown]:
        held += f" and those of {' and '.join(uncounted)}, which nobody has counted"
    return f"{held}{work}{beside}{time}; {', '.join(phase.components)} at work"


def _weights(job: Job) -> str:
    if not job.weights.missing:
        return "here"
    fetch = command(job.card, job.weights.missing)
    return f"missing: {', '.join(job.weights.missing)}{f'; fetch them: {fetch}' if fetch else ''}"


def as_data(job: Job) -> dict[str, Any]:
    """The plan of one clip, for a script."""
    plan = job.plan
    return {
        "model": job.card.name,
        "mode": job.request.mode,
        "prompt": job.request.prompt,
        "output": str(job.request.output),
        "skip": job.skip,
        "settings": {setting.name: {"value": setting.value, "origin": setting.origin} for setting in job.settings},
        "canvas": asdict(job.canvas),
        "machine": asdict(plan.machine),
        "rung": asdict(plan.rung),
        "phases": [asdict(phase) for phase in plan.phases],
        "peak_gib": round(plan.peak_gib, 3),
        "host_gib": round(plan.host_gib, 3),
        "seconds": round(plan.seconds, 3),
        "measured": job.card.cost.measured,
        "counted": counted.data(job, job.counted) if job.counted else None,
        "passed_over": list(plan.passed_over),
        "missing": list(job.weights.missing),
        "fetch": command(job.card, job.weights.missing) if job.weights.missing else "",
        "ggufs": _ggufs(job),
        "enhancer": _enhancer_data(job.enhancer) if job.enhancer else None,
        "adjustments": list(job.adjustments),
        "notes": list(job.notes),
    }
