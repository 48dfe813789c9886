"""What stands between two phases carries its hash: a bit that has changed on the disk is found, and made anew."""

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

import vidgen
from tests.conftest import ANSWER
from vidgen.core.errors import InputRefused, OutputRefused, Stopped
from vidgen.core.result import Event
from vidgen.media.inspect import digest
from vidgen.resume import resume
from vidgen.studio import artefacts
from vidgen.studio.artefacts import CHECKPOINT, CONDITIONING, LATENTS

ASKED: dict[str, Any] = {
    "prompt": "a red circle",
    "model": "pocket",
    "steps": 3,
    "frames": 5,
    "codec": "ffv1",
    "seed": 3,
}
PART = Path("x.mkv.part")


def flip(file: Path, at: int | None = None) -> None:
    """Turn one bit of a file, in its tensors unless said otherwise."""
    content = bytearray(file.read_bytes())
    content[len(content) - 40 if at is None else at] ^= 1
    file.write_bytes(content)


def stopped(phase: str, done: int) -> None:
    """A clip that was asked to stop there."""

    def listen(event: Event) -> None:
        if (event.phase, event.done) == (phase, done):
            raise Stopped("stopped", "")

    with pytest.raises(Stopped):
        list(vidgen.run(vidgen.prepare("t2v", **ASKED, output="x.mkv"), listen))


def made(jobs: Any) -> tuple[str, list[int], list[str]]:
    """The frames of a run to its end, the steps that it told, and its notes."""
    events: list[Event] = []
    [result] = vidgen.run(jobs, events.append)
    steps = [event.done for event in events if event.phase == "denoise"]
    return digest(result.path), steps, [event.note for event in events if event.note]


@pytest.fixture
def whole() -> str:
    """The frames of an undisturbed run."""
    return made(vidgen.prepare("t2v", **ASKED, output="whole.mkv"))[0]


@pytest.mark.parametrize(
    ("at", "phase", "steps"),
    [
        (("denoise", 2), CHECKPOINT, [0, 1, 2, 3]),
        (("denoise", 2), CONDITIONING, [2, 3]),
        (("decode", 1), LATENTS, [0, 1, 2, 3]),
        (("decode", 1), CONDITIONING, []),
    ],
)
def test_a_flipped_bit_is_said_and_the_clip_goes_on_from_what_was_before(
    at: tuple[str, int], phase: str, steps: list[int], whole: str
) -> None:
    stopped(*at)
    flip(PART / f"{phase}.safetensors")
    note = f"the {phase} of x.mkv, damaged on the disk, will be made again"
    assert made(vidgen.prepare("t2v", **ASKED, output="x.mkv")) == (whole, steps, [note])
    assert not PART.exists()


def test_the_same_from_the_folder_alone(whole: str) -> None:
    stopped("decode", 1)
    flip(PART / "latents.safetensors")
    pixels, steps, notes = made([resume(PART)])
    assert (pixels, steps, len(notes)) == (whole, [0, 1, 2, 3], 1)


def test_decode_refuses_latents_that_have_changed(vidgen: ANSWER, whole: str) -> None:
    stopped("decode", 1)
    flip(PART / "latents.safetensors")
    answer = vidgen("decode", str(PART))
    assert (answer.code, f"the latents in {PART} are damaged" in answer.err) == (3, True)
    assert f"vidgen resume {PART}" in answer.err
    assert vidgen("resume", str(PART)).code == 0
    assert digest(Path("x.mkv")) == whole


def test_every_byte_counts_in_the_header_too() -> None:
    artefacts.save(Path(), LATENTS, {"latents": torch.arange(6.0).view(2, 3), "step": torch.tensor(1)})
    file = Path("latents.safetensors")
    content = file.read_bytes()
    assert artefacts.sound(Path(), LATENTS)
    assert set(artefacts.load(Path(), LATENTS)) == {"latents", "step"}
    begin = 8 + int.from_bytes(content[:8], "little")
    padding = range(len(content[:begin].rstrip()), begin)  # a tab for a blank changes nothing
    for place in (place for place in range(len(content)) if place not in padding):
        file.write_bytes(content)
        flip(file, place)
        assert not artefacts.sound(Path(), LATENTS), place


def test_one_that_changes_at_the_last_moment_is_refused_and_gone() -> None:
    artefacts.save(Path(), LATENTS, {"latents": torch.ones(40)})
    flip(Path("latents.safetensors"))
    assert artefacts.has(Path(), LATENTS)  # it looks at no more than the header
    with pytest.raises(InputRefused, match="is damaged"):
        artefacts.load(Path(), LATENTS)
    assert not artefacts.has(Path(), LATENTS)


def test_other_tools_read_them() -> None:
    from safetensors import safe_open

    artefacts.save(Path(), LATENTS, {"latents": torch.ones(2, 3, dtype=torch.bfloat16)})
    with safe_open("latents.safetensors", framework="pt") as file:
        assert len(file.metadata()[artefacts.SEAL]) == 64
        assert torch.equal(file.get_tensor("latents"), torch.ones(2, 3, dtype=torch.bfloat16))


def test_an_artefact_that_the_disk_does_not_give_today_is_neither_damaged_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefacts.save(tmp_path, LATENTS, {"latents": torch.ones(2)})

    def broken(path: Path) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(artefacts, "header", broken)
        for ask in (artefacts.load, artefacts.has, artefacts.sound):
            with pytest.raises(OutputRefused, match="cannot read in"):
                ask(tmp_path, LATENTS)
        with pytest.raises(OutputRefused):
            artefacts.sweep(tmp_path)
    assert artefacts.sound(tmp_path, LATENTS)
