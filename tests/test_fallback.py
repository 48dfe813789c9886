"""A phase that runs out of memory, or whose values go out of bounds, goes on another way, says so, and remembers it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from transformers import T5EncoderModel

import vidgen
from tests.conftest import ANSWER
from tests.planning.counted import counted, usual
from tests.values import CARD, CPU, cuda, job, request
from vidgen import history
from vidgen.core.card import Phase
from vidgen.core.errors import OutOfMemory
from vidgen.core.plan import Canvas, Job, Placement, Precision, Rung
from vidgen.media.inspect import digest, inspect
from vidgen.planning.detours import detour
from vidgen.planning.ladder import Step, describe
from vidgen.resume import resume

CIRCLE = ("t2v", "a red circle moving right", "--model", "pocket", "--seed", "3", "--steps", "4", "--frames", "9")
OUT = OutOfMemory("decode ran out of memory", "")
BY_PHASE = "fp32, one phase at a time"

Break = Callable[..., None]


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Makes the calls of a model's method that `when` names, counted from 1, fail as `error`, or give NaN."""

    def arrange(kind: Any, method: str, when: Callable[[int], bool], error: BaseException | None) -> None:
        real, count = getattr(kind, method), iter(range(1, 10**6))

        def instead(self: Any, *given: Any, **words: Any) -> Any:
            broken = when(next(count))
            if broken and error:
                raise error
            found = real(self, *given, **words)
            return tuple(part * torch.nan for part in found) if broken else found

        monkeypatch.setattr(kind, method, instead)

    return arrange


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def record(path: str = "x.mkv") -> Any:
    return json.loads(Path(f"{path}.json").read_text())


PLACES = [
    (T5EncoderModel, "forward", "encode"),
    (LTXVideoTransformer3DModel, "forward", "denoise"),
    (AutoencoderKLLTXVideo, "decode", "decode"),
]


@pytest.mark.parametrize(("kind", "method", "phase"), PLACES)
def test_out_of_memory_once_costs_no_pixel(vidgen: ANSWER, breaks: Break, kind: Any, method: str, phase: str) -> None:
    assert vidgen(*CIRCLE, "-o", "whole.mkv").code == 0
    breaks(kind, method, lambda call: call == 1, out_of_memory())
    answer = vidgen(*CIRCLE, "-o", "x.mkv")
    said = f"{phase} ran out of memory on fp32, everything resident: went on with {BY_PHASE}"
    assert (answer.code, answer.out) == (0, "x.mkv\n")
    assert f"vidgen: {said}" in answer.err
    assert record()["adjustments"] == [said]
    assert (record()["plan"]["placement"], record()["plan"]["precision"]) == ("phase", "fp32")
    assert digest(Path("x.mkv")) == digest(Path("whole.mkv"))
    assert not list(Path().glob("*.part"))


def test_the_next_plan_begins_with_what_worked(vidgen: ANSWER, breaks: Break) -> None:
    breaks(LTXVideoTransformer3DModel, "forward", lambda call: call == 1, out_of_memory())
    assert vidgen(*CIRCLE, "-o", "x.mkv").code == 0
    plan = json.loads(vidgen("plan", *CIRCLE, "--seed", "4", "--json").out)
    assert plan["rung"]["placement"] == "phase"
    assert plan["passed_over"][-1].startswith("fp32, everything resident: failed here on 20")
    other = json.loads(vidgen("plan", *CIRCLE, "--frames", "17", "--json").out)
    untaught = json.loads(vidgen("plan", *CIRCLE, "--no-fallback", "--json").out)
    assert other["rung"]["placement"] == untaught["rung"]["placement"] == "resident"


def test_what_was_learnt_is_forgotten_when_the_plan_works_after_all(vidgen: ANSWER, breaks: Break) -> None:
    breaks(LTXVideoTransformer3DModel, "forward", lambda call: call == 1, out_of_memory())
    assert vidgen(*CIRCLE, "-o", "x.mkv").code == 0
    assert vidgen(*CIRCLE, "--no-fallback", "-o", "y.mkv").code == 0
    assert json.loads(vidgen("plan", *CIRCLE, "--json").out)["rung"]["placement"] == "resident"


def test_without_fallback_it_fails_at_once_and_keeps_what_was_done(vidgen: ANSWER, breaks: Break) -> None:
    breaks(AutoencoderKLLTXVideo, "decode", lambda call: call == 1, out_of_memory())
    answer = vidgen(*CIRCLE, "--no-fallback", "-o", "x.mkv")
    assert answer.code == 5
    assert "decode ran out of memory" in answer.err
    assert not Path("x.mkv").exists()
    again = vidgen(*CIRCLE, "-o", "x.mkv")
    assert again.code == 0
    assert "from finished latents" in again.err


