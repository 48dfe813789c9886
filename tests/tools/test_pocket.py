"""The tools that made the built-in model: they agree, resume exactly, and export what Diffusers loads."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, LTXConditionPipeline, LTXImageToVideoPipeline, LTXPipeline
from PIL import Image
from tokenizers import Tokenizer

from tools.pocket import caption, decoder_stage, export, latents, scene, tokens
from tools.pocket.architecture import MICRO, make_vae
from tools.pocket.dit_stage import prepare
from tools.pocket.loop import Course, Student, averaged
from tools.pocket.scene import Size
from tools.pocket.vae_stage import VaeStage, to_frames, to_tensor
from tools.pocket.words_stage import LENGTHS, WordsStage, make_reader
from vidgen.media.seen import detect
from vidgen.media.world import BACKGROUNDS, COLOURS, MOTIONS, Subject

SIZES = (Size(), Size(frames=17), Size(width=96), Size(width=96, height=96))


@pytest.mark.parametrize("size", SIZES)
def test_detector_sees_exactly_what_was_drawn(size: Size) -> None:
    rng = np.random.default_rng(7)
    every = scene.subjects()
    for k, subject in enumerate(every[:: len(every) // 40]):
        frames = scene.draw(scene.imagine(rng, subject, size, anywhere=bool(k % 2)), size)
        assert frames.shape == (size.frames, size.height, size.width, 3)
        assert detect(frames).subject == subject


def test_detector_says_none_of_an_empty_picture() -> None:
    seen = detect(np.full((9, 64, 64, 3), 128, np.uint8))
    assert seen.subject == Subject(shape="none", colour="none", background="gray", motion="none")
    assert np.isnan(seen.centres).all()


def test_held_out_combinations_are_never_shown() -> None:
    shown, held_out = scene.split()
    assert not set(shown) & set(held_out)
    assert set(shown) | set(held_out) == set(scene.subjects())
    assert len(held_out) == scene.HELD_OUT + scene.HELD_OUT_SHARED
    assert {(s.colour, s.background) for s in scene.lessons()} >= {("blue", "green"), ("green", "blue")}
    assert set(scene.lessons()) == set(shown)


def test_what_was_held_out_before_a_word_was_added_stays_held_out() -> None:
    before = [s for s in scene.subjects() if s.background not in scene.SHARED]
    order = np.random.default_rng(2026).permutation(len(before))
    assert scene.split()[1][: scene.HELD_OUT] == [before[i] for i in order[: scene.HELD_OUT]]


def test_a_window_is_cut_from_the_whole_picture() -> None:
    whole = scene.imagine(np.random.default_rng(3), scene.subjects()[5], Size())
    window = scene.draw(whole, Size(width=32, height=32), corner=(20, 10))
    np.testing.assert_array_equal(window, scene.draw(whole, Size())[:, 10:42, 20:52])


def test_every_caption_is_in_the_vocabulary_and_names_what_it_labels() -> None:
    rng = np.random.default_rng(11)
    tokenizer = tokens.make_tokenizer()
    for subject in scene.subjects()[::9]:
        text, said = caption.tell(rng, scene.imagine(rng, subject, Size()), whole=True)
        names = [words[place] for words, place in zip(caption.LABELS.values(), said, strict=True)]
        assert names[:4] == [subject.shape, subject.colour, subject.background, subject.motion]
        assert any(word in text.lower() for word in caption.COLOUR_WORDS[subject.colour])
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in ids
        assert len(ids) <= LENGTHS[0], f"cut short: {text}"


def test_labels_and_palette_are_one_vocabulary() -> None:
    assert caption.LABELS["background"][:-1] == tuple(BACKGROUNDS)
    assert set(caption.WAYS) | set(caption.DEEDS["s"]) == set(MOTIONS)
    assert set(COLOURS) & set(BACKGROUNDS) == set(scene.SHARED)
    assert all(subject.colour != subject.background for subject in scene.subjects())


def test_video_and_frames_are_the_same_picture() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 9, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_frames(to_tensor(frames)), frames)


def test_training_stopped_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    straight = _student(tmp_path / "straight")
    losses = [straight.learn()[0] for _ in range(4)]
    first = _student(tmp_path / "resumed")
    for _ in range(2):
        first.learn()
    first.save()
    second = _student(tmp_path / "resumed", seed=5)
    second.resume()
    assert [second.learn()[0] for _ in range(2)] == losses[2:]
    for name, value in straight.average.items():
        assert torch.equal(value, second.average[name])


def test_training_begins_from_what_fits_of_another_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(3)
    _student(tmp_path / "before").save()
    saved = averaged(tmp_path / "before" / "vae.pt")
    torch.save({"average": saved | {"decoder.conv_out.conv.bias": torch.zeros(2)}}, tmp_path / "other.pt")
    student = _student(tmp_path / "after", seed=9, start=tmp_path / "other.pt")
    fresh = student.stage.module.state_dict()["decoder.conv_out.conv.bias"].clone()
    student.resume()
    begun = student.stage.module.state_dict()
    assert student.step == 0
    assert torch.equal(begun["encoder.conv_in.conv.weight"], saved["encoder.conv_in.conv.weight"])
    assert torch.equal(begun["decoder.conv_out.conv.bias"], fresh)


def test_decoder_learns_alone(tmp_path: Path) -> None:
    course = Course(folder=tmp_path, steps=8)
    Student(VaeStage(make_vae(MICRO)), course).save()
    stage = decoder_stage.prepare(course, 1, "cpu", MICRO, compiled=False)
    before = {name: value.clone() for name, value in stage.vae.state_dict().items()}
    student = Student(stage, course)
    assert np.isfinite([student.learn()[0] for _ in range(4)]).all()
    changed = {name for name, value in stage.vae.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("decoder.") for name in changed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder of the smallest model that has every part."""
    to = tmp_path_factory.mktemp("pocket")
    export.write(export.untrained(seed=0, sizes=MICRO), to)
    return to


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_exported_folder_makes_a_video_in_every_pipeline(folder: Path) -> None:
    size: dict[str, Any] = {"width": 64, "height": 64, "num_frames": 9, "num_inference_steps": 2, "output_type": "np"}
    picture = Image.new("RGB", (64, 64), "red")
    asked: dict[type[DiffusionPipeline], dict[str, Any]] = {
        LTXPipeline: {"prompt": "a red circle"},
        LTXImageToVideoPipeline: {"prompt": "a red circle", "image": picture},
        LTXConditionPipeline: {"prompt": "a red circle", "image": picture, "frame_index": 8},
    }
    for kind, words in asked.items():
        pipe = kind.from_pretrained(folder, dtype=torch.float32)
        pipe.set_progress_bar_config(disable=True)
        frames = pipe(**words, **size, generator=torch.Generator().manual_seed(0)).frames
        assert frames.shape == (1, 9, 64, 64, 3)
        assert np.isfinite(frames).all()


