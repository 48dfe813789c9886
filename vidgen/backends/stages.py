"""Drawing in two stages: what a first one draws at half the sides is doubled, and a second one draws over it.

What families share: which walks there are, and where a clip goes on that was stopped. How to walk is theirs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vidgen.backends import onward
from vidgen.backends.port import Tensors
from vidgen.core.card import Phase, Refine
from vidgen.core.errors import WeightsRefused
from vidgen.core.plan import Job
from vidgen.core.request import Lora

if TYPE_CHECKING:
    from torch import Tensor

    from vidgen.backends.pipes import Parts

THOUSAND = 1000.0
"""The timestep of a sigma of 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One walk: its sides in pixels, its steps, their schedule (none: the pipeline's own), the steps before it.

    `scale` is the guidance scale in it, and `refine` what the card says of a second one.
    """

    width: int
    height: int
    steps: int
    timesteps: tuple[float, ...]
    scale: float
    before: int = 0
    refine: Refine | None = None

    @property
    def sigmas(self) -> list[float]:
        """Its timesteps as sigmas."""
        return [moment / THOUSAND for moment in self.timesteps]

    @property
    def scheduled(self) -> int:
        """The steps of the schedule that it walks the last part of."""
        return len(self.timesteps) or (self.refine.steps if self.refine else self.steps)


def every(job: Job) -> tuple[Stage, ...]:
    """The walks of the job, in their order."""
    canvas, request, refine = job.canvas, job.request, job.card.refine
    part, scale = 2 if refine else 1, request.guidance_scale
    first = Stage(
        width=canvas.width // part,
        height=canvas.height // part,
        steps=request.steps,
        timesteps=job.card.schedule.at(request.steps),
        scale=scale,
    )
    if refine is None:
        return (first,)
    last = Stage(
        width=canvas.width,
        height=canvas.height,
        steps=refine.walked,
        timesteps=refine.timesteps,
        scale=scale if refine.guided else 1.0,
        before=first.steps,
        refine=refine,
    )
    return first, last


def left(job: Job, since: Tensors | None) -> Iterator[tuple[Stage, Tensors | None]]:
    """The walks that are left after `since`, the first of them with what of it was kept, if it was begun."""
    *_, last = found = every(job)
    done = int(since["step"]) if since else 0
    for stage in found:
        if done <= stage.before + stage.steps or stage is last:
            yield stage, since if done > stage.before else None


def walk(job: Job, stage: Stage, beside: Mapping[str, str] | None = None) -> onward.Walk:
    """How its steps count among those of the job; `beside`: what is drawn beside the latents."""
    return onward.Walk(beside=beside or {}, before=stage.before, total=job.steps)


def worn(job: Job, stage: Stage, parts: "Parts") -> tuple[Lora, ...]:
    """The LoRAs of a stage: those of the request, and after them the model's own."""
    own = stage.refine.lora if stage.refine else ""
    return (*job.request.loras, *([Lora(path=parts.file(own))] if own else []))


def doubled(job: Job, parts: "Parts", kind: Any, vae: Any, **words: Any) -> "Tensor":
    """What the upscaler makes of a first stage's latents; `words` say them to `kind`, its pipeline."""
    refine, held = _refined(job), parts.hold(job.card.ways[job.request.mode].phases[Phase.DENOISE])
    if refine.upscaler not in held:
        said = f"{job.card.name} refines by {refine.upscaler!r}, which its {job.request.mode} does not hold"
        raise WeightsRefused(said, "name it under denoise in the model's card")
    (latents,) = kind(vae=vae, latent_upsampler=held[refine.upscaler])(
        video=None,
        height=job.canvas.height // 2,
        width=job.canvas.width // 2,
        decode_timestep=0.0,
        decode_noise_scale=None,
        adain_factor=refine.adain,
        tone_map_compression_ratio=refine.tone_map,
        generator=None,
        output_type="latent",
        return_dict=False,
        **words,
    )
    tensor: Tensor = latents
    return tensor


def _refined(job: Job) -> Refine:
    assert job.card.refine is not None  # only a second stage asks for what was doubled
    return job.card.refine
