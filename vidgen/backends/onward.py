"""From step to step: what is looked at and told after each, and how a stock pipeline goes on from a step that was kept.

To go on, the pipeline walks its whole schedule again with its transformer asleep, and is handed the latents at the step
that was kept. So it draws its noise, encodes its pictures and counts its scheduler as ever; why: docs/decisions/0009.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from vidgen.backends import pipes
from vidgen.backends.port import Step, Tensors
from vidgen.core.errors import ChecksFailed, InputRefused
from vidgen.core.plan import Job

Callback: TypeAlias = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]
"""What Diffusers calls after each step, with the pipeline, the index, the timestep and the tensors asked for."""

BAND = 30.0
"""Latents are normalised: noise has a size of 1, finished latents of about 1. Thirty times that is no picture."""

STRONG = 15.0
"""Guidance beyond what any model's makers use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """How a pipeline walks, where it is not once through its schedule with latents alone.

    `beside`: what it draws beside the latents, and the transformer's name for it; the callback is given that too.
    `before`: steps of earlier walks; `total`: those of all, 0 for this one's.
    """

    beside: Mapping[str, str] = field(default_factory=dict)
    before: int = 0
    total: int = 0


ONCE = Walk()


@contextmanager
def stepping(
    job: Job, pipe: Any, generator: torch.Generator, step: Step, since: Tensors | None, walk: Walk = ONCE
) -> Iterator[Callback]:
    """While it lasts, the callback that it gives carries `pipe` from `since`, if there is one, to the end.

    The callback looks at the latents of each new step (exit 7), tells `step`, and offers it the state to go on from:
    `latents` and what is drawn beside them, the `generator`'s state and the number of the `step`. A scheduler that
    remembers more than its own place between steps would have to put that in too.
    """
    kept = int(since["step"]) if since else 0
    with ExitStack() as asleep:
        if kept:
            asleep.enter_context(_asleep(pipe.transformer, walk.beside))

        def after(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            done, total = walk.before + index + 1, walk.total or pipe.num_timesteps
            drawn = {name: tensors[name] for name in ("latents", *walk.beside)}
            if since and done <= kept:
                _fits(since, kept, drawn, total)
                if done < kept:
                    return {}
                asleep.close()
                generator.set_state(since["generator"])
                return _put_back(since, drawn)
            for latents in drawn.values():
                watched(job, latents, f"after step {done} of {total}")
            step(done, total, lambda: _state(done, drawn, generator))
            return {}

        yield after


def _put_back(since: Tensors, drawn: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """What was kept, laid out in memory as the pipeline's own: other strides would be rounded otherwise.

    A pipeline takes back its latents alone; what it draws beside them is written over.
    """
    for name in drawn.keys() - {"latents"}:
        drawn[name].copy_(since[name])
    return {"latents": torch.empty_like(drawn["latents"]).copy_(since["latents"])}


def watched(job: Job, latents: torch.Tensor, where: str) -> None:
    """Refuse (exit 7) latents that no picture can come of, as soon as they are there; the likely cause is named."""
    size = float(latents.float().square().mean().sqrt())
    if size < BAND:
        return
    if bool(torch.isfinite(latents).all()):
        said = f"latents {size:.3g} times as large as noise {where}: the video would be noise"
    else:
        said = f"NaN or infinite values {where}: the video would be black or noise"
    raise ChecksFailed(said, _likely(job))


def _likely(job: Job) -> str:
    """The likeliest cause, and what to do about it."""
    if job.request.loras:
        return "most likely a LoRA is too strong or made for another model: lower its weight, or leave it out"
    if job.request.guidance_scale > STRONG:
        return f"most likely a guidance scale of {job.request.guidance_scale:g} is too much: lower --guidance-scale"
    return "try another seed; if it stays, the weights are damaged: download them again"


def _state(done: int, drawn: Tensors, generator: torch.Generator) -> Tensors:
    return pipes.on_disk({**drawn, "generator": generator.get_state(), "step": torch.tensor(done)})


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
def _asleep(transformer: Any, beside: Mapping[str, str]) -> Iterator[None]:
    """While it lasts, `transformer` gives back what it is given, in no time; what others did to its `forward` stays."""
    before = vars(transformer).get("forward")
    transformer.forward = lambda hidden_states, **words: (hidden_states, *(words[name] for name in beside.values()))
    try:
        yield
    finally:
        del transformer.forward
        if before is not None:
            transformer.forward = before
