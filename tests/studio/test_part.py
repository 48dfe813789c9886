"""The folder in which a clip is made: one request's own, claimed, kept for its latents, gone when the clip stands."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.values import CARD, CPU, REQUEST, job, request, says
from vidgen.core.card import Guidance, Schedule
from vidgen.core.enhancer import Enhancer
from vidgen.core.errors import InputRefused, OutputRefused, TryLater
from vidgen.core.machine import Device
from vidgen.core.plan import Job, Placement, Precision, Weights
from vidgen.core.request import Fit, Gguf, Keyframe, Lora, Mode, Request
from vidgen.studio.fingerprint import NOT_PIXELS, fingerprint
from vidgen.studio.part import CONDITIONING, LATENTS, part, sweep

FOLDER = Path("clip.mp4.part")
TENSORS = {"latents": torch.arange(12.0).reshape(3, 4)}

OTHER: Mapping[str, Any] = {
    "mode": Mode.I2V,
    "model": "other",
    "prompt": "a blue circle",
    "negative": "blur",
    "keyframes": (Keyframe(picture=Path("a.png")),),
    "width": 96,
    "height": 96,
    "frames": 9,
    "fps": Fraction(24000, 1001),
    "steps": 21,
    "guidance_scale": 3.5,
    "true_cfg_scale": 4.0,
    "seed": 8,
    "loras": (Lora(path=Path("a.safetensors")),),
    "ggufs": (Gguf(path=Path("a.gguf")),),
    "fit": Fit.PAD,
    "background": "white",
    "sound": False,
    "strict": True,
    "force": True,
    "precision": "int8",
    "enhance": True,
    "enhancer": Path("chat"),
    "offload": "disk",
    "tiling": "256",
    "vram_gib": 8.0,
    "crf": 30,
    "codec": "av1",
    "output": Path("other.mp4"),
}


@pytest.fixture(autouse=True)
def files() -> None:
    Path("a.png").write_bytes(b"a picture")
    Path("a.safetensors").write_bytes(b"a LoRA")
    Path("a.gguf").write_bytes(b"a transformer")


@pytest.mark.parametrize("field", [field.name for field in fields(Request)])
def test_a_fingerprint_changes_with_every_setting_but_those_of_the_file(field: str) -> None:
    changed = job(replace(REQUEST, **{field: OTHER[field]}))
    same_canvas = replace(changed, canvas=job().canvas)
    assert (fingerprint(same_canvas) == fingerprint(job())) == (field in NOT_PIXELS)


def test_a_fingerprint_changes_with_the_version_of_a_part_from_another_repository() -> None:
    marks = {
        fingerprint(replace(job(), weights=replace(job().weights, apart={name: Path("snapshots") / commit})))
        for name in ("transformer", "vae")
        for commit in ("a" * 40, "b" * 40)
    }
    assert len(marks | {fingerprint(job())}) == 5


def test_what_is_not_of_the_pixels_is_the_file_and_its_compression() -> None:
    """And the limits that were asked for: what came of them is in the rung; the enhancer counts by what it is."""
    left_out = ["codec", "crf", "enhance", "enhancer", "force", "offload", "output", "precision", "tiling", "vram_gib"]
    assert sorted(NOT_PIXELS) == left_out


def rung(**changed: Any) -> dict[str, Any]:
    plan = job().plan
    return {"plan": replace(plan, rung=replace(plan.rung, **changed))}


@pytest.mark.parametrize(
    "changed",
    [
        {"card": replace(CARD, revision="abc")},
        {"card": replace(CARD, repository="someone/else")},
        {"card": replace(CARD, schedule=Schedule(guidance=Guidance.CLASSIFIER_FREE, guidance_rescale=0.7))},
        {"card": replace(CARD, settings={"shift": 7})},
        {"card": replace(CARD, tokens=256)},
        {"canvas": replace(job().canvas, width=96)},
        {"weights": Weights(folder=Path("elsewhere"), sizes={})},
        {"weights": Weights(folder=None, sizes={"vae": 1})},
        rung(precision=Precision.BF16),
        rung(tiling=512),
        rung(turns=True),
        rung(encoder=Precision.INT8),
        {"plan": replace(job().plan, machine=replace(CPU, device=Device.MPS))},
        {"enhancer": Enhancer()},
    ],
)
def test_a_fingerprint_changes_with_model_precision_device_and_enhancer(changed: dict[str, Any]) -> None:
    assert fingerprint(job(**changed)) != fingerprint(job())


@pytest.mark.parametrize(
    "changed",
    [
        {"adjustments": ("something was said",)},
        {"skip": True},
        {"card": replace(CARD, title="Other", rank=9)},
        rung(placement=Placement.PHASE),
        rung(placement=Placement.STREAM, resident=3),
        rung(encoder=Precision.FP32),
        {"plan": replace(job().plan, machine=replace(CPU, name="another", ram_gib=8))},
    ],
)
def test_a_fingerprint_does_not_change_with_what_changes_no_pixel(changed: dict[str, Any]) -> None:
    assert fingerprint(job(**changed)) == fingerprint(job())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.png", request(keyframes=OTHER["keyframes"])),
        ("a.safetensors", request(loras=OTHER["loras"])),
        ("a.gguf", request(ggufs=OTHER["ggufs"])),
    ],
)
def test_a_fingerprint_changes_with_the_content_of_a_file(name: str, wanted: Request) -> None:
    before = fingerprint(job(wanted))
    Path(name).write_bytes(b"another")
    assert fingerprint(job(wanted)) != before


def test_a_file_that_went_away_is_refused_by_name() -> None:
    with pytest.raises(InputRefused) as refused, part(job(request(keyframes=(Keyframe(picture=Path("gone.png")),)))):
        pytest.fail("a part was opened")
    says(refused, 3, "gone.png cannot be read", "check the path")


def test_artefacts_come_back_as_they_were_saved() -> None:
    with part(job()) as made:
        assert not made.has(CONDITIONING)
        made.save(CONDITIONING, {"turned": TENSORS["latents"].T, "kept": TENSORS["latents"]})
        assert made.has(CONDITIONING)
        assert torch.equal(made.load(CONDITIONING)["turned"], TENSORS["latents"].T)


def test_a_delivered_film_stands_at_its_place_and_the_folder_is_gone() -> None:
    Path("clip.mp4").write_bytes(b"old")
    with part(job(overwrite=True)) as made:
        made.save(LATENTS, TENSORS)
        made.film.write_bytes(b"film")
        assert Path("clip.mp4").read_bytes() == b"old"
        made.deliver(overwrite=True)
        assert not FOLDER.exists()
    assert Path("clip.mp4").read_bytes() == b"film"


def test_a_delivered_folder_of_pictures_takes_the_place_of_the_old_one() -> None:
    Path("frames.png").mkdir()
    Path("frames.png/old.png").touch()
    with part(job(request(output=Path("frames.png")), overwrite=True)) as made:
        made.film.mkdir()
        (made.film / "new.png").touch()
        made.deliver(overwrite=True)
    assert [path.name for path in Path("frames.png").iterdir()] == ["new.png"]


@pytest.mark.parametrize("target", ["precious", "gone"])
def test_what_has_appeared_at_the_place_is_not_replaced_unasked_and_the_latents_stay(target: str) -> None:
    Path("precious").write_bytes(b"precious")
    with part(job()) as made:
        made.save(LATENTS, TENSORS)
        made.film.write_bytes(b"film")
        Path("clip.mp4").symlink_to(target)
        with pytest.raises(OutputRefused) as refused:
            made.deliver(overwrite=False)
    says(refused, 6, "clip.mp4 exists by now", "--overwrite")
    assert Path("precious").read_bytes() == b"precious"
    assert (FOLDER / "latents.safetensors").is_file()


def test_a_link_is_replaced_not_followed() -> None:
    Path("precious").write_bytes(b"precious")
    Path("clip.mp4").symlink_to("precious")
    with part(job(overwrite=True)) as made:
        made.film.write_bytes(b"film")
        made.deliver(overwrite=True)
    assert Path("precious").read_bytes() == b"precious"
    assert not Path("clip.mp4").is_symlink()


def fail_with(saved: str) -> None:
    with suppress(KeyboardInterrupt), part(job()) as made:
        made.save(saved, TENSORS)
        made.film.write_bytes(b"half a film")
        raise KeyboardInterrupt


def test_latents_are_kept_after_a_failure_and_found_by_the_same_request() -> None:
    fail_with(LATENTS)
    with part(job(request(crf=12))) as made:
        assert torch.equal(made.load(LATENTS)["latents"], TENSORS["latents"])
        assert not made.film.exists()


def test_a_folder_without_latents_goes_after_a_failure() -> None:
    fail_with(CONDITIONING)
    assert not FOLDER.exists()


def test_a_folder_is_kept_when_it_ends_without_delivery() -> None:
    with part(job()) as made:
        made.save(LATENTS, TENSORS)
    assert FOLDER.is_dir()


def test_a_film_left_by_a_killed_run_is_thrown_away() -> None:
    fail_with(LATENTS)
    (FOLDER / "film.mp4").write_bytes(b"half a film")
    with part(job()) as made:
        assert not made.film.exists()


def test_another_requests_folder_is_left_alone() -> None:
    fail_with(LATENTS)
    before = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    with part(job(request(seed=8))) as made:
        assert made.folder != FOLDER
        assert not made.has(LATENTS)
        made.film.write_bytes(b"film")
        made.deliver(overwrite=False)
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == before
    assert sorted(path.name for path in Path().glob("*.part")) == ["clip.mp4.part"]


def test_a_folder_claimed_already_is_refused() -> None:
    with part(job()) as made:
        made.save(LATENTS, TENSORS)
        with pytest.raises(TryLater) as refused, part(job()):
            pytest.fail("a part was opened twice")
        assert made.has(LATENTS)
    says(refused, 75, "another vidgen is making clip.mp4", "wait for it")


def test_a_folder_claimed_by_another_process_is_refused_until_that_is_killed() -> None:
    script = """
