"""The training loop: seeded steps, gradients averaged over processes, checkpoints, and going on from one.

It does not know what is trained: a `Stage` brings a module and says its loss.
"""

from __future__ import annotations

import json
import math
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tools.pocket.muon import optimizers

WARM_UP = 50
STEADY = 0.4
"""Share of the steps at the full rate; a cosine takes it down to nothing after that."""


class Stage(Protocol):
    """One thing to train."""

    name: str
    rate: float

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        ...

    def loss(self, shared: np.random.Generator, rng: np.random.Generator, progress: float) -> Tensor:
        """The loss of one batch, `progress` (0..1) into the training.

        `rng` is this worker's own. What decides how long a step takes is drawn from `shared`, alike on all workers,
        so that none waits for another.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long a stage is trained, from which seed, by which of how many workers, and where it is kept."""

    folder: Path
    steps: int
    seed: int = 0
    rank: int = 0
    workers: int = 1
    save_seconds: float = 120.0
    horizon: float = 0.998
    start: Path | None = None
    """A checkpoint whose averaged weights are begun from; what does not fit is begun anew."""
    rate: float | None = None
    """Full learning rate; None is the stage's own."""


class Student:
    """A stage with all its training state: what a checkpoint holds."""

    def __init__(self, stage: Stage, course: Course) -> None:
        self.stage, self.course, self.step = stage, course, 0
        self.rate = course.rate or stage.rate
        self.optimizers = optimizers(stage.module, self.rate)
        self.parameters = [p for p in stage.module.parameters() if p.requires_grad]
        self.average = {name: v.detach().clone() for name, v in stage.module.state_dict().items()}
        self.path = course.folder / f"{stage.name}.pt"

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        part = self.path.with_suffix(".part")
        torch.save(
            {
                "step": self.step,
                "module": self.stage.module.state_dict(),
                "average": self.average,
                "optimizers": [o.state_dict() for o in self.optimizers],
            },
            part,
        )
        part.replace(self.path)

    def resume(self) -> None:
        """Go on from the checkpoint if there is one, else begin from the course's start."""
        if not self.path.exists():
            self._begin()
            return
        state = torch.load(self.path, map_location=next(self.stage.module.parameters()).device, weights_only=True)
        self.step, self.average = state["step"], state["average"]
        self.stage.module.load_state_dict(state["module"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)

    def _begin(self) -> None:
        if self.course.start is None:
            return
        fresh = self.stage.module.state_dict()
        kept = {k: v for k, v in averaged(self.course.start).items() if k in fresh and v.shape == fresh[k].shape}
        self.stage.module.load_state_dict(fresh | kept)
        self.average = {name: v.detach().clone() for name, v in self.stage.module.state_dict().items()}

    def learn(self, stopping: bool = False) -> tuple[float, bool]:
        """Take one step. Every draw depends on seed, worker and step only, so a resumed run repeats it exactly."""
        shared = np.random.default_rng([self.course.seed, self.step])
        rng = np.random.default_rng([self.course.seed, self.step, self.course.rank + 1])
        torch.manual_seed(int(rng.integers(2**31)))
        loss = self.stage.loss(shared, rng, self.step / self.course.steps)
        loss.backward()  # type: ignore[no-untyped-call]
        stopping = self._share(stopping)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        share = rate_at(self.step, self.course.steps)
        for optimizer, part in zip(self.optimizers, (1.0, 0.5), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = self.rate * share * part * group.get("boost", 1.0)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self._blend()
        return float(loss.detach()), stopping

    def _share(self, stopping: bool) -> bool:
        """Average the gradients over the workers; the wish to stop travels with them, so that all stop together."""
        if self.course.workers == 1:
            return stopping
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        flat = torch.cat([g.flatten() for g in gradients] + [torch.tensor([float(stopping)])])
        dist.all_reduce(flat)
        flat /= self.course.workers
        pieces = torch.split(flat[:-1], [p.numel() for p in self.parameters])
        for parameter, piece in zip(self.parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)
        return bool(flat[-1] > 0)

    @torch.no_grad()
    def _blend(self) -> None:
        keep = min(self.course.horizon, self.step / (self.step + 10))
        for name, value in self.stage.module.state_dict().items():
            self.average[name].mul_(keep).add_(value, alpha=1 - keep)


def rate_at(step: int, steps: int) -> float:
    """Share of the full learning rate."""
    falling = max(0.0, (step / steps - STEADY) / (1 - STEADY))
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, falling)))


def averaged(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights of a stage, which are the ones to use."""
    state: dict[str, Tensor] = torch.load(checkpoint, map_location="cpu", weights_only=True)["average"]
    return state


def train(stage: Stage, course: Course) -> None:
    """Train a stage to its last step, or until the process is told to stop; either way it is saved."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    student = Student(stage, course)
    student.resume()
    log = Log(course, stage.name)
    saved, stopping = time.monotonic(), False
    while student.step < course.steps and not stopping:
        loss, stopping = student.learn(bool(asked))
        log.note(student.step, loss)
        if course.rank == 0 and time.monotonic() - saved > course.save_seconds:
            student.save()
            saved = time.monotonic()
    if course.rank == 0:
        student.save()


class Log:
    """The mean loss of every fifty steps, as lines of JSON and on stdout."""

    def __init__(self, course: Course, name: str) -> None:
        self.path = course.folder / f"{name}.jsonl" if course.rank == 0 else None
        self.losses: list[float] = []
        self.began = time.monotonic()

    def note(self, step: int, loss: float) -> None:
        """Take the loss of a step."""
        self.losses.append(loss)
        if step % 50 or self.path is None:
            return
        entry: dict[str, Any] = {"step": step, "loss": round(sum(self.losses) / len(self.losses), 4)}
        entry["seconds_a_step"] = round((time.monotonic() - self.began) / len(self.losses), 3)
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(self.path.stem, entry, flush=True)
        self.losses, self.began = [], time.monotonic()
