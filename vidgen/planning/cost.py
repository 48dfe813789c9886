"""How long each phase takes: arithmetic by exact counts over what a card can do, and weights on their way to it."""

from collections.abc import Mapping
from dataclasses import replace

from vidgen.core.card import Guidance, ModelCard, Phase
from vidgen.core.machine import Machine, Rates
from vidgen.core.plan import Canvas, Placement, Plan, Precision, Rung, Weights
from vidgen.core.request import Mode, Request
from vidgen.planning.memory import (
    AHEAD,
    GIB,
    STREAMED,
    batched,
    block_gib,
    component_gib,
    held_in,
    latent_tokens,
    streamed_gib,
)

ETA = 0.6
"""What of a card's published TFLOP/s long matrix products and attention reach. HunyuanVideo 13B at 720p and 50 steps is
603 PFLOP: 945 s on an H100 of 989 TFLOP/s, as published with FlashAttention 3 (arXiv 2502.04507), is 0.64."""

CONVOLVED = 0.4
"""The same for the decoder's convolutions, which rarely reach half of what matrix products do: a guess."""

DISK_GBS = 3.0
"""GB a second from a disk: a plain NVMe."""

OVERLAP = 1.78
"""Pixels decoded for each one kept, where tiles overlap by a quarter each way: (4/3) squared."""

UNRATED = Rates(tflops=1.0, memory_gbs=1000.0, link_gbs=25.0)
"""Stands for a machine whose rates nobody knows: with it, arithmetic gives but a measure to multiply."""


def timed(plan: Plan, request: Request, card: ModelCard, canvas: Canvas, weights: Weights) -> Plan:
    """`plan` with the seconds of each phase: by arithmetic times its pace, 0 where neither is known."""
    plain = arithmetic(request, card, canvas, weights, plan.rung, plan.machine)
    known = known_for(card, plan.machine)
    phases = tuple(
        replace(
            phase,
            seconds=0.0
            if phase.phase in plan.rung.host
            else plain[phase.phase] * plan.pace.get(phase.phase, 1.0 if known else 0.0),
        )
        for phase in plan.phases
    )
    return replace(plan, phases=phases)


def known_for(card: ModelCard, machine: Machine) -> bool:
    """Whether arithmetic alone says how long the model takes on the machine."""
    return machine.rates is not None and card.cost.token_gflop > 0 and card.cost.pixel_mflop > 0


def arithmetic(
    request: Request, card: ModelCard, canvas: Canvas, weights: Weights, rung: Rung, machine: Machine
) -> Mapping[Phase, float]:
    """Seconds of each phase by arithmetic; of a machine or a model that is not known, no more than a measure."""
    rates = machine.rates or UNRATED
    loaded = {phase: _loaded(request.mode, phase, card, weights, rung, rates) for phase in Phase}
    return {
        Phase.ENCODE: loaded[Phase.ENCODE] + card.cost.encoded_tflop / (ETA * rates.tflops),
        Phase.DENOISE: loaded[Phase.DENOISE]
        + sum(
            steps * _step(request, card, drawn, weights, rung, rates, asked)
            for steps, drawn, asked in walks(request, card, canvas)
        ),
        Phase.DECODE: loaded[Phase.DECODE] + decoded_tflop(card, canvas, rung) / (CONVOLVED * rates.tflops),
    }


def forward_tflop(card: ModelCard, canvas: Canvas) -> float:
    """One pass of the transformer over the canvas; of a model that was not counted, its tokens in thousands."""
    return _linear_tflop(card, canvas) + _attention_tflop(card, canvas)


def _linear_tflop(card: ModelCard, canvas: Canvas) -> float:
    return latent_tokens(card, canvas) * (card.cost.token_gflop or 1.0) / 1e3


def _attention_tflop(card: ModelCard, canvas: Canvas) -> float:
    return (latent_tokens(card, canvas) + card.cost.text) ** 2 * card.cost.pair_flop / 1e12


def _forward(card: ModelCard, canvas: Canvas, rung: Rung, rates: Rates) -> float:
    """Seconds of one pass; in fp8, linear layers are multiplied at its own rate where the card has one."""
    eights = rung.precision is Precision.FP8 and rates.fp8_tflops
    linear = _linear_tflop(card, canvas) / (eights or rates.tflops)
    return (linear + _attention_tflop(card, canvas) / rates.tflops) / ETA


def decoded_tflop(card: ModelCard, canvas: Canvas, rung: Rung) -> float:
    """Decoding the canvas; of a model that was not counted, its pixels in millions."""
    pixels = canvas.width * canvas.height * canvas.frames
    again = OVERLAP if 0 < rung.tiling < max(canvas.width, canvas.height) else 1.0
    return pixels * (card.cost.pixel_mflop or 1.0) * again / 1e6


def walks(request: Request, card: ModelCard, canvas: Canvas) -> list[tuple[int, Canvas, int]]:
    """The steps of each stage, what it draws, and how often it asks the transformer at each step."""
    asked, refine = passes(request, card), card.refine
    if refine is None:
        return [(request.steps, canvas, asked)]
    half = replace(canvas, width=canvas.width // 2, height=canvas.height // 2)
    return [(request.steps, half, asked), (refine.walked, canvas, asked if refine.guided else 1)]


def passes(request: Request, card: ModelCard) -> int:
    """How often the transformer is asked at each step."""
    embedded = card.schedule.guidance is Guidance.EMBEDDED and request.true_cfg_scale > 1
    guided = card.schedule.guidance is not Guidance.EMBEDDED and request.guidance_scale > 1
    return card.schedule.passes if guided or embedded else 1


def _step(
    request: Request, card: ModelCard, canvas: Canvas, weights: Weights, rung: Rung, rates: Rates, asked: int
) -> float:
    """One step: in each call of the transformer, the slower of arithmetic, its memory and weights on their way."""
    calls = asked - 1 if asked > 1 and batched(request, card) and not rung.turns else asked
    pieces = -(-canvas.frames // (card.cost.frames or canvas.frames))
    compute = asked * _forward(card, canvas, rung, rates)
    held = moved = 0.0
    for name in card.ways[request.mode].phases[Phase.DENOISE]:
        component, precision = card.component(name), held_in(name, rung)
        if component.blocks:
            held = max(held, component_gib(name, card, weights, precision))
        if component.streams and rung.placement in STREAMED and rung.resident < component.layers:
            there = streamed_gib(component, weights, precision, rung.resident)
            coming = component_gib(name, card, weights, precision) - there + AHEAD * block_gib(component, precision)
            moved = max(moved, coming)
    way_gbs = DISK_GBS if rung.placement is Placement.DISK else rates.link_gbs
    read, brought = (calls * gib * GIB / 1e9 for gib in (held, moved))
    return pieces * max(compute, read / rates.memory_gbs, brought / way_gbs)


def _loaded(mode: Mode, phase: Phase, card: ModelCard, weights: Weights, rung: Rung, rates: Rates) -> float:
    """Weights from the disk to where they work, the slower of disk and link."""
    names = card.ways[mode].phases[phase]
    gib = sum(component_gib(name, card, weights, held_in(name, rung)) for name in names)
    return gib * GIB / 1e9 / min(DISK_GBS, rates.link_gbs)
