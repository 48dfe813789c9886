"""From step to step: what is looked at and told after each, and how a stock pipeline goes on from a step that was kept.

To go on, the pipeline walks its whole schedule again with its transformer asleep, and is handed the latents at the step
that was kept. So it draws its noise, encodes its pictures and counts its scheduler as ever; why: docs/decisions/0009.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeAlias

import torch

from vidgen.backends import memories, pipes, store
from vidgen.backends.port import Step, Tensors
from vidgen.core.errors import InputRefused, NotFinite
from vidgen.core.plan import Job

Callback: TypeAlias = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]
"""What Diffusers calls after each step, with the pipeline, the index, the timestep and the tensors asked for."""

Dream: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

BAND = 30.0
"""Latents are normalised: noise has a size of 1, finished latents of about 1. Thirty times that is no picture."""

STRONG = 15.0
"""Guidance beyond what any model's makers use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """How a pipeline walks, where it is not once through its schedule with latents alone.

    `beside`: what it draws beside the latents, and the transformer's name for it; the callback is given that too.
    `dreamt`: what the sleeping transformer gives for what it takes, where that is of another shape. `before`: steps of
    earlier walks; `total`: those of all, 0 for this one's. `pieces`: how many times the pipeline walks its schedule, a
    piece of the clip each time; the steps count on. `steps`: those of a piece, where the pipeline counts them wrongly.
    """

    beside: Mapping[str, str] = field(default_factory=dict)
    dreamt: Dream = lambda taken: taken
    before: int = 0
    total: int = 0
    pieces: int = 1
    steps: int = 0


ONCE = Walk()


@contextmanager
def stepping(
    job: Job, pipe: Any, generator: torch.Generator, step: Step, since: Tensors | None, walk: Walk = ONCE
) -> Iterator[Callback]:
    """While it lasts, the callback that it gives carries `pipe` from `since`, if there is one, to the end.

    The callback looks at the latents of each new step (exit 7), tells `step`, and offers it the state to go on from:
    `latents` and what is drawn beside them, pieces that are `finished`, the `generator`'s state, the number of the
    `step` and of all `steps`, and what the scheduler remembers beside its own place.
    """
    with memories.of(pipe.scheduler) as memory, ExitStack() as asleep:
        for transformer in _transformers(pipe) if since else ():
            asleep.enter_context(_asleep(transformer, walk))
        yield _Steps(
            job=job,
            generator=generator,
            step=step,
            since=since or {},
            walk=walk,
            memory=memory,
            wake=asleep.close,
            done=walk.before,
        )


@dataclass(kw_only=True, slots=True)
class _Steps:
    """The callback of one run: what was done already is handed over, what is new is looked at and told."""

    job: Job
    generator: torch.Generator
    step: Step
    since: Tensors
    walk: Walk
    memory: memories.Memory
    wake: Callable[[], None]
    done: int
    finished: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps = self.walk.steps or pipe.num_timesteps
        total, at_end = self.walk.total or steps * self.walk.pieces, index + 1 == steps
        drawn = {name: tensors[name] for name in ("latents", *self.walk.beside)}
        self.done += 1
        kept = int(self.since["step"]) if self.since else 0
        if self.done <= kept:
            if self.done == kept or kept > total:
                _fits(self.since, kept, drawn, total)
            drawn["latents"] = self._again(drawn, kept, at_end=at_end)
        else:
            self._tell(self.done, total, drawn)
        if at_end and self.walk.pieces > 1:
            self.finished.append(drawn["latents"])
        return {"latents": drawn["latents"]}

    def _again(self, drawn: Tensors, kept: int, *, at_end: bool) -> torch.Tensor:
        """The latents of a step that was done: those that were kept, at the kept step and at the end of a piece.

        A pipeline takes back its latents alone; what it draws beside them is written over.
        """
        if self.done == kept:
            self.wake()
            self.generator.set_state(self.since["generator"])
            self.memory.put_back(self.since, drawn["latents"].device)
            for name in self.walk.beside:
                drawn[name].copy_(self.since[name])
            own = self.since["latents"]
        elif at_end and self.walk.pieces > 1:
            before, size = sum(piece.numel() for piece in self.finished), drawn["latents"].numel()
            own = self.since["finished"].flatten()[before : before + size].view_as(drawn["latents"])
        else:
            return drawn["latents"]
        # laid out in memory as the pipeline's own: other strides would be rounded otherwise
        return torch.empty_like(drawn["latents"]).copy_(own)

    def _tell(self, done: int, total: int, drawn: Tensors) -> None:
        for latents in drawn.values():
            watched(self.job, latents, f"after step {done} of {total}")
        state = partial(_state, done, total, drawn, self.generator, self.memory, self.finished)
        self.step(done, total, state)


@contextmanager
def listening(pipe: Any, after: Callback) -> Iterator[None]:
    """While it lasts, `after` is called after each step of a pipeline that takes no callback: its scheduler tells."""
    own, steps = pipe.scheduler.step, count()

    def told(noise: torch.Tensor, moment: Any, *given: Any, **named: Any) -> tuple[torch.Tensor, ...]:
        latents, *rest = own(noise, moment, *given, **named)
        said = after(pipe, next(steps), moment, {"latents": latents})
        return said.get("latents", latents), *rest

    pipe.scheduler.step = told
    try:
        yield
    finally:
        del pipe.scheduler.step


class Last:
    """A callback that keeps the latents of the last step: a pipeline may give back less than it drew."""

    def __init__(self, after: Callback) -> None:
        self._after = after
        self.latents = torch.empty(0)

    def __call__(self, pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """What `after` says; called by Diffusers after each step."""
        said = self._after(pipe, index, timestep, tensors)
        self.latents = said.get("latents", tensors["latents"])
        return said


def watched(job: Job, latents: torch.Tensor, where: str) -> None:
    """Refuse (exit 7) latents that no picture can come of, as soon as they are there; the likely cause is named."""
    size = float(latents.float().square().mean().sqrt())
    if size < BAND:
        return
    if bool(torch.isfinite(latents).all()):
        said = f"latents {size:.3g} times as large as noise {where}: the video would be noise"
    else:
        said = f"NaN or infinite values {where}: the video would be black or noise"
    raise NotFinite(said, _likely(job))


def _likely(job: Job) -> str:
    """The likeliest cause, and what to do about it."""
    if job.request.loras:
        return "most likely a LoRA is too strong or made for another model: lower its weight, or leave it out"
    if job.request.guidance_scale > STRONG:
        return f"most likely a guidance scale of {job.request.guidance_scale:g} is too much: lower --guidance-scale"
    if job.plan.rung.kind:
        return "try another seed; if it stays, the GGUF file is damaged: fetch it again"
    if job.plan.rung.precision.quantized:
        return f"try another seed; if it stays, a quantized copy is damaged: remove those in {store.store()}"
    return "try another seed; if it stays, the weights are damaged: download them again"


def _state(
    done: int,
    total: int,
    drawn: Tensors,
    generator: torch.Generator,
    memory: memories.Memory,
    finished: Sequence[torch.Tensor],
) -> Tensors:
    steps = {"step": torch.tensor(done), "steps": torch.tensor(total)}
    # in one row: pieces may differ in length
    pieces = {"finished": torch.cat([piece.flatten() for piece in finished])} if finished else {}
    return pipes.on_disk({**drawn, "generator": generator.get_state(), **steps, **pieces, **memory.taken()})


def _transformers(pipe: Any) -> list[Any]:
    """All that draw in turn: some models have one for the first steps and another for the rest."""
    return [part for name, part in pipe.components.items() if name.startswith("transformer") and part is not None]


def _fits(since: Tensors, kept: int, drawn: Tensors, total: int) -> None:
    """Refuse (exit 3) what was kept of another model or schedule."""
    for name, latents in drawn.items():
        shape = tuple(since[name].shape) if name in since else ()
        if shape != tuple(latents.shape) or kept > total:
            raise InputRefused(
                f"the checkpoint holds {name.replace('_', ' ')} of {shape} after step {kept}, "
                f"where this model draws {tuple(latents.shape)} in {total} steps",
                "it is another model's or damaged: remove its .part folder",
            )


@contextmanager
def _asleep(transformer: Any, walk: Walk) -> Iterator[None]:
    """While it lasts, `transformer` gives back what it is given, in no time; what others did to its `forward` stays."""
    before = vars(transformer).get("forward")
    transformer.forward = lambda hidden_states, **words: (
        walk.dreamt(hidden_states),
        *(words[name] for name in walk.beside.values()),
    )
    try:
        yield
    finally:
        del transformer.forward
        if before is not None:
            transformer.forward = before