import time
from tests.values import job
from vidgen.studio.part import part
with part(job()):
    print("claimed", flush=True)
    time.sleep(60)
"""
    root = Path(__file__).parents[2]
    line = [sys.executable, "-c", script]
    with subprocess.Popen(line, env={"PYTHONPATH": str(root)}, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        with pytest.raises(TryLater) as refused, part(job()):
            pytest.fail("two processes make one clip")
        other.kill()
    says(refused, 75, "another vidgen is making clip.mp4")
    with part(job()) as made:
        assert made.folder == FOLDER


def test_what_others_began_after_a_delivery_is_not_tidied_away() -> None:
    with part(job()) as first:
        first.film.write_bytes(b"film")
        first.deliver(overwrite=False)
        FOLDER.mkdir()
        (FOLDER / "claim").touch()
    assert (FOLDER / "claim").exists()


def test_a_folder_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(OutputRefused) as refused, part(job(request(output=Path("gone/clip.mp4")))):
        pytest.fail("a part was opened")
    says(refused, 6, "cannot write in gone", "another --output")


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """A disk that takes no more than `size` bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_artefact_that_the_disk_does_not_take_leaves_the_old_one_whole() -> None:
    with part(job()) as made:
        made.save(LATENTS, TENSORS)
        with full_after(1000), pytest.raises(OutputRefused) as refused:
            made.save(LATENTS, {"latents": torch.zeros(10_000)})
        assert torch.equal(made.load(LATENTS)["latents"], TENSORS["latents"])
    says(refused, 6, "cannot write in clip.mp4.part", "make room")


