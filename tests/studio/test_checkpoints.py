"""A denoising is kept when it is due, and always when it is asked to stop."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vidgen.core.errors import Stopped
from vidgen.studio import artefacts, checkpoints
from vidgen.studio.checkpoints import Checkpoints


def steps(every: int, total: int = 10, *, seconds: float = 0.0, stopped_at: int = 0, last: bool = False) -> list[int]:
    """The steps after which the state was kept, of a denoising whose steps take `seconds`."""
    folder, kept, now = Path(), list[int](), [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "time", clock)
        patch.setattr(artefacts, "save", lambda folder, phase, tensors: kept.append(int(tensors["step"])))

        def tell(done: int, total: int) -> None:
            if done == stopped_at:
                raise Stopped("stopped", "")

        step = Checkpoints(folder, every, last=last).stepping(tell)
        try:
            for done in range(1, total + 1):
                now[0] += seconds
                step(done, total, lambda done=done: {"step": torch.tensor(done)})
        except Stopped:
            pass
    return kept


def test_every_so_many_steps_and_not_after_the_last_which_leaves_latents() -> None:
    assert steps(3) == [3, 6, 9]
    assert steps(5) == [5]


def test_after_the_last_where_a_second_stage_is_to_begin_there() -> None:
    assert steps(3, last=True) == [3, 6, 9, 10]
    assert steps(5, last=True) == [5, 10]
    assert steps(0, seconds=0.05, last=True) == [10]


def test_by_the_clock_short_steps_are_kept_every_ten_seconds_and_long_ones_each() -> None:
    assert steps(0, 1000, seconds=0.0625) == list(range(160, 1000, 160))
    assert steps(0, seconds=4.0) == [3, 6, 9]
    assert steps(0, seconds=180.0) == list(range(1, 10))
    assert steps(0, seconds=0.05) == []


@pytest.mark.parametrize("every", [0, 1, 4])
def test_always_when_it_is_asked_to_stop(every: int) -> None:
    assert steps(every, stopped_at=7)[-1] == 7
    assert steps(every, stopped_at=10)[-1] == 10


def test_a_family_that_gives_no_state_is_not_kept() -> None:
    Checkpoints(Path(), 1).stepping(lambda done, total: None)(1, 2)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"12345678", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"])
def test_what_is_no_artefact_is_as_good_as_absent(content: bytes) -> None:
    Path("checkpoint.safetensors").write_bytes(content)
    assert not artefacts.has(Path(), "checkpoint")
    assert artefacts.standing(Path(), 9) == ""


def test_every_byte_that_is_missing_is_missed() -> None:
    artefacts.save(Path(), "checkpoint", {"step": torch.tensor(7), "latents": torch.ones(3)})
    assert artefacts.standing(Path(), 9) == "step 7 of 9"
    artefacts.save(Path(), "checkpoint", {"step": torch.tensor(7), "steps": torch.tensor(300)})
    assert artefacts.standing(Path(), 9) == "step 7 of 300"
    whole = Path("checkpoint.safetensors").read_bytes()
    for length in range(len(whole)):
        Path("checkpoint.safetensors").write_bytes(whole[:length])
        assert not artefacts.has(Path(), "checkpoint"), length
