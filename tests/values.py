"""Ready-made values for the tests of the pure rooms: a request, a card, machines, a job. Everything can be replaced."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from vidgen.core.card import Component, Cost, Grid, Guidance, ModelCard, Phase, Schedule, Way
from vidgen.core.errors import Refusal
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Canvas, Job, PhasePlan, Placement, Plan, Precision, Rung, Weights
from vidgen.core.request import Mode, Request

NOTHING = Weights(folder=None, sizes={})

REQUEST = Request(
    mode=Mode.T2V,
    model="sketch",
    prompt="a red circle",
    negative="",
    width=64,
    height=64,
    frames=17,
    fps=Fraction(8),
    steps=20,
    guidance_scale=3.0,
    seed=7,
    output=Path("clip.mp4"),
)

PHASES = {
    Phase.ENCODE: ("text_encoder", "tokenizer"),
    Phase.DENOISE: ("transformer", "scheduler"),
    Phase.DECODE: ("vae",),
}

CARD = ModelCard(
    name="sketch",
    family="ltx",
    title="Sketch",
    summary="A card of nobody's model.",
    rank=1,
    repository="someone/sketch",
    grid=Grid(size=32, frames=8),
    components=(
        Component(name="transformer", kind="LTXVideoTransformer3DModel", parameters=2**30),
        Component(name="vae", kind="AutoencoderKLLTXVideo", parameters=2**29),
        Component(name="text_encoder", kind="T5EncoderModel", parameters=2**31),
        Component(name="tokenizer", kind="T5Tokenizer"),
        Component(name="scheduler", kind="FlowMatchEulerDiscreteScheduler"),
    ),
    ways={
        Mode.T2V: Way(pipeline="LTXPipeline", phases=PHASES),
        Mode.I2V: Way(pipeline="LTXImageToVideoPipeline", phases=PHASES, keyframes=1),
        Mode.KEYFRAME: Way(pipeline="LTXConditionPipeline", phases=PHASES, keyframes=3),
    },
    schedule=Schedule(guidance=Guidance.CLASSIFIER_FREE),
    cost=Cost(token_kib=64.0, pixel_bytes=100.0, tile_gib=0.5),
    tokens=128,
    negative=True,
    defaults={
        "size": "64x64",
        "frames": 17,
        "fps": "8",
        "steps": 20,
        "guidance_scale": 3.0,
        "negative": "",
    },
)

DISTILLED = replace(
    CARD,
    name="quick",
    schedule=Schedule(guidance=Guidance.DISTILLED, timesteps=(1000.0, 500.0, 250.0, 100.0)),
    defaults={**CARD.defaults, "steps": 4, "guidance_scale": 1.0},
)

CPU = Machine(device=Device.CPU, name="a processor", ram_gib=24.0, cores=8)


def cuda(vram_gib: float) -> Machine:
    """A machine with a card of `vram_gib`."""
    return Machine(device=Device.CUDA, name=f"a card of {vram_gib:g}", vram_gib=vram_gib, ram_gib=64.0, cores=8)


def request(**changed: Any) -> Request:
    """REQUEST, with changes."""
    return replace(REQUEST, **changed)


def job(wanted: Request = REQUEST, **changed: Any) -> Job:
    """A job for `wanted` on the processor, with changes."""
    rung = Rung(precision=Precision.FP32, placement=Placement.RESIDENT)
    phases = (PhasePlan(phase=Phase.DENOISE, components=("transformer",), weights_gib=2.0),)
    ready = Job(
        request=wanted,
        card=CARD,
        canvas=Canvas(width=wanted.width, height=wanted.height, frames=wanted.frames),
        plan=Plan(machine=CPU, rung=rung, phases=phases),
        weights=NOTHING,
        settings=(),
    )
    return replace(ready, **changed)


def says(refused: "pytest.ExceptionInfo[Refusal]", code: int, *wanted: str) -> None:
    """Assert the exit code of a refusal, and that its message and remedy together say each of `wanted`."""
    refusal = refused.value
    assert refusal.exit_code == code
    assert refusal.remedy
    for text in wanted:
        assert text in f"{refusal.message}\n{refusal.remedy}"
