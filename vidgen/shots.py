"""A job on its way to a clip: what it has cost, which backend works on it, and what failed in which phase."""

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidgen import probe
from vidgen.backends.port import Backend, exhausted, opened
from vidgen.core.card import Phase
from vidgen.core.errors import NotFinite, OutOfMemory, Refusal, WeightsRefused
from vidgen.core.machine import Device
from vidgen.core.plan import Job, Placement
from vidgen.hub import command
from vidgen.studio.part import Part

LESS = "ask for fewer frames or a smaller size, close what else uses the memory, or take another model: vidgen models"


MISS = 1.1
"""So many times as much memory as was predicted, or as little, is told."""

SMALL_GIB = 0.25
"""Less than this is the noise of any process."""


@dataclass(slots=True)
class Shot:
    """One job on its way to a clip. `standing_gib` was held before any weights; `partly`: it went on from a step.

    `hashes` are those of the files that its request names, as they were when it began.
    """

    job: Job
    part: Part
    hashes: Mapping[Path, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_gib: dict[str, float] = field(default_factory=dict)
    standing_gib: float = 0.0
    partly: bool = False

    def misses(self) -> Iterator[str]:
        """A sentence for each phase whose peak was not what was predicted, for a model that was measured."""
        for phase in self.job.plan.phases if self.job.card.cost.measured else ():
            took = self.peak_gib.get(phase.phase, 0.0) - self.standing_gib
            if phase.phase in self.job.plan.rung.host or phase.phase not in self.peak_gib:
                continue
            if abs(took - phase.gib) > SMALL_GIB and not phase.gib / MISS <= took <= phase.gib * MISS:
                yield f"{phase.phase} took {took:.1f} GiB of memory where {phase.gib:.1f} were predicted"


class Failed(Exception):  # noqa: N818 - no error of its own, but a fault and where it happened
    """A phase ran out of memory, or its values went out of bounds."""

    def __init__(self, phase: Phase, fault: Refusal) -> None:
        super().__init__(fault.message)
        self.phase, self.fault = phase, fault


@contextmanager
def at_work(phase: Phase, shots: Sequence[Shot], standing_gib: float) -> Iterator[None]:
    """Writes the phase's seconds and peak memory into its shots; raises `Failed` where another way may help.

    `standing_gib` was held before any weights were.
    """
    for shot in shots:
        shot.standing_gib = round(standing_gib, 3)
    probe.forget_peak()
    began = time.perf_counter()
    try:
        yield
    except NotFinite as fault:
        raise Failed(phase, fault) from fault
    except Exception as error:
        if exhausted(error):
            raise Failed(phase, OutOfMemory(f"{phase} ran out of memory", LESS)) from error
        raise
    finally:
        for shot in shots:
            _write_down(shot, phase, (time.perf_counter() - began) / len(shots))


def _write_down(shot: Shot, phase: Phase, seconds: float) -> None:
    """Add what a phase took: one that is tried again takes longer."""
    peak = probe.peak_gib(shot.job.plan.machine.device)
    shot.seconds[phase.value] = round(shot.seconds.get(phase.value, 0.0) + seconds, 3)
    shot.peak_gib[phase.value] = round(max(peak, shot.peak_gib.get(phase.value, 0.0)), 3)


class Hands:
    """The backend at work: opened when it is needed, and again where a phase has another device than the one before."""

    def __init__(self, job: Job) -> None:
        self._job, self._open = job, ExitStack()
        self._device: Device | None = None
        self._phase = Phase.ENCODE
        self.standing_gib = 0.0

    def __enter__(self) -> "Hands":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def at(self, phase: Phase) -> Backend:
        """The backend, where the plan wants `phase` to be done; what the phase before held is let go of first."""
        plan = self._job.plan
        device = Device.CPU if phase in plan.rung.host else plan.machine.device
        if device != self._device:
            self._open.close()
            gc.collect()  # what an error has left behind may hold activations in a cycle
            machine = replace(plan.machine, device=device)
            self._backend = self._open.enter_context(opened(replace(self._job, plan=replace(plan, machine=machine))))
            self._device = device
            self.standing_gib = probe.standing_gib(device)
        elif phase is not self._phase and plan.rung.placement is not Placement.RESIDENT:
            self._backend.close()
        self._phase = phase
        return self._backend


def absent(job: Job) -> WeightsRefused:
    """The refusal of a job whose weights are not all here."""
    names = ", ".join(job.weights.missing[:3]) + (" ..." if len(job.weights.missing) > 3 else "")
    if fetch := command(job.card, job.weights.missing):
        return WeightsRefused(f"{job.card.name} is not on this machine ({names})", f"fetch it: {fetch}")
    if sources := ", ".join(sorted({part.source for part in job.card.components if part.source})):
        said = f"{job.card.name} is in several repositories ({sources}), which vidgen does not fetch together"
        return WeightsRefused(said, "put each component into a sub-folder of its name, and give --model ./that-folder")
    return WeightsRefused(f"{job.weights.folder} is not complete ({names})", "fetch those files again")