def test_a_disk_that_is_full_never_parts_a_request_from_its_latents() -> None:
    fail_with(LATENTS)
    with full_after(10), pytest.raises(OutputRefused) as refused, part(job()):
        pytest.fail("a part was opened")
    says(refused, 6, "cannot write in clip.mp4.part", "make room")
    with part(job()) as made:
        assert made.has(LATENTS)


def _save_forever(wanted: Job) -> None:
    torch.set_num_threads(1)  # a forked process has none of its parent's threads, and would wait for them for ever
    with part(wanted) as made:
        for value in range(10**6):
            made.save(LATENTS, {"latents": torch.full((200_000,), float(value))})


def test_an_artefact_is_whole_whenever_its_writer_is_killed() -> None:
    artefact = FOLDER / f"{LATENTS}.safetensors"
    for round_ in range(12):
        child = os.fork()
        if child == 0:
            _save_forever(job())
            os._exit(0)
        while not artefact.exists():
            time.sleep(0.001)
        time.sleep(round_ * 0.0013)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with part(job()) as made:
            latents = made.load(LATENTS)["latents"]
            assert latents.shape == (200_000,)
            assert bool((latents == latents[0]).all())


def deliver_at_once(name: str, number: int) -> list[bytes]:
    """What each of several processes, which began together, put at one name; empty for those that were refused."""
    children, ready = [], [Path(f"ready{one}") for one in range(number)]
    waits, begins = os.pipe()
    for one in range(number):
        child = os.fork()
        if not child:
            with part(job(request(seed=one, output=Path(name)))) as made:
                if name.endswith(".png"):
                    made.film.mkdir()
                (made.film / "0001.png" if name.endswith(".png") else made.film).write_bytes(bytes([one]) * 100_000)
                ready[one].touch()
                os.close(begins)
                os.read(waits, 1)  # until the last who could write has closed it
                try:
                    made.deliver()
                    os._exit(0)
                except OutputRefused as refusal:
                    os._exit(refusal.exit_code if "exists by now" in refusal.message else 1)
        children.append(child)
        while not ready[one].exists():
            time.sleep(0.001)
    os.close(begins)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0, *[6] * (number - 1)]
    return [bytes([one]) * 100_000 for one, code in enumerate(codes) if code == 0]


