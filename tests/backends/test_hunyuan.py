"""HunyuanVideo, split into verbs, draws what one call of the Diffusers pipeline draws, and says no where that lies."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image
from safetensors.torch import save_file

from tests import twins
from tests.backends import films
from tests.conftest import ANSWER
from vidgen.backends import attention, hunyuan, pixels
from vidgen.backends.port import State, Tensors
from vidgen.backends.quiet import quickly
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin
from vidgen.core.card import ModelCard, TwinPart
from vidgen.core.errors import Stopped, UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job, Placement, Precision, Rung
from vidgen.core.request import Keyframe, Lora, Mode
from vidgen.media.inspect import digest, inspect

TEXT, PICTURE = "HunyuanVideoPipeline", "HunyuanVideoImageToVideoPipeline"
MODULES = {TEXT: "pipeline_hunyuan_video", PICTURE: "pipeline_hunyuan_video_image2video"}
NAMES = {"t2v": "hunyuan-video", "replace": "hunyuan-video-i2v", "concat": "hunyuan-video-i2v-33ch"}
CONCAT = {"in_channels": 9, "image_condition_type": "latent_concat", "guidance_embeds": False}
RESIDENT = Rung(precision=Precision.FP32, placement=Placement.RESIDENT)
HALF = Rung(precision=Precision.BF16, placement=Placement.PHASE)
KINDS = list(NAMES)


@cache
def folder(kind: str, place: Path) -> Path:
    """The twin of one kind of weights."""
    described = twin("hunyuan")
    if kind == "concat":
        own = dict(described.own[PICTURE])
        arguments = {**own["transformer"].arguments, **CONCAT}
        own["transformer"] = TwinPart(kind=own["transformer"].kind, arguments=arguments)
        described = replace(described, own={PICTURE: own})
    return build(described, place / f"tiny-{kind}", pipeline=TEXT if kind == "t2v" else PICTURE)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hunyuan")


def card(kind: str, place: Path) -> ModelCard:
    """The shipped card, with the twin's weights."""
    return replace(cards.card(NAMES[kind]), folder=folder(kind, place))


def job(kind: str, place: Path, **words: Any) -> Job:
    mode = Mode.T2V if kind == "t2v" else Mode.I2V
    scale = 1.0 if kind == "concat" else 6.0
    return twins.job(card(kind, place), mode, **{"negative": "", "guidance_scale": scale, **words})


def guided(kind: str) -> dict[str, Any]:
    """The settings of true classifier-free guidance."""
    return {"negative": "blurry", "guidance_scale" if kind == "concat" else "true_cfg_scale": 4.0}


def pictures(wanted: Job) -> list[Image]:
    return [twins.picture(wanted.canvas.width, wanted.canvas.height, 1)] * len(wanted.request.keyframes)


def whole(wanted: Job, *, shift: float = 5.0) -> np.ndarray[Any, Any]:
    """The frames by one call of the pipeline, as its documentation has it; rounded to bytes and cut to the request."""
    canvas, request, concat = wanted.canvas, wanted.request, "33ch" in wanted.card.name
    assert wanted.card.folder is not None
    pipe = pipeline(wanted.card.folder, wanted.card.ways[request.mode].pipeline, wanted.plan.rung.precision)
    pipe.scheduler.set_shift(shift)
    with quickly(), attention.unmasked(pipe.transformer):
        film = pipe(
            prompt=request.prompt,
            negative_prompt=request.negative or None,
            height=canvas.height,
            width=canvas.width,
            num_frames=canvas.frames + 4 * concat,
            num_inference_steps=request.steps,
            guidance_scale=1.0 if concat else request.guidance_scale,
            true_cfg_scale=request.guidance_scale if concat else request.true_cfg_scale,
            generator=torch.Generator().manual_seed(request.seed),
            output_type="np",
            **({"image": pictures(wanted)[0]} if request.keyframes else {}),
        ).frames[0]
    frames: np.ndarray[Any, Any] = (film * 255).round().astype(np.uint8)
    rows = slice(canvas.top, canvas.top + request.height)
    return frames[: request.frames, rows, canvas.left : canvas.left + request.width]


