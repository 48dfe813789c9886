"""LTX-2.5, split into verbs, draws and sounds what one call of the Diffusers pipeline does: distilled, and in full."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.backends import test_ltx2 as older
from tests.backends.films import through_disk
from tests.conftest import ANSWER
from vidgen import hub
from vidgen.backends import ltx2, multimodal, stages, wording
from vidgen.backends.quiet import found, quickly
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin
from vidgen.core.card import ModelCard, Phase
from vidgen.core.errors import UsageRefused
from vidgen.core.plan import Job, Placement, Precision, Rung
from vidgen.core.request import Mode
from vidgen.media.inspect import inspect as look
from vidgen.planning.check import check

NAME = "ltx-2.5-distilled"
LOADED = older.pipeline.__wrapped__


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LTX-2.5 in miniature, with the full model's transformer beside the distilled one's, as they are released."""
    described, known = twin("ltx2"), cards.card(NAME)
    made = tmp_path_factory.mktemp("ltx25") / "ltx-2.5"
    build(described, made, pipeline="LTX2Pipeline", says=described.index(known))
    index = json.loads((made / "model_index.json").read_text(encoding="utf-8"))
    del index["_vidgen_card"]
    (made / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    shutil.copytree(made / "transformer", made / "transformer_full")
    file = made / "transformer_full" / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.25 for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    return made


def card(folder: Path, name: str) -> ModelCard:
    """A shipped card for the weights in `folder`; the guided one perturbs the last block of its twin."""
    known = cards.card(name)
    changed = {"stg_blocks": [1]} if "stg_blocks" in known.settings else {}
    return replace(known, folder=folder, tokens=64, settings={**known.settings, **changed})


def asked(folder: Path, name: str, mode: Mode = Mode.T2V, **words: Any) -> Job:
    job = older.asked(card(folder, name), mode, **words)
    return replace(job, weights=hub.find(job.card))


@cache
def pipeline(folder: Path, name: str, precision: Precision, full: bool) -> Any:
    """The loaded pipeline of Diffusers; the full transformer and its schedule as the page of Diffusers has them."""
    pipe = LOADED(folder, name, precision, False)
    if full:
        with quickly():
            kind = found("diffusers.models.transformers.transformer_ltx2", "LTX2VideoTransformer3DModel")
            pipe.register_modules(
                transformer=kind.from_pretrained(
                    folder, subfolder="transformer_full", torch_dtype=pipe.vae.dtype, local_files_only=True
                )
            )
        config = pipe.scheduler.config
        pipe.scheduler = type(pipe.scheduler).from_config(config, use_dynamic_shifting=True, shift_terminal=0.1)
    return pipe


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the comparison with one call of a pipeline take that of LTX-2.5."""

    def chosen(folder: Path, name: str, precision: Precision, distilled: bool) -> Any:
        return pipeline(folder, name, precision, not distilled)

    monkeypatch.setattr(older, "pipeline", chosen)


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(("mode", "seeds"), older.MODES)
def test_distilled_weights_split_equal_whole(folder: Path, mode: Mode, seeds: tuple[int, ...]) -> None:
    older.same(asked(folder, NAME, mode), seeds)


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(("mode", "seeds"), older.MODES)
def test_the_full_weights_of_another_folder_split_equal_whole(folder: Path, mode: Mode, seeds: tuple[int, ...]) -> None:
    older.same(asked(folder, "ltx-2.5-dev", mode), seeds)


@pytest.mark.slow
@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("name", [NAME, "ltx-2.5-dev"])
def test_bfloat16(folder: Path, name: str) -> None:
    older.same(asked(folder, name, rung=Rung(precision=Precision.BF16, placement=Placement.PHASE)))


@pytest.mark.slow
def test_the_full_weights_draw_another_clip(folder: Path) -> None:
    clips = [older.split(asked(folder, name, steps=8, guidance_scale=1.0), ())[0] for name in (NAME, "ltx-2.5-dev")]
    assert (clips[0] != clips[1]).any()


@pytest.mark.slow
def test_the_full_model_goes_on_from_every_step(folder: Path) -> None:
    older.goes_on(asked(folder, "ltx-2.5-dev", Mode.I2V), (1,), (1, 2, 3))


def test_the_full_schedule_ends_where_the_card_says(folder: Path) -> None:
    job = asked(folder, "ltx-2.5-dev", steps=4)
    backend = ltx2.open(job)
    pipe = backend._drawing_pipe(job, through_disk(backend.encode([job], lambda _: ())[0]))
    scheduler = multimodal.following(job, stages.every(job)[0], pipe.scheduler)
    scheduler.set_timesteps(4, mu=1.0)
    assert scheduler.sigmas[-2].item() == pytest.approx(0.1)
    backend.close()
    with pytest.raises(UsageRefused, match="cannot be drawn in one step"):
        older.split(asked(folder, "ltx-2.5-dev", steps=1), ())


def test_a_folder_of_these_weights_is_known_by_its_text_encoder(folder: Path) -> None:
    known = cards.for_folder(folder)
    assert (known.wording, known.schedule.picture_crf, known.settings) == ("ltx-2.5", 18, {"cross_timestep": True})


@pytest.mark.parametrize(
    "words",
    [
        ("t2v",),
        pytest.param(("i2v", "first.png"), marks=pytest.mark.slow),
        pytest.param(("keyframe", "--at", "0:first.png", "--at", "-1:first.png"), marks=pytest.mark.slow),
    ],
)
def test_a_clip_with_sound_from_the_command_line(
    vidgen: ANSWER, folder: Path, picture: Path, words: tuple[str, ...]
) -> None:
    shape = ("--model", str(folder), "--size", "64x64", "--frames", "9", "--seed", "3", "-o", "x.mp4")
    answer = vidgen(*words, "a fox", *shape)
    assert answer.code == 0, answer.err
    found = look(Path("x.mp4"))
    assert (found.frames, found.width, found.height) == (9, 64, 64)
    assert found.sound


def test_it_tells_how_long_a_clip_is_to_be_as_diffusers_does(vidgen: ANSWER, folder: Path, tmp_path: Path) -> None:
    answer = vidgen("duration", "a fox walks", "--model", str(folder))
    assert answer.code == 0, answer.err
    pipe = pipeline(folder, "LTX2Pipeline", Precision.FP32, False)
    with torch.no_grad():
        embeds, mask, _, _ = pipe.encode_prompt("a fox walks", do_classifier_free_guidance=False)
        video, audio, _ = pipe.connectors(embeds, mask)
        assert answer.out == f"{pipe.duration_head(video, audio).item():.2f}\n"
    silent = Path(shutil.copytree(folder, tmp_path / "silent"))
    shutil.rmtree(silent / "duration_head")
    said = vidgen("duration", "a fox walks", "--model", str(silent))
    assert (said.code, "have no duration_head" in said.err) == (4, True)
    assert vidgen("t2v", "a fox", "--model", str(silent), "--size", "64x64", "--frames", "1", "--dry-run").code == 0


def test_other_models_do_not_tell_how_long_a_clip_is_to_be(vidgen: ANSWER) -> None:
    answer = vidgen("duration", "a fox walks", "--model", "ltx-2.3-dev")
    assert (answer.code, "does not tell how long" in answer.err) == (2, True)
    assert vidgen("duration", "a fox walks", "--model", "ltx-2.5-dev").code == 4


def test_what_is_not_counted_is_said_until_it_is_here(vidgen: ANSWER, folder: Path) -> None:
    said = "in no plan until it is here: of ltx-2.5-dev that is connectors and text_encoder"
    assert said in vidgen("plan", "t2v", "a fox", "--model", "ltx-2.5-dev", "--vram", "80").out
    assert "until it is here" not in vidgen("plan", "t2v", "a fox", "--model", str(folder)).out


def test_prompts_are_worded_as_its_makers_have_it(folder: Path) -> None:
    assert "EXACT style of the training captions" in wording.system(asked(folder, NAME))
    with pytest.raises(UsageRefused, match="no enhancer of its own"):
        check(replace(asked(folder, NAME).request, enhance=True), card(folder, NAME))


def test_only_the_transformer_in_use_is_looked_for_and_fetched(folder: Path, tmp_path: Path) -> None:
    from vidgen.weights.wanted import File, wanted

    full = card(folder, "ltx-2.5-dev")
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    fetched = {file.name for file in wanted(full, [File(name=name, size=1, etag="") for name in names])}
    assert {name for name in fetched if name.startswith("transformer")} == {
        "transformer_full/config.json",
        "transformer_full/diffusion_pytorch_model.safetensors",
    }
    less = [File(name=name, size=1, etag="") for name in names if not name.startswith("duration_head/")]
    assert fetched - {file.name for file in wanted(full, less)} == {
        "duration_head/config.json",
        "duration_head/diffusion_pytorch_model.safetensors",
    }
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    shutil.rmtree(bare / "transformer_full")
    missing = hub.find(replace(full, folder=bare)).missing
    assert missing == ("transformer/config.json", "transformer/*.safetensors")
    assert Phase.DENOISE in full.ways[Mode.T2V].phases


def test_a_card_leads_to_no_folder_but_one_within_its_weights(tmp_path: Path) -> None:
    text = (cards.OWN / "ltx-2.5-dev.toml").read_text(encoding="utf-8")
    (tmp_path / "x.toml").write_text(text.replace('at = "transformer_full"', 'at = "../else"'), encoding="utf-8")
    with pytest.raises(UsageRefused, match=r"'\.\./else' is no sub-folder"):
        cards.read(tmp_path / "x.toml")
