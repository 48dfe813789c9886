"""HunyuanVideo-1.5, split into verbs, draws what one call of Diffusers draws, and says no where that would lie."""

import inspect as signatures
import json
import shutil
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
from vidgen import tokens
from vidgen.backends import attention, hunyuan15, qwen
from vidgen.backends.port import State, Tensors
from vidgen.backends.quiet import bring_peft, found, quickly
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin
from vidgen.core.card import Guidance, ModelCard, TwinPart
from vidgen.core.errors import Stopped, UsageRefused, WeightsRefused
from vidgen.core.plan import Canvas, Job, Placement, Precision, Rung
from vidgen.core.request import Keyframe, Lora, Mode
from vidgen.media.inspect import digest, inspect
from vidgen.weights import wanted as listed

TEXT, PICTURE = "HunyuanVideo15Pipeline", "HunyuanVideo15ImageToVideoPipeline"
NAMES = {
    "t2v": "hunyuan-video-1.5-480p-t2v",
    "i2v": "hunyuan-video-1.5-480p-i2v",
    "step": "hunyuan-video-1.5-480p-i2v-step-distilled",
}
OWN_SIZE = 48
"""A target size for which 64x32 is one of the sizes that the pipeline takes by itself."""

CHANGED: dict[str, dict[str, dict[str, Any]]] = {
    "t2v": {"transformer": {"target_size": OWN_SIZE}},
    "i2v": {"transformer": {"target_size": OWN_SIZE}},
    "step": {"transformer": {"target_size": OWN_SIZE, "use_meanflow": True}, "guider": {"guidance_scale": 1.0}},
}
RESIDENT = Rung(precision=Precision.FP32, placement=Placement.RESIDENT)
HALF = Rung(precision=Precision.BF16, placement=Placement.PHASE)
GUIDED = [("t2v", 6.0), ("t2v", 1.0), ("i2v", 6.0), ("i2v", 1.0), ("step", 1.0)]


@cache
def folder(kind: str, place: Path) -> Path:
    """The twin of one kind of weights."""
    described, pipeline = twin("hunyuan15"), TEXT if kind == "t2v" else PICTURE
    parts = dict(described.of(pipeline))
    for name, values in CHANGED[kind].items():
        parts[name] = TwinPart(kind=parts[name].kind, arguments={**parts[name].arguments, **values})
    return build(replace(described, parts=parts, own={}), place / f"tiny-{kind}", pipeline=pipeline)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hunyuan15")


def card(kind: str, place: Path) -> ModelCard:
    """The shipped card, with the twin's weights."""
    shipped = cards.card(NAMES[kind])
    settings = {**shipped.settings, "target_size": OWN_SIZE}
    return replace(shipped, folder=folder(kind, place), settings=settings)


def job(kind: str, place: Path, **words: Any) -> Job:
    mode = Mode.T2V if kind == "t2v" else Mode.I2V
    usual = {"guidance_scale": 1.0, "negative": "", "steps": 8} if kind == "step" else {"guidance_scale": 6.0}
    return twins.job(card(kind, place), mode, **{**usual, **words})


def pictures(wanted: Job) -> list[Image]:
    return [twins.picture(wanted.canvas.width, wanted.canvas.height, 1)] * len(wanted.request.keyframes)


def encoded(backend: hunyuan15.Hunyuan15, wanted: Job) -> Tensors:
    return backend.encode([wanted], lambda _: pictures(wanted))[0]


def whole(wanted: Job, *, cut: bool = True) -> np.ndarray[Any, Any]:
    """The frames by one call of the pipeline, as its documentation has it; rounded to bytes and cut to the request."""
    canvas, request = wanted.canvas, wanted.request
    assert wanted.card.folder is not None
    pipe = pipeline(wanted.card.folder, wanted.card.ways[request.mode].pipeline, wanted.plan.rung.precision)
    pipe.scheduler.set_shift(wanted.card.settings["shift"])
    size = {"height": canvas.height, "width": canvas.width}
    with quickly(), attention.unmasked(pipe.transformer):
        pipe.guider = pipe.guider.new(guidance_scale=request.guidance_scale)
        film = pipe(
            prompt=request.prompt,
            negative_prompt=request.negative or None,
            num_frames=canvas.frames,
            num_inference_steps=request.steps,
            generator=torch.Generator().manual_seed(request.seed),
            output_type="np",
            **({"image": pictures(wanted)[0]} if request.keyframes else size),
        ).frames[0]
    frames: np.ndarray[Any, Any] = (film * 255).round().astype(np.uint8)
    rows = slice(canvas.top, canvas.top + request.height)
    return frames[: request.frames, rows, canvas.left : canvas.left + request.width] if cut else frames