def test_exported_files_are_summed_and_name_no_machine(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert set(listed) == set(files) - {"SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest
        assert str(Path.home()).encode() not in files[name].read_bytes()


def test_same_seed_exports_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    export.write(export.untrained(seed=0, sizes=MICRO), tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == (folder / "SHA256SUMS").read_text()


def test_tokenizer_ignores_case_when_loaded_by_anything(folder: Path) -> None:
    plain = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    loaded = LTXPipeline.from_pretrained(folder).tokenizer
    assert plain.encode("A Red Circle").tokens == ["▁a", "▁red", "▁circle", "</s>"]
    assert loaded("A Red Circle").input_ids == plain.encode("a red circle").ids


def _student(folder: Path, seed: int = 1, start: Path | None = None) -> Student:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    stage = VaeStage(module=make_vae(MICRO), crops=1, clips=1)
    return Student(stage, Course(folder=folder, steps=4, seed=1, start=start))


def test_transformer_learns_from_latents_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latents, "SHELVES", {name: (*kind[:2], 8) for name, kind in latents.SHELVES.items()})
    course = Course(folder=tmp_path, steps=4)
    Student(VaeStage(make_vae(MICRO)), course).save()
    Student(WordsStage(make_reader(MICRO)), course).save()
    losses = []
    for _ in range(2):
        stage = prepare(course, 2, "cpu", MICRO, compiled=False)
        losses.append([Student(stage, replace(course, seed=seed)).learn()[0] for seed in range(8)])
    assert np.isfinite(losses).all()
    assert losses[0] == losses[1]
