"""The story as a library: prepare decides, run does, and finished latents are found again."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import vidgen
from vidgen.backends.ltx import Ltx
from vidgen.core.card import Phase
from vidgen.core.errors import DoesNotFit, OutputRefused, Stopped, TryLater, UsageRefused, WeightsRefused
from vidgen.core.machine import Device, Machine
from vidgen.core.result import Event
from vidgen.media.inspect import digest
from vidgen.studio.part import part

ASKED: dict[str, Any] = {"prompt": "a red circle", "model": "pocket", "steps": 2, "seed": 3, "codec": "ffv1"}
CARD = Machine(device=Device.CUDA, name="a card", vram_gib=16, ram_gib=64, cores=8, compute_capability=(8, 9))


def test_a_clip_from_python() -> None:
    [result] = vidgen.run(vidgen.prepare("t2v", output="x.mkv", fps="24000/1001", **ASKED))
    assert (result.path, result.frames, result.fps, result.seed) == (Path("x.mkv"), 17, "24000/1001", 3)
    assert result.path.is_file()


def test_keyframes_can_be_values(picture: Path) -> None:
    at = [vidgen.Keyframe(picture=picture), vidgen.Keyframe(picture=picture, frame=4, strength=0.5)]
    [job] = vidgen.prepare(vidgen.Mode.KEYFRAME, at=at, output="x.mkv", **ASKED)
    assert [(keyframe.frame, keyframe.strength) for keyframe in job.request.keyframes] == [(0, 1.0), (4, 0.5)]


def test_a_request_is_complete() -> None:
    [job] = vidgen.prepare("t2v", prompt="x", model="pocket")
    assert (job.request.fps, job.request.guidance_scale, job.request.steps) == (Fraction(8), 3.0, 20)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(UsageRefused, match="unknown setting 'stepps'; did you mean steps"):
        vidgen.prepare("t2v", prompt="x", stepps=3)


def test_another_machine_can_be_planned_for() -> None:
    [job] = vidgen.prepare("t2v", prompt="x", model="ltx-video-2b", machine=CARD)
    assert [phase.phase for phase in job.plan.phases] == list(Phase)
    assert (job.plan.rung.placement, len(job.plan.passed_over)) == ("phase", 1)
    with pytest.raises(DoesNotFit, match=r"needs .* GiB"):
        vidgen.prepare("t2v", prompt="x", model="ltx-video-2b", machine=replace(CARD, vram_gib=2))


def test_auto_takes_the_best_model_that_is_here_and_fits(monkeypatch: pytest.MonkeyPatch, twin: Path) -> None:
    here = {"Lightricks/LTX-Video": twin, "Lightricks/LTX-Video-0.9.7-dev": twin}
    monkeypatch.setattr("vidgen.hub.cached", lambda repository, revision: here.get(repository))
    [large] = vidgen.prepare("t2v", prompt="x", machine=replace(CARD, vram_gib=80))
    [small] = vidgen.prepare("t2v", prompt="x", machine=replace(CARD, vram_gib=2))
    assert (large.card.name, small.card.name) == ("ltx-video-13b-0.9.7-dev", "ltx-video-2b-0.9.0")


def test_missing_weights_are_refused_before_anything_begins() -> None:
    jobs = vidgen.prepare("t2v", prompt="x", model="ltx-video-2b", machine=replace(CARD, vram_gib=80))
    with pytest.raises(WeightsRefused, match="not on this machine"):
        next(vidgen.run(jobs))
    assert list(Path().iterdir()) == []


def test_events_tell_every_step_and_frame() -> None:
    events: list[Event] = []
    list(vidgen.run(vidgen.prepare("t2v", output="x.mkv", **ASKED), events.append))
    assert [event.done for event in events if event.phase == "denoise"] == [0, 1, 2]
    assert [event.done for event in events if event.phase == "decode"] == list(range(18))
    assert list(dict.fromkeys(event.phase for event in events)) == [
        "load",
        "encode",
        "denoise",
        "decode",
        "check",
        "deliver",
    ]


def _stop_in(phase: str, done: int) -> Any:
    def listen(event: Event) -> None:
        if (event.phase, event.done) == (phase, done):
            raise Stopped("stopped", "")

    return listen


def test_a_stop_while_denoising_keeps_the_step_just_done_and_the_same_request_goes_on() -> None:
    with pytest.raises(Stopped):
        list(vidgen.run(vidgen.prepare("t2v", output="x.mkv", **ASKED), _stop_in("denoise", 1)))
    assert not Path("x.mkv").exists()
    [job] = vidgen.prepare("t2v", output="x.mkv", **ASKED)
    assert job.notes == ("going on with seed 3 from step 1 of 2",)
    events: list[Event] = []
    list(vidgen.run([job], events.append))
    assert [event.done for event in events if event.phase == "denoise"] == [1, 2]
    assert "encode" not in {event.phase for event in events}
    assert sorted(path.name for path in Path().iterdir()) == ["x.mkv", "x.mkv.json"]


def test_a_stop_before_anything_is_done_leaves_nothing() -> None:
    with pytest.raises(Stopped):
        list(vidgen.run(vidgen.prepare("t2v", output="x.mkv", **ASKED), _stop_in("encode", 1)))
    assert list(Path().iterdir()) == []


@pytest.fixture
def denoised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes every denoise that really happens."""
    done: list[str] = []
    real = Ltx.denoise

    def denoise(self: Ltx, *words: Any) -> Any:
        done.append("denoise")
        return real(self, *words)

    monkeypatch.setattr(Ltx, "denoise", denoise)
    return done


def test_a_stop_while_decoding_keeps_the_latents_and_the_same_request_goes_on(denoised: list[str]) -> None:
    [whole] = vidgen.run(vidgen.prepare("t2v", output="whole.mkv", **ASKED))
    with pytest.raises(Stopped):
        list(vidgen.run(vidgen.prepare("t2v", output="x.mkv", **ASKED), _stop_in("decode", 5)))
    assert not Path("x.mkv").exists()
    assert sorted(path.name for path in Path("x.mkv.part").iterdir() if "safetensors" in path.name) == [
        "conditioning.safetensors",
        "latents.safetensors",
    ]
    denoised.clear()
    [again] = vidgen.run(vidgen.prepare("t2v", output="x.mkv", **ASKED))
    assert denoised == []
    assert digest(again.path) == digest(whole.path)
    assert not Path("x.mkv.part").exists()


def test_another_request_neither_takes_nor_destroys_what_lies_there(denoised: list[str]) -> None:
    with pytest.raises(Stopped):
        list(vidgen.run(vidgen.prepare("t2v", output="x.mkv", **ASKED), _stop_in("decode", 5)))
    denoised.clear()
    list(vidgen.run(vidgen.prepare("t2v", output="x.mkv", **{**ASKED, "seed": 4})))
    assert denoised == ["denoise"]
    assert (Path("x.mkv.part") / "latents.safetensors").is_file()


def test_two_at_one_output_do_not_meet() -> None:
    [job] = vidgen.prepare("t2v", output="x.mkv", **ASKED)
    with part(job), pytest.raises(TryLater, match="another vidgen is making"):
        list(vidgen.run([job]))


def test_a_file_that_appears_meanwhile_is_not_replaced() -> None:
    jobs = vidgen.prepare("t2v", output="x.mkv", **ASKED)
    Path("x.mkv").write_text("mine")
    with pytest.raises(OutputRefused, match=r"x\.mkv exists by now"):
        list(vidgen.run(jobs))
    assert Path("x.mkv").read_text() == "mine"