@cache
def pipeline(folder: Path, name: str, precision: Precision) -> Any:
    """The loaded pipeline of Diffusers."""
    with quickly():
        kind = getattr(import_module("diffusers"), name)
        dtype = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}[precision]
        pipe = kind.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def same(wanted: Job) -> np.ndarray[Any, Any]:
    """Split equals whole, bit for bit; the frames."""
    ours = films.split(wanted, pictures(wanted))
    np.testing.assert_array_equal(ours, whole(wanted))
    assert ours.shape == (wanted.request.frames, wanted.request.height, wanted.request.width, 3)
    assert ours.std() > 1
    return ours


@pytest.mark.parametrize(("kind", "guidance"), GUIDED)
def test_split_equals_whole_with_and_without_guidance(place: Path, kind: str, guidance: float) -> None:
    same(job(kind, place, guidance_scale=guidance))


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
def test_the_negative_prompt_is_read_where_guidance_uses_it(place: Path, kind: str) -> None:
    said, unsaid = job(kind, place, negative="a blue square"), job(kind, place, negative="")
    assert (same(said) != films.split(unsaid, pictures(unsaid))).any()


def test_what_is_quoted_is_read_by_the_second_encoder(place: Path) -> None:
    quoted = job("t2v", place, prompt='a sign that says "HELLO" and “WORLD”')
    same(quoted)
    read = encoded(hunyuan15.open(quoted), quoted)["prompt_embeds_mask_2"]
    assert int(read.sum()) == len('Text "HELLO". Text "WORLD". ') + 1


@pytest.mark.parametrize("kind", ["t2v", "step", pytest.param("i2v", marks=pytest.mark.slow)])
def test_in_half_precision_one_phase_at_a_time(place: Path, kind: str) -> None:
    same(job(kind, place, rung=HALF))


def test_the_clip_is_cut_from_the_canvas(place: Path) -> None:
    canvas = Canvas(width=64, height=48, frames=13, left=7, top=6)
    wanted = job("t2v", place, canvas=canvas, width=50, height=36, frames=11, steps=2)
    frames = same(wanted)
    np.testing.assert_array_equal(frames, whole(wanted, cut=False)[:11, 6:42, 7:57])


def test_the_size_is_the_canvas_and_not_what_the_pipeline_would_make_of_the_picture(place: Path) -> None:
    wanted = job("i2v", place, width=112, height=16, frames=5, steps=1)
    assert films.split(wanted, pictures(wanted)).shape == (5, 16, 112, 3)
    pipe = pipeline(folder("i2v", place), PICTURE, Precision.FP32)
    own = pipe.video_processor.calculate_default_height_width(height=16, width=112, target_size=OWN_SIZE)
    assert own != (16, 112)


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("placement", [Placement.PHASE, pytest.param(Placement.RESIDENT, marks=pytest.mark.slow)])
def test_any_kept_step_can_be_gone_on_from(place: Path, kind: str, placement: Placement) -> None:
    rung = replace(RESIDENT, placement=placement)
    wanted = job(kind, place, rung=rung, steps=4)
    states: list[Tensors] = []

    def step(done: int, total: int, state: State | None = None) -> None:
        assert total == 4
        assert state is not None
        states.append(films.through_disk(state()))

    backend = hunyuan15.open(wanted)
    conditioning = encoded(backend, wanted)
    undisturbed = backend.denoise(wanted, conditioning, pictures(wanted), step)
    backend.close()
    for since in states[:]:
        done: list[int] = []
        again = hunyuan15.open(wanted)
        latents = again.denoise(
            wanted, conditioning, pictures(wanted), lambda at, _, state=None, done=done: done.append(at), since
        )
        again.close()
        assert done == list(range(int(since["step"]) + 1, 5))
        assert all(torch.equal(latents[name], undisturbed[name]) for name in undisturbed)


