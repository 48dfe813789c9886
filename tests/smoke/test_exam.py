"""The smoke test as a library: it passes what is well, and fails what is damaged, each for its reason."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.smoke import damaged
from tests.values import says
from vidgen.core.errors import OutputRefused, UsageRefused, WeightsRefused
from vidgen.core.request import Mode
from vidgen.core.result import Event
from vidgen.media.inspect import inspect
from vidgen.smoke import exam
from vidgen.smoke.asked import POCKET

FIRST, LAST = POCKET[:1], POCKET[-1:]


def test_what_is_asked_covers_every_mode_and_what_is_odd() -> None:
    assert {trial.mode for trial in POCKET} == set(Mode)
    assert any(trial.width % 32 and trial.height % 32 and (trial.frames - 1) % 4 for trial in POCKET)
    assert any(trial.fps.denominator > 1 for trial in POCKET)
    assert len({trial.subject.shape for trial in POCKET}) == 3
    assert len({trial.name for trial in POCKET}) == len(POCKET)


def test_weights_without_meaning_fail_and_say_what_was_seen() -> None:
    model = damaged.changed(lambda name, tensor: torch.zeros_like(tensor))
    report = exam.built_in(model, trials=FIRST)
    assert (report.subject, report.failed) == ("copy", 1)
    assert any("asked for red, saw " in sentence for sentence in report.verdicts[0].wrong)
    assert [check.well for check in report.verdicts[0].checks if check.name in {"size", "frames", "fps"}] == [True] * 3


def test_a_clip_that_is_not_finite_fails_and_the_others_are_still_judged() -> None:
    model = damaged.changed(lambda name, tensor: tensor * float("nan") if name.startswith("proj_out") else tensor)
    report = exam.built_in(model, trials=(*FIRST, *LAST))
    assert report.failed == 2
    assert all("NaN" in verdict.fault and verdict.wrong == (verdict.fault,) for verdict in report.verdicts)


def test_weights_that_are_cut_off_are_refused() -> None:
    with pytest.raises(WeightsRefused) as refused:
        exam.built_in(damaged.truncated(), trials=FIRST)
    says(refused, 4, "diffusion_pytorch_model.safetensors (damaged)")


def test_a_model_that_does_not_know_this_world_is_refused() -> None:
    with pytest.raises(UsageRefused) as refused:
        exam.built_in("ltx-video-2b")
    says(refused, 2, "ltx-video-2b-0.9.5", "vidgen smoke --family ltx")


def test_nobodys_settings_change_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": "1", "STRICT": "yes", "PRESET": "draft", "SECONDS": "9", "CODEC": "vp9"}.items():
        monkeypatch.setenv(f"VIDGEN_{name}", value)
    Path("vidgen.toml").write_text('model = "nonsense"\nfps = 3\n')
    keep = Path("kept {seed}")
    report = exam.built_in(trials=(replace(POCKET[1], shows=False),), keep=keep)
    assert report.failed == 0
    facts = inspect(keep / "square.mp4")
    assert (facts.width, facts.height, facts.frames, facts.codec) == (60, 52, 7, "h264")


def test_clips_are_kept_only_when_asked_and_never_among_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Path("full").mkdir()
    Path("full", "mine").touch()
    before = {path.name for path in tmp_path.iterdir()}
    for keep, said in (("full", "full is not empty"), ("no/where", "cannot keep clips in no/where")):
        with pytest.raises(OutputRefused) as refused:
            exam.built_in(keep=Path(keep))
        says(refused, 6, said)
    exam.built_in(trials=FIRST)
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == before, "but for what is learnt of the machine"
    assert [entry.name for entry in Path().iterdir()] == ["full"]


def test_the_model_is_loaded_once_for_all_clips_and_every_one_is_told() -> None:
    events: list[Event] = []
    exam.built_in(trials=(*FIRST, *LAST), listener=events.append)
    assert [event.phase for event in events].count("load") == 1
    assert {event.clips for event in events if event.phase == "denoise"} == {2}