@cache
def pipeline(folder: Path, name: str, precision: Precision) -> Any:
    """The loaded pipeline of Diffusers: fp16 but for the transformer, as its page recommends."""
    half = {"transformer": torch.bfloat16, "default": torch.float16}
    with quickly():
        kind = getattr(import_module(f"diffusers.pipelines.hunyuan_video.{MODULES[name]}"), name)
        tokenizer = import_module("transformers").PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
        pipe = kind.from_pretrained(
            folder,
            tokenizer=tokenizer,
            torch_dtype=torch.float32 if precision is Precision.FP32 else half,
            local_files_only=True,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def same(wanted: Job, **options: float) -> np.ndarray[Any, Any]:
    """Split equals whole, bit for bit; the frames."""
    ours = films.split(wanted, pictures(wanted))
    np.testing.assert_array_equal(ours, whole(wanted, **options))
    assert ours.shape == (wanted.request.frames, wanted.request.height, wanted.request.width, 3)
    assert ours.std() > 1
    return ours


@pytest.mark.parametrize("kind", KINDS)
def test_split_equals_whole_with_and_without_true_cfg(place: Path, kind: str) -> None:
    plain, with_cfg = same(job(kind, place)), same(job(kind, place, **guided(kind)))
    assert (plain != with_cfg).any()


@pytest.mark.parametrize("kind", KINDS)
def test_in_half_precision_the_encoders_and_the_decoder_are_in_fp16(place: Path, kind: str) -> None:
    wanted = job(kind, place, rung=HALF)
    same(wanted)
    backend = hunyuan.open(wanted)
    held = backend._parts.hold(["transformer", "vae", "text_encoder", "text_encoder_2"])
    dtypes = {name: next(part.parameters()).dtype for name, part in held.items()}
    assert dtypes == {**dict.fromkeys(dtypes, torch.float16), "transformer": torch.bfloat16}


@pytest.mark.parametrize("kind", KINDS)
def test_the_clip_is_cut_from_the_canvas(place: Path, kind: str) -> None:
    canvas = Canvas(width=64, height=48, frames=13, left=7, top=6)
    same(job(kind, place, canvas=canvas, width=50, height=36, frames=11, fps=Fraction(24000, 1001), steps=2))


@pytest.mark.slow
def test_the_schedule_is_shifted_by_the_size_of_the_canvas(place: Path) -> None:
    same(job("t2v", place, width=720, height=704, frames=1, steps=2), shift=7.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("placement", Placement)
def test_any_kept_step_can_be_gone_on_from(place: Path, kind: str, placement: Placement) -> None:
    wanted = job(kind, place, rung=replace(RESIDENT, placement=placement), steps=4, **guided(kind))
    states: list[Tensors] = []

    def step(done: int, total: int, state: State | None = None) -> None:
        assert total == 4
        assert state is not None
        states.append(films.through_disk(state()))

    backend = hunyuan.open(wanted)
    conditioning = backend.encode([wanted], lambda _: pictures(wanted))[0]
    undisturbed = backend.denoise(wanted, conditioning, pictures(wanted), step)
    backend.close()
    for since in states[:]:
        done: list[int] = []
        again = hunyuan.open(wanted)
        latents = again.denoise(
            wanted, conditioning, pictures(wanted), lambda at, _, state=None, done=done: done.append(at), since
        )
        again.close()
        assert done == list(range(int(since["step"]) + 1, 5))
        assert all(torch.equal(latents[name], undisturbed[name]) for name in undisturbed)


def test_stopping_stops_at_once(place: Path) -> None:
    done: list[int] = []

    def step(index: int, total: int, state: State | None = None) -> None:
        done.append(index)
        if index == 2:
            raise Stopped("stopped", "")

    with pytest.raises(Stopped):
        films.split(job("t2v", place, steps=5), step=step)
    assert done == [1, 2]


@pytest.mark.parametrize("kind", ["t2v", "replace"])
def test_a_batch_is_encoded_as_its_clips_are_and_nothing_twice(
    place: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = (Keyframe(picture=Path("another.png")),) if kind == "replace" else ()
    jobs = [job(kind, place), job(kind, place, prompt="a blue square"), job(kind, place, seed=8)]
    jobs += [job(kind, place, keyframes=other), job(kind, place, **guided(kind))]

    def look(wanted: Job) -> Sequence[Image]:
        first = wanted.request.keyframes[0].picture.name if wanted.request.keyframes else ""
        return [twins.picture(64, 32, len(first))]

    alone = [hunyuan.open(each).encode([each], look)[0] for each in jobs]
    texts: list[str] = []
    module = import_module("vidgen.backends.llama")
    embed = module.embed

    def noted(pipe: Any, job: Job, text: str, seen: Mapping[str, Any]) -> Tensors:
        texts.append(text)
        tensors: Tensors = embed(pipe, job, text, seen)
        return tensors

    monkeypatch.setattr(module, "embed", noted)
    together = hunyuan.open(jobs[0]).encode(jobs, look)
    for one, many in zip(alone, together, strict=True):
        assert one.keys() == many.keys()
        assert all(torch.equal(one[name], many[name]) for name in one)
    assert len(texts) == (4 if kind == "replace" else 3)
    assert torch.equal(together[0]["prompt_embeds"], together[2]["prompt_embeds"])
    assert torch.equal(together[0]["prompt_embeds"], together[3]["prompt_embeds"]) is (kind == "t2v")


@pytest.mark.parametrize(("kind", "read"), [("t2v", 256), ("replace", 252), ("concat", 252)])
def test_as_many_tokens_are_read_as_the_card_says(place: Path, kind: str, read: int) -> None:
    def embeds(length: int, *changed: int) -> torch.Tensor:
        letters = "".join("x" if at in changed else "a" for at in range(length))
        wanted = job(kind, place, prompt=" ".join(letters))
        found = hunyuan.open(wanted).encode([wanted], lambda _: pictures(wanted))[0]
        return torch.where(found["prompt_attention_mask"][..., None] > 0, found["prompt_embeds"], 0)

    assert (card(kind, place).component("tokenizer").tokens or card(kind, place).tokens) == read
    for length in (read, read + 1, read + 30):
        assert not torch.equal(embeds(length), embeds(length, read - 1)), "the last token that counts"
    assert torch.equal(embeds(read + 30), embeds(read + 30, read))


def test_tiles_give_the_whole_picture(place: Path) -> None:
    wanted = job("t2v", place, width=320, height=32, frames=21, steps=1)
    backend = hunyuan.open(wanted)
    conditioning = backend.encode([wanted], lambda _: ())[0]
    latents = backend.denoise(wanted, conditioning, (), lambda done, total, state=None: None)
    plain = np.stack(list(backend.decode(wanted, latents).frames))
    backend._parts.rung = replace(RESIDENT, tiling=256)
    tiled = np.stack(list(backend.decode(wanted, latents).frames))
    backend._parts.rung = RESIDENT
    assert tiled.shape == plain.shape == (21, 32, 320, 3)
    assert 0 < np.abs(tiled.astype(int) - plain).mean() < 20
    np.testing.assert_array_equal(np.stack(list(backend.decode(wanted, latents).frames)), plain)


@pytest.mark.parametrize(("side", "stride"), [(256, 192), (192, 144), (128, 96), (64, 48), (100, 72), (8, 8)])
def test_tiles_and_their_strides_divide_by_what_the_decoder_enlarges(side: int, stride: int) -> None:
    vae = type("Vae", (), {"spatial_compression_ratio": 8})
    found = pixels.squares(vae, side)
    assert found == {
        "tile_sample_min_height": side // 8 * 8,
        "tile_sample_min_width": side // 8 * 8,
        "tile_sample_stride_height": stride,
        "tile_sample_stride_width": stride,
    }
    assert pixels.squares(vae, 0) == {}


def lora(file: str, prefix: str = "transformer") -> Path:
    generator, tensors = torch.Generator().manual_seed(5), {}
    for layer in ("to_q", "to_k", "to_v"):
        name = f"{prefix}.transformer_blocks.0.attn.{layer}"
        tensors[f"{name}.lora_A.weight"] = torch.randn(4, 20, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(20, 4, generator=generator)
    save_file(tensors, file)
    return Path(file)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_changes_the_picture_and_leaves_no_trace(place: Path, kind: str) -> None:
    bare, dressed = job(kind, place), job(kind, place, loras=[Lora(path=lora("style.safetensors"))])
    backend = hunyuan.open(bare)
    before, changed, after = (films.straight(backend, each, pictures(each)) for each in (bare, dressed, bare))
    backend.close()
    np.testing.assert_array_equal(before, after)
    assert (before != changed).any()


def test_lora_of_another_model_is_refused(place: Path) -> None:
    other = job("t2v", place, loras=[Lora(path=lora("other.safetensors", prefix="diffusion_model"))])
    with pytest.raises(WeightsRefused, match=r"other\.safetensors"):
        films.split(other)


def changed(kind: str, place: Path, file: str, **values: Any) -> Job:
    """A job on a copy of the twin with other `values` in one of its files."""
    import shutil

    copy = Path(f"copy-{kind}")
    shutil.copytree(folder(kind, place), copy)
    path = copy / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    wanted = job(kind, place)
    return replace(wanted, weights=replace(wanted.weights, folder=copy))


def test_weights_of_the_other_conditioning_are_refused_with_the_right_card(place: Path) -> None:
    wanted = job("replace", place)
    other = replace(wanted, weights=replace(wanted.weights, folder=folder("concat", place)))
    with pytest.raises(WeightsRefused, match="conditioned by latent_concat and has no embedded guidance") as refused:
        hunyuan.open(other)
    assert "hunyuan-video-i2v-33ch" in refused.value.remedy


def test_the_index_may_name_the_card(place: Path) -> None:
    weights = Path("mine")
    weights.mkdir()
    (weights / "model_index.json").write_text(json.dumps({"_class_name": PICTURE, "_vidgen_card": NAMES["concat"]}))
    assert cards.card("./mine").settings["conditioning"] == "latent_concat"


def test_a_tokenizer_that_reads_the_template_otherwise_is_refused(place: Path) -> None:
    file = "tokenizer/tokenizer.json"
    content = json.loads((folder("t2v", place) / file).read_text())
    damaged = changed("t2v", place, file, pre_tokenizer={**content["pre_tokenizer"], "pattern": {"Regex": r"\w"}})
    with pytest.raises(WeightsRefused, match=r"reads the template of prompts as \d+ tokens, not 95"):
        hunyuan.open(damaged).encode([damaged], lambda _: ())


def test_a_mark_of_the_models_own_in_a_prompt_is_refused(place: Path) -> None:
    wanted = job("replace", place, prompt="a cat <image> a dog")
    with pytest.raises(UsageRefused, match="a mark of the model's own"):
        hunyuan.open(wanted).encode([wanted], lambda _: pictures(wanted))


def test_a_canvas_off_the_grid_of_the_weights_is_refused(place: Path) -> None:
    for canvas in (Canvas(width=40, height=32, frames=9), Canvas(width=64, height=32, frames=10)):
        with pytest.raises(WeightsRefused, match="multiples of 16, frames 4k"):
            films.split(job("t2v", place, canvas=canvas))


def test_a_weak_or_late_picture_is_refused_where_it_would_be_ignored(place: Path) -> None:
    for mark in (Keyframe(picture=Path("a.png"), strength=0.5), Keyframe(picture=Path("a.png"), frame=4)):
        with pytest.raises(UsageRefused, match="strength"):
            hunyuan.open(job("replace", place, keyframes=[mark]))


def test_an_unknown_pipeline_or_conditioning_is_refused(place: Path) -> None:
    wanted = job("t2v", place)
    way = replace(wanted.card.ways[Mode.T2V], pipeline="HunyuanMagicPipeline")
    with pytest.raises(WeightsRefused, match="HunyuanMagicPipeline"):
        hunyuan.open(replace(wanted, card=replace(wanted.card, ways={Mode.T2V: way})))
    with pytest.raises(WeightsRefused, match="'telepathy'"):
        hunyuan.open(replace(wanted, card=replace(wanted.card, settings={"conditioning": "telepathy"})))


def test_the_words_of_llama_3_are_read_with_their_spaces(place: Path) -> None:
    """LlamaTokenizer of Transformers 5 would read `helloworld`, whatever tokenizer.json says."""
    tokenizers = import_module("tokenizers")
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(["hello world"], tokenizers.trainers.BpeTrainer(initial_alphabet=alphabet))
    wanted = changed("t2v", place, "tokenizer/tokenizer.json", **json.loads(trained.to_str()))
    read = hunyuan.open(wanted)._parts.hold(["tokenizer"])["tokenizer"]
    assert read("hello world").input_ids == trained.encode("hello world").ids
    assert read.decode(read("hello world").input_ids) == "hello world"


SAID = {"model": "./tiny", "size": "50x36", "frames": "8", "fps": "24000/1001", "steps": "2", "seed": "1"}
LINE = ["t2v", "a red circle", *(word for name, value in SAID.items() for word in (f"--{name}", value))]


@pytest.fixture
def tiny(place: Path) -> None:
    Path("tiny").symlink_to(folder("t2v", place))


def test_the_command_makes_the_clip_that_was_asked_for(vidgen: ANSWER, tiny: None) -> None:
    for name in ("one.mp4", "two.mp4"):
        answer = vidgen(*LINE, "-o", name)
        assert answer.code == 0, answer.err
    facts = inspect(Path("one.mp4"))
    assert (facts.width, facts.height, facts.frames, facts.fps) == (50, 36, 8, Fraction(24000, 1001))
    assert digest(Path("one.mp4")) == digest(Path("two.mp4"))


def test_the_command_takes_true_cfg_only_when_it_is_asked_for(vidgen: ANSWER, tiny: None) -> None:
    refused = vidgen(*LINE, "--negative", "blurry", "-o", "no.mp4")
    assert refused.code == 2
    assert "is embedded and reads no negative prompt\n    add --true-cfg-scale 4" in refused.err
    assert vidgen(*LINE, "-o", "plain.mp4").code == 0
    assert vidgen(*LINE, "--negative", "blurry", "--true-cfg-scale", "4", "-o", "with.mp4").code == 0
    assert digest(Path("plain.mp4")) != digest(Path("with.mp4"))
    assert json.loads(Path("with.mp4.json").read_text())["request"]["true_cfg_scale"] == 4.0


def test_the_command_says_what_each_of_the_two_encoders_does_not_read(vidgen: ANSWER, tiny: None) -> None:
    prompt = " ".join(["abcdef"] * 50) + " end"
    answer = vidgen("plan", "t2v", prompt, *LINE[2:])
    said = " ".join(answer.out.split())
    assert "the prompt has 303 tokens and tiny-t2v reads 256; cut off: 'ef abcdef" in said
    assert "the prompt has 305 tokens and the tokenizer_2 of tiny-t2v reads 77; cut off: 'def abcdef" in said


def test_the_command_quantizes(vidgen: ANSWER, tiny: None) -> None:
    answer = vidgen(*LINE, "--precision", "int8", "-o", "int8.mp4")
    assert answer.code == 0, answer.err
    assert inspect(Path("int8.mp4")).frames == 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_names_its_repository_and_leaves_no_weight_uncounted(kind: str) -> None:
    shipped = cards.card(NAMES[kind])
    weightless = {part.name for part in shipped.components if not part.parameters}
    assert shipped.repository.startswith("hunyuanvideo-community/HunyuanVideo")
    assert weightless - {"image_processor"} == {"tokenizer", "tokenizer_2", "scheduler"}