def test_stopping_stops_at_once_and_leaves_the_scheduler_as_it_was(place: Path) -> None:
    done: list[int] = []

    def step(index: int, total: int, state: State | None = None) -> None:
        done.append(index)
        if index == 2:
            raise Stopped("stopped", "")

    wanted = job("t2v", place, steps=5)
    backend = hunyuan15.open(wanted)
    with pytest.raises(Stopped):
        backend.denoise(wanted, encoded(backend, wanted), (), step)
    assert done == [1, 2]
    assert "step" not in vars(backend._parts.hold(["scheduler"])["scheduler"])


def test_a_batch_is_encoded_as_its_clips_are_and_nothing_twice(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job("t2v", place), job("t2v", place, prompt="a blue square"), job("t2v", place, guidance_scale=1.0)]
    alone = [encoded(hunyuan15.open(each), each) for each in jobs]
    texts: list[str] = []
    embed = qwen.embed

    def heard(pipe: Any, job: Job, text: str, dtype: torch.dtype) -> Tensors:
        texts.append(text)
        return embed(pipe, job, text, dtype)

    monkeypatch.setattr(qwen, "embed", heard)
    together = hunyuan15.open(jobs[0]).encode(jobs, lambda _: ())
    for one, many in zip(alone, together, strict=True):
        assert one.keys() == many.keys()
        assert all(torch.equal(one[name], many[name]) for name in one)
    assert texts == [jobs[0].request.prompt, "blurry", "a blue square"]
    assert set(together[2]) == set(qwen.EMBEDS)


def test_as_many_tokens_are_read_as_are_counted(place: Path) -> None:
    def embeds(length: int, *changed: int) -> torch.Tensor:
        wanted = job("t2v", place, prompt="".join("x" if at in changed else "a" for at in range(length)))
        tensors = encoded(hunyuan15.open(wanted), wanted)
        return torch.where(tensors["prompt_embeds_mask"][..., None] > 0, tensors["prompt_embeds"], 0)

    limit = card("t2v", place).tokens
    counted = tokens.count("a" * (limit + 7), folder("t2v", place) / "tokenizer", limit=limit)
    assert counted == tokens.Count(tokens=limit + 7, cut="a" * 7)
    beyond = embeds(limit + 7)
    assert not torch.equal(beyond, embeds(limit + 7, limit - 1)), "the last token that counts"
    assert torch.equal(beyond, embeds(limit + 7, limit))


def test_more_quoted_text_than_is_read_is_refused(place: Path) -> None:
    frame = len('Text "". ')
    fits, over = ('a sign "' + "é" * 2 + "x" * (length - frame - 5) + '"' for length in (256, 257))
    assert encoded(hunyuan15.open(fitting := job("t2v", place, prompt=fits)), fitting)["prompt_embeds_mask_2"].all()
    for words in ({"prompt": over}, {"negative": over}):
        wanted = job("t2v", place, **words)
        with pytest.raises(UsageRefused, match=r"comes to 257 bytes, and .* reads 256"):
            encoded(hunyuan15.open(wanted), wanted)
    unread = job("t2v", place, negative=over, guidance_scale=1.0)
    encoded(hunyuan15.open(unread), unread)


def test_a_mark_of_the_models_own_in_a_prompt_is_refused(place: Path) -> None:
    wanted = job("t2v", place, prompt="a cat<|im_end|> a dog")
    with pytest.raises(UsageRefused, match="a mark of the model's own"):
        encoded(hunyuan15.open(wanted), wanted)


@pytest.mark.parametrize(("template", "read"), [("{{ '<|im_end|>' * 107 }}{{ messages[1].content }}", 107), ("", 0)])
def test_a_tokenizer_that_reads_the_template_otherwise_is_refused(place: Path, template: str, read: int) -> None:
    other = Path("other")
    shutil.copytree(folder("t2v", place), other)
    (other / "tokenizer" / "chat_template.jinja").write_text(template)
    wanted = job("t2v", place)
    wanted = replace(wanted, weights=replace(wanted.weights, folder=other))
    with pytest.raises(WeightsRefused, match=f"reads the template of prompts as {read} tokens, not 108"):
        encoded(hunyuan15.open(wanted), wanted)


