"""Planning: the first rung that fits, and a sentence with numbers for each one that does not."""

import re
from dataclasses import replace

import pytest

from tests.values import CARD, CPU, NOTHING, cuda, request, says
from vidgen.catalog import cards
from vidgen.core.errors import DoesNotFit
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Placement, Plan, Precision
from vidgen.core.request import Mode, Request
from vidgen.planning.check import draw
from vidgen.planning.memory import phases
from vidgen.planning.planner import RESERVE_GIB, choose, describe, ladder
from vidgen.planning.settle import Subject, settle

FULL = request(width=768, height=512, frames=121)
"""FULL needs, at bf16: resident 7 + 4.43 GiB; by phases 4.0, 2.75, 5.43; in tiles 4.0, 2.75, 1.5."""


def on(machine: Machine, wanted: Request = FULL) -> Plan:
    return choose(wanted, CARD, draw(wanted, CARD), machine, NOTHING)


def ltx_on(name: str, machine: Machine) -> Plan:
    card = cards.card(name)
    (wanted,), _ = settle({}, card, Subject(mode=Mode.T2V, prompt="x"), fresh_seed=1)
    return choose(wanted, card, draw(wanted, card), machine, NOTHING)


@pytest.mark.parametrize(
    ("machine", "rung"),
    [
        (CPU, "fp32, everything resident"),
        (replace(CPU, ram_gib=13), "bf16, everything resident"),
        (replace(CPU, ram_gib=7), "bf16, one phase at a time"),
        (replace(CPU, ram_gib=5), "bf16, one phase at a time, decoding in tiles of 512"),
        (cuda(80), "bf16, everything resident"),
        (cuda(12.5), "bf16, everything resident"),
        (cuda(8), "bf16, one phase at a time"),
        (cuda(6), "bf16, one phase at a time, decoding in tiles of 512"),
        (replace(CPU, device=Device.MPS, ram_gib=8), "bf16, one phase at a time"),
    ],
)
def test_the_first_rung_that_fits_is_taken(machine: Machine, rung: str) -> None:
    assert describe(on(machine).rung) == rung


@pytest.mark.parametrize(
    ("machine", "precision", "placement", "tiling"),
    [
        (CPU, Precision.BF16, Placement.RESIDENT, False),
        (cuda(80), Precision.BF16, Placement.RESIDENT, False),
        (cuda(24), Precision.BF16, Placement.RESIDENT, False),
        (cuda(12), Precision.BF16, Placement.PHASE, False),
        (cuda(8), Precision.INT8, Placement.PHASE, False),
    ],
)
def test_ltx_2b_at_its_own_settings_is_planned_like_this(
    machine: Machine, precision: Precision, placement: Placement, tiling: bool
) -> None:
    rung = ltx_on("ltx-video-2b-0.9.5", machine).rung
    assert (rung.precision, rung.placement, rung.tiling) == (precision, placement, tiling)


@pytest.mark.parametrize("vram_gib", [5.2, 6, 8, 10, 12, 16, 24, 48, 80])
def test_a_plan_never_needs_more_than_there_is(vram_gib: float) -> None:
    machine = cuda(vram_gib)
    assert on(machine).peak_gib <= machine.memory_gib - RESERVE_GIB[Device.CUDA]


@pytest.mark.parametrize("ram_gib", [5.5, 7.0, 13.0, 24.0])
def test_each_rung_passed_over_is_told_with_what_it_needs_and_what_there_is(ram_gib: float) -> None:
    plan = on(replace(CPU, ram_gib=ram_gib))
    rungs = ladder(Device.CPU)
    assert len(plan.passed_over) == rungs.index(plan.rung)
    for rung, sentence in zip(rungs, plan.passed_over, strict=False):
        found = re.fullmatch(rf"{re.escape(describe(rung))}: needs (\S+) GiB, (\S+) GiB are free", sentence)
        assert found
        assert float(found[1]) > float(found[2]) == ram_gib - 1


def test_what_fits_at_once_passes_nothing_over() -> None:
    assert on(cuda(80)).passed_over == ()


@pytest.mark.parametrize("machine", [cuda(4), replace(CPU, ram_gib=2), cuda(0)])
def test_what_does_not_fit_is_refused_with_the_numbers(machine: Machine) -> None:
    with pytest.raises(DoesNotFit) as refused:
        on(machine)
    free = f"{machine.memory_gib - 1:.1f} GiB are free"
    says(refused, 5, "sketch does not fit", machine.name, "needs 4.0 GiB", free, "fewer frames or a smaller size")


def test_a_large_model_does_not_fit_a_small_card_and_the_numbers_say_so() -> None:
    with pytest.raises(DoesNotFit) as refused:
        ltx_on("ltx-video-13b-0.9.7-dev", cuda(12))
    says(refused, 5, "ltx-video-13b-0.9.7-dev does not fit a card of 12", "11.0 GiB are free")


def test_a_precision_that_is_asked_for_is_held_to() -> None:
    for precision in Precision:
        assert on(cuda(80), replace(FULL, precision=precision.value)).rung.precision is precision
    with pytest.raises(DoesNotFit) as refused:
        on(cuda(4.5), replace(FULL, precision="bf16"))
    says(refused, 5, "sketch does not fit", "leave --precision to the plan")


@pytest.mark.parametrize("device", Device)
def test_each_ladder_steps_down_in_memory(device: Device) -> None:
    card = cards.card("ltx-video-2b-0.9.5")
    (wanted,), _ = settle({}, card, Subject(mode=Mode.T2V, prompt="x"), fresh_seed=1)
    canvas = draw(wanted, card)
    for precision in dict.fromkeys(rung.precision for rung in ladder(device)):
        peaks = [
            max(phase.weights_gib + phase.work_gib for phase in phases(wanted, card, canvas, NOTHING, rung))
            for rung in ladder(device)
            if rung.precision is precision
        ]
        assert peaks == sorted(peaks, reverse=True)