def test_where_nothing_helps_it_ends_with_code_5_and_the_latents_are_kept(vidgen: ANSWER, breaks: Break) -> None:
    breaks(
        AutoencoderKLLTXVideo, "decode", lambda call: True, RuntimeError("DefaultCPUAllocator: can't allocate memory")
    )
    answer = vidgen(*CIRCLE, "-o", "x.mkv")
    assert answer.code == 5
    assert answer.err.count("went on with") == 2
    assert answer.err.splitlines()[-2].startswith("vidgen: decode ran out of memory")
    assert Path("x.mkv.part/latents.safetensors").is_file()


def test_steps_that_were_kept_are_not_done_again(
    vidgen: ANSWER, breaks: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = LTXVideoTransformer3DModel.forward

    def counted(self: Any, *given: Any, **words: Any) -> Any:
        calls.append(1)
        return real(self, *given, **words)

    monkeypatch.setattr(LTXVideoTransformer3DModel, "forward", counted)
    breaks(LTXVideoTransformer3DModel, "forward", lambda call: call == 3, out_of_memory())
    assert vidgen(*CIRCLE, "--checkpoint-every", "1", "-o", "x.mkv").code == 0
    assert len(calls) == 4


def test_a_run_that_is_killed_on_its_detour_goes_on_there(
    vidgen: ANSWER, breaks: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "learn", lambda job: None)
    breaks(AutoencoderKLLTXVideo, "decode", lambda call: call == 1, out_of_memory())
    breaks(AutoencoderKLLTXVideo, "decode", lambda call: call == 2, KeyboardInterrupt())
    assert vidgen(*CIRCLE, "-o", "x.mkv").code == 130
    answer = vidgen(*CIRCLE, "-o", "x.mkv")
    assert answer.code == 0
    assert "going on with seed 3 from finished latents" in answer.err
    assert record()["plan"]["placement"] == "phase"
    assert len(record()["adjustments"]) == 1


def test_resume_by_folder_goes_on_on_the_same_detour_here_and_not_elsewhere(vidgen: ANSWER, breaks: Break) -> None:
    breaks(AutoencoderKLLTXVideo, "decode", lambda call: call == 1, out_of_memory())
    breaks(AutoencoderKLLTXVideo, "decode", lambda call: call == 2, KeyboardInterrupt())
    assert vidgen(*CIRCLE, "-o", "x.mkv").code == 130
    assert describe(resume("x.mkv.part").plan.rung) == BY_PHASE
    elsewhere = resume("x.mkv.part", machine=CPU)
    assert describe(elsewhere.plan.rung) == "fp32, everything resident"
    assert len(elsewhere.detours) == 1


def test_nan_in_bf16_goes_on_in_fp32(vidgen: ANSWER, breaks: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "vidgen.planning.planner.ladder",
        lambda device, request: [Step(precision=Precision.BF16, placement=Placement.RESIDENT)],
    )
    breaks(LTXVideoTransformer3DModel, "forward", lambda call: call == 3, None)
    answer = vidgen(*CIRCLE, "--checkpoint-every", "1", "-o", "x.mkv")
    said = (
        "NaN or infinite values after step 3 of 4 on bf16, everything resident: went on with fp32, everything resident"
    )
    assert answer.code == 0, answer.err
    assert said in answer.err
    assert record()["plan"]["precision"] == "fp32"
    assert inspect(Path("x.mkv")).frames == 9


def test_nan_in_a_precision_that_was_asked_for_is_refused(vidgen: ANSWER, breaks: Break) -> None:
    breaks(LTXVideoTransformer3DModel, "forward", lambda call: call == 3, None)
    answer = vidgen(*CIRCLE, "--precision", "bf16", "-o", "x.mkv")
    assert answer.code == 7
    assert "went on" not in answer.err


def test_a_batch_goes_on_with_what_is_left(breaks: Break) -> None:
    breaks(AutoencoderKLLTXVideo, "decode", lambda call: call == 2, out_of_memory())
    words: dict[str, Any] = {
        "prompt": "a red circle",
        "model": "pocket",
        "steps": 2,
        "frames": 9,
        "seed": "1..3",
        "output": "{seed}.mkv",
    }
    results = list(vidgen.run(vidgen.prepare("t2v", **words)))
    assert [result.path.name for result in results] == ["1.mkv", "2.mkv", "3.mkv"]
    assert [len(result.adjustments) for result in results] == [0, 1, 1]


def on(rung: Rung, machine: Any = CPU, canvas: Canvas | None = None, **more: Any) -> Job:
    made = job(request(**more))
    plan = replace(made.plan, rung=rung, machine=machine)
    return replace(made, card=CARD, plan=plan, canvas=canvas or made.canvas)


def walk(begin: Job, phase: Phase) -> list[str]:
    """Every rung that is tried when all of them fail in `phase`."""
    tried: set[Rung] = set()
    found: list[str] = []
    at = begin
    while True:
        tried.add(at.plan.rung)
        step = detour(at, phase, OUT, frozenset(tried))
        if step is None:
            return found
        at = step
        found.append(describe(at.plan.rung))


LARGE = Canvas(width=768, height=512, frames=121)
WHOLE = Rung(precision=Precision.BF16, placement=Placement.RESIDENT)


def test_decoding_steps_down_to_smaller_tiles_and_then_to_the_processor() -> None:
    assert walk(on(WHOLE, cuda(24), LARGE), Phase.DECODE) == [
        "bf16, one phase at a time",
        "bf16, one phase at a time, decoding in tiles of 512",
        "bf16, one phase at a time, decoding in tiles of 256",
        "bf16, one phase at a time, decoding in tiles of 128",
        "bf16, one phase at a time, decoding in tiles of 512, decode on the processor",
        "bf16, one phase at a time, decoding in tiles of 256, decode on the processor",
        "bf16, one phase at a time, decoding in tiles of 128, decode on the processor",
    ]


def test_tiles_as_large_as_the_canvas_are_no_step() -> None:
    small = Canvas(width=256, height=192, frames=17)
    assert walk(on(WHOLE, CPU, small), Phase.DECODE) == [
        "bf16, one phase at a time",
        "bf16, one phase at a time, decoding in tiles of 128",
    ]


def full(precision: str = "auto", offload: str = "auto", **changed: Any) -> Job:
    """A full-size model on a small card, all of it resident as if arithmetic had chosen that."""
    card = counted("ltx-video-2b-0.9.5")
    wanted = usual(card, precision=precision, offload=offload)
    made = on(replace(WHOLE, **changed), cuda(8), LARGE)
    return replace(made, request=wanted, card=card)


def test_denoising_steps_down_by_turns_then_by_streaming_more_and_more_then_by_precision() -> None:
    assert walk(full(), Phase.DENOISE) == [
        "bf16, one phase at a time",
        "bf16, one phase at a time, guidance in turns",
        "bf16, blocks streamed from memory, 14 of them resident, guidance in turns",
        "bf16, blocks streamed from memory, 7 of them resident, guidance in turns",
        "bf16, blocks streamed from memory, 3 of them resident, guidance in turns",
        "bf16, blocks streamed from memory, 1 of them resident, guidance in turns",
        "bf16, blocks streamed from memory, guidance in turns",
        "int8, blocks streamed from memory, guidance in turns",
        "nf4, blocks streamed from memory, guidance in turns",
    ]


def test_encoding_steps_down_by_streaming_then_to_the_processor() -> None:
    assert walk(full(), Phase.ENCODE) == [
        "bf16, one phase at a time",
        "bf16, blocks streamed from memory, 28 of them resident",
        "bf16, blocks streamed from memory, 28 of them resident, encode on the processor",
        "int8, blocks streamed from memory, 28 of them resident, encode on the processor",
        "nf4, blocks streamed from memory, 28 of them resident, encode on the processor",
    ]


def test_what_was_asked_for_is_not_given_up() -> None:
    assert walk(full("bf16", "phase", placement=Placement.PHASE), Phase.DENOISE) == [
        "bf16, one phase at a time, guidance in turns"
    ]
    assert walk(full("bf16", "none"), Phase.DENOISE) == ["bf16, everything resident, guidance in turns"]


def test_what_is_read_from_disk_is_read_from_there_quantized() -> None:
    last = walk(full(placement=Placement.DISK, turns=True), Phase.DENOISE)
    assert last == ["int8, blocks read from disk, guidance in turns", "nf4, blocks read from disk, guidance in turns"]


def test_quantized_models_are_streamed_too_where_memory_runs_out() -> None:
    small = full(placement=Placement.PHASE, turns=True)
    small = replace(small, plan=replace(small.plan, rung=replace(small.plan.rung, precision=Precision.NF4)))
    assert walk(small, Phase.DENOISE) == [
        *(f"nf4, blocks streamed from memory, {stay} of them resident, guidance in turns" for stay in (14, 7, 3, 1)),
        "nf4, blocks streamed from memory, guidance in turns",
    ]


def test_a_lesson_counts_however_many_blocks_there_was_room_for(tmp_path: Path) -> None:
    learnt = full(placement=Placement.STREAM, resident=9)
    failed = detour(learnt, Phase.DENOISE, OUT, frozenset())
    assert failed
    history.learn(failed)
    again = replace(learnt, plan=replace(learnt.plan, rung=replace(learnt.plan.rung, resident=7)))
    known = history.lesson(again)
    assert known
    assert known.worked == failed.plan.rung