def test_tiles_and_chunks_give_the_whole_picture_and_leave_no_trace(place: Path) -> None:
    wanted = job("t2v", place, width=336, height=32, frames=21, steps=1)
    backend = hunyuan15.open(wanted)
    latents = backend.denoise(wanted, encoded(backend, wanted), (), lambda done, total, state=None: None)
    plain = np.stack(list(backend.decode(wanted, latents).frames))
    backend._parts.rung = replace(RESIDENT, tiling=256)
    tiled = np.stack(list(backend.decode(wanted, latents).frames))
    backend._parts.rung = RESIDENT
    assert tiled.shape == plain.shape == (21, 32, 336, 3)
    assert 0 < np.abs(tiled.astype(int) - plain).mean() < 20
    np.testing.assert_array_equal(np.stack(list(backend.decode(wanted, latents).frames)), plain)


def test_a_picture_that_is_smaller_than_a_tile_is_decoded_in_chunks_to_the_same_frames(place: Path) -> None:
    wanted = job("t2v", place, frames=21, steps=1)
    backend = hunyuan15.open(wanted)
    latents = backend.denoise(wanted, encoded(backend, wanted), (), lambda done, total, state=None: None)
    plain = np.stack(list(backend.decode(wanted, latents).frames)).astype(int)
    backend._parts.rung = replace(RESIDENT, tiling=512)
    assert np.abs(np.stack(list(backend.decode(wanted, latents).frames)) - plain).max() <= 1


@pytest.mark.parametrize(("side", "latents"), [(512, 32), (256, 16), (200, 12), (128, 8), (64, 4), (16, 4)])
def test_tiles_are_said_in_latents_and_in_pixels_and_are_cut_in_quarters(side: int, latents: int) -> None:
    vae = type("Vae", (), {"spatial_compression_ratio": 16})
    assert hunyuan15.tiles(vae, side) == {
        "tile_latent_min_height": latents,
        "tile_latent_min_width": latents,
        "tile_sample_min_height": 16 * latents,
        "tile_sample_min_width": 16 * latents,
        "tile_overlap_factor": 0.25,
    }
    assert hunyuan15.tiles(vae, 0) == {}


def lora(file: str, prefix: str = "transformer", width: int = 20) -> Path:
    generator, tensors = torch.Generator().manual_seed(5), {}
    for layer in ("to_q", "to_k", "to_v"):
        name = f"{prefix}.transformer_blocks.0.attn.{layer}"
        tensors[f"{name}.lora_A.weight"] = torch.randn(4, width, generator=generator)
        tensors[f"{name}.lora_B.weight"] = torch.randn(width, 4, generator=generator)
    save_file(tensors, file)
    return Path(file)


@pytest.mark.parametrize("kind", ["t2v", "i2v"])
def test_lora_changes_the_picture_as_in_diffusers_and_leaves_no_trace(place: Path, kind: str) -> None:
    bare, dressed = job(kind, place), job(kind, place, loras=[Lora(path=lora("style.safetensors"))])
    backend = hunyuan15.open(bare)
    before, changed, after = (films.straight(backend, each, pictures(each)) for each in (bare, dressed, bare))
    backend.close()
    np.testing.assert_array_equal(before, after)
    assert (before != changed).any()
    pipe = pipeline(folder(kind, place), bare.card.ways[bare.request.mode].pipeline, Precision.FP32)
    bring_peft()
    pipe.transformer.load_lora_adapter("style.safetensors", prefix="transformer", adapter_name="style")
    try:
        np.testing.assert_array_equal(changed, whole(bare))
    finally:
        pipe.transformer.unload_lora()


@pytest.mark.parametrize("fault", [{"prefix": "diffusion_model"}, {"width": 48}])
def test_lora_of_another_model_is_refused(place: Path, fault: dict[str, Any]) -> None:
    other = job("t2v", place, loras=[Lora(path=lora("other.safetensors", **fault))])
    with pytest.raises(WeightsRefused, match=r"other\.safetensors"):
        films.split(other)
    films.split(job("t2v", place))


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("transformer/config.json", {"use_meanflow": True}, "mean flow True, not False"),
        ("transformer/config.json", {"target_size": 960}, "target size 960, not 48"),
        ("guider/guider_config.json", {"guidance_scale": 1.0}, "CFG distillation True, not False"),
    ],
)
def test_weights_of_another_variant_are_refused_with_the_way_to_name_it(
    place: Path, file: str, values: dict[str, Any], said: str
) -> None:
    other = Path("other")
    shutil.copytree(folder("i2v", place), other)
    (other / file).write_text(json.dumps({**json.loads((other / file).read_text()), **values}))
    wanted = job("i2v", place)
    with pytest.raises(WeightsRefused, match=said) as refused:
        hunyuan15.open(replace(wanted, weights=replace(wanted.weights, folder=other)))
    assert '"_vidgen_card": "hunyuan-video-1.5-' in refused.value.remedy


