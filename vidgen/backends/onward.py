"""From step to step: what is looked at and told after each, and how a stock pipeline goes on from a step that was kept.

To go on, the pipeline walks its whole schedule again with its transformer asleep, and is handed the latents at the step
that was kept. So it draws its noise, encodes its pictures and counts its scheduler as ever; why: docs/decisions/0009.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch

from vidgen.backends import memories, pipes
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


@contextmanager
def stepping(
    job: Job,
    pipe: Any,
    generator: torch.Generator,
    step: Step,
    since: Tensors | None,
    *,
    dreamt: Dream = lambda taken: taken,
) -> Iterator[Callback]:
    """While it lasts, the callback that it gives carries `pipe` from `since`, if there is one, to the end.

    The callback looks at the latents of each new step (exit 7), tells `step`, and offers it the state to go on from:
    `latents`, the `generator`'s state, the number of the `step`, and what the scheduler remembers beside its own place.
    `dreamt`: what a sleeping transformer gives for what it takes, where that is of another shape.
    """
    kept = int(since["step"]) if since else 0
    with memories.of(pipe.scheduler) as memory, ExitStack() as asleep:
        for transformer in _transformers(pipe) if kept else ():
            asleep.enter_context(_asleep(transformer, dreamt))

        def after(pipe: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            done, total, latents = index + 1, pipe.num_timesteps, tensors["latents"]
            if since and done <= kept:
                _fits(since, kept, latents, total)
                if done < kept:
                    return {}
                asleep.close()
                generator.set_state(since["generator"])
                memory.put_back(since, latents.device)
                # laid out in memory as the pipeline's own: other strides would be rounded otherwise
                return {"latents": torch.empty_like(latents).copy_(since["latents"])}
            watched(job, latents, f"after step {done} of {total}")
            step(done, total, lambda: _state(done, latents, generator, memory.taken()))
            return {}

        yield after


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
    return "try another seed; if it stays, the weights are damaged: download them again"


def _state(done: int, latents: torch.Tensor, generator: torch.Generator, remembered: Tensors) -> Tensors:
    own = {"latents": latents, "generator": generator.get_state(), "step": torch.tensor(done)}
    return pipes.on_disk({**own, **remembered})


def _transformers(pipe: Any) -> list[Any]:
    """All that draw in turn: some models have one for the first steps and another for the rest."""
    return [part for name, part in pipe.components.items() if name.startswith("transformer") and part is not None]


def _fits(since: Tensors, kept: int, latents: torch.Tensor, total: int) -> None:
    """Refuse (exit 3) what was kept of another model or schedule."""
    shape = tuple(since["latents"].shape)
    if shape != tuple(latents.shape) or kept > total:
        raise InputRefused(
            f"the checkpoint holds latents of {shape} after step {kept}, "
            f"where this model draws {tuple(latents.shape)} in {total} steps",
            "it is another model's or damaged: remove its .part folder",
        )


@contextmanager
def _asleep(transformer: Any, dreamt: Dream) -> Iterator[None]:
    """While it lasts, `transformer` gives back what it is given, in no time; what others did to its `forward` stays."""
    before = vars(transformer).get("forward")
    transformer.forward = lambda hidden_states, **words: (dreamt(hidden_states),)
    try:
        yield
    finally:
        del transformer.forward
        if before is not None:
            transformer.forward = before
