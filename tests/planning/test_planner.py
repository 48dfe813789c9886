"""Planning: the first rung that fits, and a sentence with numbers for each one that does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.planning.counted import MODELS, counted, usual
from tests.values import CARD, CPU, NOTHING, cuda, request, says
from vidgen.core.card import Guidance, Schedule
from vidgen.core.errors import DoesNotFit, UsageRefused
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Placement, Plan, Precision
from vidgen.core.request import Keyframe, Request
from vidgen.planning.check import draw
from vidgen.planning.ladder import describe, ladder, rungs
from vidgen.planning.memory import phases
from vidgen.planning.nearest import another, nearest, shorter
from vidgen.planning.planner import UNSTACKED, choose, room_gib

FULL = request(width=768, height=512, frames=121)
"""FULL needs, at bf16: resident 7 + 4.43 GiB; by phases 4.0, 2.75, 5.43; in tiles 4.0, 2.75, 1.5."""


def on(machine: Machine, wanted: Request = FULL) -> Plan:
    return choose(wanted, CARD, draw(wanted, CARD), machine, NOTHING)


def real(name: str, card_gib: float, ram_gib: float = 64.0, /, **changed: Any) -> Plan:
    """The plan of a full-size model's own clip, with changes, on a card."""
    card = counted(name)
    wanted = usual(card, **changed)
    return choose(wanted, card, draw(wanted, card), replace(cuda(card_gib), ram_gib=ram_gib), NOTHING)


@pytest.mark.parametrize(
    ("machine", "rung"),
    [
        (CPU, "fp32, everything resident"),
        (replace(CPU, ram_gib=13), "bf16, everything resident"),
        (replace(CPU, ram_gib=7), "bf16, one phase at a time"),
        (replace(CPU, ram_gib=5), "bf16, one phase at a time, decoding in tiles of 512"),
        (cuda(80), "bf16, everything resident"),
        (cuda(12.8), "bf16, everything resident"),
        (cuda(8), "bf16, one phase at a time"),
        (cuda(6), "bf16, one phase at a time, decoding in tiles of 512"),
        (replace(CPU, device=Device.MPS, ram_gib=8), "bf16, one phase at a time"),
    ],
)
def test_the_first_rung_that_fits_is_taken(machine: Machine, rung: str) -> None:
    assert describe(on(machine).rung) == rung