def test_another_guider_is_refused(place: Path) -> None:
    other = Path("other")
    shutil.copytree(folder("t2v", place), other)
    (other / "guider" / "guider_config.json").write_text('{"_class_name": "SkipLayerGuidance"}')
    wanted = job("t2v", place)
    with pytest.raises(WeightsRefused, match="is a SkipLayerGuidance, not a ClassifierFreeGuidance"):
        hunyuan15.open(replace(wanted, weights=replace(wanted.weights, folder=other)))


def test_what_the_pipelines_would_ignore_is_refused(place: Path) -> None:
    weak = job("i2v", place, keyframes=[Keyframe(picture=Path("a.png"), strength=0.5)])
    with pytest.raises(UsageRefused, match="frame 0 and strength 1"):
        hunyuan15.open(weak)
    for canvas in (Canvas(width=72, height=32, frames=9), Canvas(width=64, height=32, frames=10)):
        with pytest.raises(WeightsRefused, match="multiples of 16, frames 4k"):
            films.split(job("t2v", place, canvas=canvas))
    wanted = job("t2v", place)
    way = replace(wanted.card.ways[Mode.T2V], pipeline="HunyuanMagicPipeline")
    with pytest.raises(WeightsRefused, match="HunyuanMagicPipeline"):
        hunyuan15.open(replace(wanted, card=replace(wanted.card, ways={Mode.T2V: way})))


@pytest.mark.parametrize("name", [TEXT, PICTURE])
def test_a_card_states_the_whole_layout_of_its_repository(name: str) -> None:
    parts = set(signatures.signature(found("diffusers", name).__init__).parameters) - {"self"}
    for shipped in cards.cards().values():
        if name in {way.pipeline for way in shipped.ways.values()}:
            assert {component.name for component in shipped.components} == parts


def test_of_a_repository_everything_that_is_read_is_fetched_and_nothing_else() -> None:
    folders = {
        "transformer": ("config.json", "diffusion_pytorch_model.safetensors.index.json"),
        "vae": ("config.json", "diffusion_pytorch_model.safetensors"),
        "text_encoder": ("config.json", "model.safetensors.index.json"),
        "tokenizer": ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.json", "merges.txt"),
        "text_encoder_2": ("config.json", "model.safetensors"),
        "tokenizer_2": ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        "guider": ("guider_config.json",),
        "scheduler": ("scheduler_config.json",),
    }
    names = {f"{place}/{name}" for place, found in folders.items() for name in found} | {"model_index.json"}
    names |= {f"transformer/diffusion_pytorch_model-0000{part}-of-00004.safetensors" for part in range(1, 5)}
    names |= {f"text_encoder/model-0000{part}-of-00004.safetensors" for part in range(1, 5)}
    beside = {"README.md", "image_encoder/model.safetensors", "transformer/diffusion_pytorch_model.fp16.safetensors"}
    files = [listed.File(name=name, size=1, etag="x") for name in sorted(names | beside)]
    assert {file.name for file in listed.wanted(cards.card(NAMES["t2v"]), files)} == names


LINE = ("--model", "./tiny", "--size", "50x36", "--frames", "8", "--fps", "24000/1001", "--seed", "1")


def tiny(kind: str) -> None:
    """The twin in this folder; its index names its card where the class of its pipeline would mean another."""
    described = twin("hunyuan15")
    pipeline = TEXT if kind == "t2v" else PICTURE
    parts = dict(described.of(pipeline))
    for name, values in CHANGED[kind].items():
        kept = {key: value for key, value in values.items() if key != "target_size"}
        parts[name] = TwinPart(kind=parts[name].kind, arguments={**parts[name].arguments, **kept})
    build(replace(described, parts=parts, own={}), Path("tiny"), pipeline=pipeline)
    index = Path("tiny/model_index.json")
    index.write_text(json.dumps({**json.loads(index.read_text()), "_vidgen_card": NAMES[kind]}))