@pytest.mark.parametrize("name", ["clip.mp4", "frames.png"])
def test_of_twenty_different_requests_that_deliver_at_once_one_wins_and_none_is_replaced(name: str) -> None:
    [won] = deliver_at_once(name, 20)
    film = Path(name) / "0001.png" if name.endswith(".png") else Path(name)
    assert film.read_bytes() == won


def test_without_links_a_film_is_delivered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*words: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", link)
    with part(job()) as made:
        made.film.write_bytes(b"film")
        made.deliver()
    with part(job(request(output=Path("other.mp4")))) as made:
        made.film.write_bytes(b"film")
        Path("other.mp4").write_bytes(b"mine")
        with pytest.raises(OutputRefused, match="exists by now"):
            made.deliver()
    assert (Path("clip.mp4").read_bytes(), Path("other.mp4").read_bytes()) == (b"film", b"mine")


def test_who_waits_is_told_once_and_gets_the_folder_when_it_is_free() -> None:
    child = os.fork()
    if not child:
        with part(job()) as made:
            made.save(CONDITIONING, TENSORS)
            Path("claimed").touch()
            time.sleep(60)
    while not Path("claimed").exists():
        time.sleep(0.001)
    told: list[int] = []

    def waiting() -> None:
        told.append(1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    with part(job(wait=True), waiting) as made:
        assert made.has(CONDITIONING)
    assert told == [1]


def test_latents_that_are_kept_stay_beside_the_clip_and_what_is_not_ours_is_left_alone() -> None:
    for output in ("clip.mp4", "other.mp4"):
        with part(job(request(output=Path(output)))) as made:
            made.save(LATENTS, TENSORS)
            made.film.write_bytes(b"film")
            if output == "other.mp4":
                Path("other.mp4.latents").mkdir()
                Path("other.mp4.latents/mine").touch()
            made.deliver(keep=True)
    assert sorted(path.name for path in Path("clip.mp4.latents").iterdir()) == [
        "claim",
        "latents.safetensors",
        "request.json",
    ]
    assert [path.name for path in Path("other.mp4.latents").iterdir()] == ["mine"]
    assert Path("other.mp4.part/latents.safetensors").is_file()


def test_artefacts_of_nobody_are_not_taken_for_ours() -> None:
    fail_with(LATENTS)
    (FOLDER / "request.json").unlink()
    with part(job()) as made:
        assert made.folder != FOLDER
    assert (FOLDER / "latents.safetensors").is_file()


def test_links_in_a_folder_from_elsewhere_are_not_followed() -> None:
    fail_with(LATENTS)
    Path("precious").write_bytes(b"precious")
    for name in ("film.mp4", "sound.wav", "request.json.new", "latents.safetensors.new"):
        (FOLDER / name).unlink(missing_ok=True)
        (FOLDER / name).symlink_to(Path("precious").absolute())
    with part(job()) as made:
        made.save(LATENTS, TENSORS)
    (FOLDER / "claim").unlink()
    (FOLDER / "claim").symlink_to(Path("precious").absolute())
    with pytest.raises(OutputRefused), part(job()):
        pytest.fail("a link was locked")
    assert Path("precious").read_bytes() == b"precious"


def test_what_a_killed_process_was_removing_is_swept_away() -> None:
    Path("clip.mp4.part.77.gone").mkdir()
    Path("clip.mp4.part.77.gone/claim").touch()
    with part(job()):
        pass
    assert list(Path().glob("*.gone")) == []


def test_what_was_left_of_a_delivered_clip_is_swept_away_and_nothing_else() -> None:
    fail_with(LATENTS)
    FOLDER.with_name("clip.mp4.7.gone").mkdir()
    Path("clip.mp4").write_bytes(b"film")
    sweep(Path("clip.mp4"))
    assert (FOLDER / "latents.safetensors").is_file()
    assert not FOLDER.with_name("clip.mp4.7.gone").exists()
    (FOLDER / "film.mp4").hardlink_to("clip.mp4")
    with part(job(request(seed=8, output=Path("clip.mp4")), overwrite=True)) as other:
        sweep(Path("clip.mp4"))
        assert other.folder.exists()
    assert not FOLDER.exists()
    assert Path("clip.mp4").read_bytes() == b"film"


def test_a_record_that_cannot_be_placed_is_said_and_the_clip_stands() -> None:
    Path("clip.mp4.json").mkdir()
    with part(job()) as made:
        made.film.write_bytes(b"film")
        made.record.write_text("{}")
        with pytest.raises(
            OutputRefused, match=r"clip\.mp4 is finished, but clip\.mp4\.json beside it cannot be written"
        ):
            made.deliver()
    assert Path("clip.mp4").read_bytes() == b"film"