@pytest.mark.parametrize("vram_gib", [5.2, 6, 8, 10, 12, 16, 24, 48, 80])
def test_a_plan_never_needs_more_than_there_is(vram_gib: float) -> None:
    machine = cuda(vram_gib)
    assert on(machine).peak_gib <= room_gib(machine) < machine.memory_gib


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("vram_gib", [8, 12, 16, 24, 32, 48, 80])
def test_every_large_model_has_a_plan_on_every_card_at_half_its_size_if_need_be(name: str, vram_gib: float) -> None:
    card = counted(name)
    wanted = usual(card)
    small = replace(wanted, width=wanted.width // 2, height=wanted.height // 2)
    for ram_gib in (24.0, 64.0):
        plan = real(name, vram_gib, ram_gib, width=small.width, height=small.height)
        assert plan.peak_gib <= room_gib(plan.machine)
        assert plan.host_gib <= ram_gib


@pytest.mark.parametrize(
    ("name", "vram_gib", "ram_gib", "rung"),
    [
        ("ltx-video-2b-0.9.5", 80, 64, "bf16, everything resident"),
        ("ltx-video-2b-0.9.5", 12, 32, "bf16, one phase at a time"),
        ("ltx-video-2b-0.9.5", 8, 32, "bf16, blocks streamed from memory, 28 of them resident"),
        ("hunyuan-video", 48, 64, "bf16, one phase at a time, decoding in tiles of 256"),
        ("hunyuan-video", 24, 64, "bf16, blocks streamed from memory, 12 of them resident, decoding in tiles of 256"),
        ("hunyuan-video-1.5-480p-t2v", 8, 32, "bf16, blocks streamed from memory, 13 of them resident"),
        ("ltx-2-19b-distilled", 8, 64, "bf16, blocks streamed from memory, 5 of them resident"),
        ("ltx-2-19b-distilled", 8, 32, "int8, blocks streamed from memory, 12 of them resident"),
        ("ltx-2-19b-distilled", 8, 16, "nf4, blocks streamed from memory, 24 of them resident"),
        ("ltx-2-19b-distilled", 8, 10, "bf16, blocks read from disk, 5 of them resident"),
        ("ltx-2-19b-distilled", 6, 10, "int8, blocks read from disk, 7 of them resident"),
    ],
)
def test_full_size_models_are_planned_like_this(name: str, vram_gib: float, ram_gib: float, rung: str) -> None:
    assert describe(real(name, vram_gib, ram_gib).rung).startswith(rung)


@pytest.mark.parametrize("vram_gib", [8, 12, 16, 24, 32, 48, 80])
def test_as_many_blocks_stay_as_there_is_room_for(vram_gib: float) -> None:
    plan = real("ltx-2-19b-distilled", vram_gib, offload="stream")
    more = replace(plan.rung, resident=plan.rung.resident + 1)
    whole = plan.rung.resident == 48
    card = counted("ltx-2-19b-distilled")
    [_, denoise, _] = phases(usual(card), card, draw(usual(card), card), NOTHING, more)
    assert whole or plan.rung.resident >= 0
    assert whole or denoise.gib > room_gib(plan.machine)


def test_each_row_passed_over_is_told_once_with_what_it_needs_and_what_there_is() -> None:
    plan = real("ltx-2-19b-distilled", 8, 32)
    assert plan.passed_over == (
        "bf16, everything resident: needs 66.8 GiB to decode, 7.0 GiB are free",
        "bf16, one phase at a time: needs 36.1 GiB to denoise, 7.0 GiB are free",
        "bf16, blocks streamed from memory, 5 of them resident: needs 35.2 GiB of the host's memory, 30.0 GiB are free",
        "bf16, text encoder in int8, one phase at a time: needs 36.1 GiB to denoise, 7.0 GiB are free",
        "int8, everything resident: needs 39.2 GiB to decode, 7.0 GiB are free",
        "int8, one phase at a time: needs 18.9 GiB to denoise, 7.0 GiB are free",
    )


def test_tiles_are_told_by_what_the_whole_picture_would_have_taken() -> None:
    [_, whole] = on(cuda(6)).passed_over
    assert whole == "bf16, one phase at a time: needs 5.4 GiB to decode, 5.1 GiB are free"


def test_passes_take_turns_before_blocks_are_streamed() -> None:
    card = replace(
        counted("ltx-video-13b-0.9.8-distilled"), schedule=Schedule(guidance=Guidance.CLASSIFIER_FREE), negative=True
    )
    wanted = usual(card, guidance_scale=3.0, frames=257, width=1216, height=704)
    for vram_gib, turns in ((40, False), (33, True)):
        plan = choose(wanted, card, draw(wanted, card), cuda(vram_gib), NOTHING)
        assert (plan.rung.placement, plan.rung.turns) == (Placement.PHASE, turns)


def test_where_blocks_were_not_measured_streaming_is_passed_over_and_that_is_said_once() -> None:
    parts = tuple(replace(part, blocks=0.9) if part.parameters else part for part in CARD.components)
    card = replace(CARD, components=parts)
    plan = choose(FULL, card, draw(FULL, card), cuda(4.5), NOTHING)
    assert plan.passed_over.count(UNSTACKED) == 1
    assert plan.rung.placement is not Placement.STREAM


def test_what_fits_at_once_passes_nothing_over() -> None:
    assert on(cuda(80)).passed_over == ()


@pytest.mark.parametrize("machine", [cuda(4), replace(CPU, ram_gib=2), cuda(0)])
def test_what_does_not_fit_is_refused_with_the_numbers(machine: Machine) -> None:
    with pytest.raises(DoesNotFit) as refused:
        on(machine)
    free = f"{room_gib(machine):.1f} GiB are free"
    says(refused, 5, "sketch does not fit", machine.name, "needs 4.", free, "fewer frames or a smaller size")
    assert refused.value.message.count("needs") == len({step.precision for step in ladder(machine, FULL)})


def test_only_the_free_part_of_a_machines_memory_counts() -> None:
    assert describe(on(replace(CPU, available_gib=7.0)).rung) == "bf16, one phase at a time"
    assert replace(CPU, available_gib=99.0).memory_gib == CPU.ram_gib


def test_a_processor_that_does_not_multiply_bf16_itself_takes_fp32_before_it() -> None:
    """By phase, and from disk where that is too large, before anything in bf16; which one may still ask for."""
    slow = replace(CPU, halves=False)
    steps = [(step.precision, step.placement) for step in ladder(slow, FULL)]
    wide = [(Precision.FP32, where) for where in (Placement.RESIDENT, Placement.PHASE, Placement.DISK)]
    assert steps[:3] == wide
    assert {precision for precision, _ in steps[3:]} == {Precision.BF16, Precision.INT8}
    assert ladder(replace(slow, device=Device.CUDA), FULL) == ladder(cuda(24), FULL)
    assert {step.precision for step in ladder(slow, replace(FULL, precision="bf16"))} == {Precision.BF16}


LIMITS = [
    ({"precision": "int8"}, "int8, everything resident"),
    ({"precision": "nf4", "offload": "phase"}, "nf4, one phase at a time"),
    ({"offload": "none"}, "bf16, everything resident"),
    ({"offload": "phase"}, "bf16, one phase at a time"),
    ({"offload": "stream"}, "bf16, blocks streamed from memory, 28 of them resident"),
    ({"offload": "disk"}, "bf16, blocks read from disk, 28 of them resident"),
    ({"offload": "disk", "precision": "nf4"}, "nf4, blocks read from disk, 28 of them resident"),
    ({"tiling": "256"}, "bf16, everything resident, decoding in tiles of 256"),
    ({"tiling": "off", "vram_gib": 12.0}, "bf16, one phase at a time"),
    ({"vram_gib": 7.9}, "bf16, blocks streamed from memory, 28 of them resident"),
]


@pytest.mark.parametrize(("limits", "rung"), LIMITS)
def test_a_limit_filters_the_ladder(limits: dict[str, Any], rung: str) -> None:
    assert describe(real("ltx-video-2b-0.9.5", 80, **limits).rung) == rung


def test_everything_resident_and_tiled_is_chosen_only_by_who_asks_for_it() -> None:
    tight = {"width": 1216, "height": 704}
    assert describe(real("ltx-video-2b-0.9.5", 22, **tight).rung) == "bf16, one phase at a time"
    asked = real("ltx-video-2b-0.9.5", 22, offload="none", **tight)
    assert describe(asked.rung) == "bf16, everything resident, decoding in tiles of 512"


def test_a_limit_that_leaves_no_way_is_refused_by_its_name() -> None:
    with pytest.raises(UsageRefused) as refused:
        on(CPU, replace(FULL, offload="stream"))
    says(refused, 2, "--offload stream is no way to work on a processor")
    with pytest.raises(UsageRefused) as refused:
        on(replace(CPU, device=Device.MPS), replace(FULL, offload="disk", precision="nf4"))
    says(refused, 2, "nf4 on Apple's GPU", "leave --offload or --precision")
    with pytest.raises(UsageRefused) as refused:
        real("hunyuan-video", 80, tiling="512")
    says(refused, 2, "tiles of 256 pixels at most", "--tiling 256")


def test_a_precision_that_is_asked_for_is_held_to() -> None:
    for precision in Precision:
        assert on(cuda(80), replace(FULL, precision=precision.value)).rung.precision is precision
    with pytest.raises(DoesNotFit) as refused:
        on(cuda(4.5), replace(FULL, precision="bf16"))
    says(refused, 5, "sketch does not fit", "leave --precision to the plan")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
def test_each_ladder_steps_down_in_memory(name: str, precision: str) -> None:
    card = counted(name)
    wanted = usual(card, precision=precision)
    canvas = draw(wanted, card)
    rows = [list(rungs(step, wanted, card, canvas)) for step in ladder(cuda(24), wanted)]
    peaks = [[max(one.gib for one in phases(wanted, card, canvas, NOTHING, rung)) for rung in row] for row in rows]
    for row, gib in zip(rows, peaks, strict=True):
        for turns in (False, True):
            alike = [peak for rung, peak in zip(row, gib, strict=True) if rung.turns is turns]
            assert alike == sorted(alike, reverse=True)
        assert min(gib) == gib[-1]
    assert [gib[0] for gib in peaks][:3] == sorted((gib[0] for gib in peaks[:3]), reverse=True)


def near(name: str, card_gib: float, /, **changed: Any) -> str:
    card = counted(name)
    return nearest(usual(card, **changed), card, cuda(card_gib), NOTHING)


def test_the_nearest_that_fits_really_does_and_one_step_more_does_not() -> None:
    option, _, frames = near("hunyuan-video", 12).partition(" ")
    assert option == "--frames"
    assert real("hunyuan-video", 12, frames=int(frames))
    with pytest.raises(DoesNotFit):
        real("hunyuan-video", 12, frames=int(frames) + 4)


def test_where_no_length_fits_a_smaller_size_is_named() -> None:
    found = near("hunyuan-video", 3, width=1280, height=720, frames=129)
    assert found.startswith("--size ")
    assert near("hunyuan-video", 1) == ""


def test_a_limit_that_stands_in_the_way_is_named_first() -> None:
    assert near("ltx-video-2b-0.9.5", 8, offload="none") == "the same with --offload left to the plan"


def test_another_model_is_one_that_was_measured_and_fits() -> None:
    others = [replace(counted(name), name=f"other-{name}") for name in MODELS]
    wanted = usual(counted("hunyuan-video"))
    assert another(wanted, others, cuda(8)) == "--model other-hunyuan-video-1.5-480p-t2v"
    unknown = [replace(one, cost=replace(one.cost, token_kib=0.0)) for one in others]
    assert another(wanted, unknown, cuda(8)) == ""


def test_a_picture_of_the_last_frame_stays_that_of_the_last() -> None:
    first = Keyframe(picture=Path("a.png"))
    wanted = request(keyframes=(first, replace(first, frame=16)))
    assert [mark.frame for mark in shorter(wanted, 9).keyframes] == [0, 8]
    assert [mark.frame for mark in shorter(request(frames=1, keyframes=(first,)), 1).keyframes] == [0]


@pytest.mark.parametrize("unknown", ["stacked", "block", "layers"])
def test_blocks_of_which_anything_is_unknown_are_not_streamed(unknown: str) -> None:
    card = counted("ltx-video-13b-0.9.8-distilled")
    wanted = usual(card, offload="stream")
    assert choose(wanted, card, draw(wanted, card), cuda(12), NOTHING).rung.placement is Placement.STREAM
    nought: dict[str, Any] = {unknown: 0}
    card = replace(card, components=tuple(replace(part, **nought) for part in card.components))
    with pytest.raises(DoesNotFit) as refused:
        choose(wanted, card, draw(wanted, card), cuda(12), NOTHING)
    says(refused, 5, UNSTACKED)