@pytest.mark.parametrize(("kind", "steps"), [("t2v", "2"), ("i2v", "2"), ("step", "8")])
def test_the_command_makes_the_clip_that_was_asked_for_and_makes_it_again(
    vidgen: ANSWER, picture: Path, kind: str, steps: str
) -> None:
    tiny(kind)
    asked = ("t2v", "a red circle") if kind == "t2v" else ("i2v", str(picture), "a red circle")
    for name in ("one.mp4", "two.mp4"):
        answer = vidgen(*asked, *LINE, "--steps", steps, "-o", name)
        assert answer.code == 0, answer.err
    facts = inspect(Path("one.mp4"))
    assert (facts.width, facts.height, facts.frames, facts.fps) == (50, 36, 8, Fraction(24000, 1001))
    assert digest(Path("one.mp4")) == digest(Path("two.mp4"))
    told = json.loads(Path("one.mp4.json").read_text())
    assert (told["model"]["family"], told["request"]["steps"]) == ("hunyuan15", int(steps))


def test_the_command_makes_a_step_distilled_clip_by_its_own_settings(vidgen: ANSWER, picture: Path) -> None:
    tiny("step")
    answer = vidgen("i2v", str(picture), "a red circle", *LINE, "-o", "clip.mp4")
    assert answer.code == 0, answer.err
    told = json.loads(Path("clip.mp4.json").read_text())
    assert (told["request"]["steps"], told["request"]["guidance_scale"]) == (8, 1.0)


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("480p-i2v-step-distilled", ("--steps", "50"), "is distilled to 8 or 12 steps; 50 would not"),
        ("480p-i2v-step-distilled", ("--guidance-scale", "6"), "its guidance scale is 1, not 6"),
        ("480p-i2v-distilled", ("--steps", "30"), "is distilled to 50 steps; 30 would not"),
        ("720p-i2v-distilled", ("--guidance-scale", "6"), "its guidance scale is 1, not 6"),
        ("480p-i2v-distilled", ("--negative", "blurry"), "takes no negative prompt"),
    ],
)
def test_a_distilled_model_is_refused_the_settings_of_the_full_one(
    vidgen: ANSWER, picture: Path, model: str, words: tuple[str, ...], said: str
) -> None:
    answer = vidgen("plan", "i2v", str(picture), "a cat", "--model", f"hunyuan-video-1.5-{model}", *words)
    assert answer.code == 2
    assert said in " ".join(answer.err.split())


def test_twelve_steps_of_a_step_distilled_model_are_as_good_as_eight(vidgen: ANSWER, picture: Path) -> None:
    fast = ("--model", "hunyuan-1.5-fast", "--steps", "12", "--vram", "80")
    assert vidgen("plan", "i2v", str(picture), "a cat", *fast).code == 0


def test_the_command_shows_what_is_cut_off_a_long_prompt(vidgen: ANSWER) -> None:
    tiny("t2v")
    answer = vidgen("plan", "t2v", "a" * 1000 + " wolf", *LINE)
    said = " ".join(answer.out.split())
    assert "the prompt has 1005 tokens and tiny reads 1000; cut off: 'wolf'" in said


def test_the_command_quantizes(vidgen: ANSWER) -> None:
    tiny("t2v")
    answer = vidgen("t2v", "a red circle", *LINE, "--steps", "2", "--precision", "int8", "-o", "int8.mp4")
    assert answer.code == 0, answer.err
    assert inspect(Path("int8.mp4")).frames == 8


CARDS = sorted(path.stem for path in cards.OWN.glob("hunyuan-video-1.5-*.toml"))


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_of_its_variant(name: str) -> None:
    shipped = cards.card(name)
    variant = name.removeprefix("hunyuan-video-1.5-")
    assert shipped.repository.endswith(f"/HunyuanVideo-1.5-Diffusers-{variant.replace('-', '_')}")
    assert shipped.defaults["size"] == {"480p": "848x480", "720p": "1280x720"}[variant[:4]]
    assert shipped.settings["target_size"] == {"480p": 640, "720p": 960}[variant[:4]]
    assert shipped.negative == (shipped.schedule.guidance is Guidance.CLASSIFIER_FREE) == ("distilled" not in name)
    assert [str(mode) for mode in shipped.ways] == [variant[5:8]]
