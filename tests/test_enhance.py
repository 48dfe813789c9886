"""A prompt is enhanced once, before anything else; both prompts are kept, and what was finished is not done again."""

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vidgen
from tests import chats, twins
from tests.conftest import ANSWER
from tests.values import cuda
from vidgen.backends import chat, ltx2, wording
from vidgen.backends.quiet import found, quickly
from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin as described
from vidgen.core.enhancer import CHATS, Enhancer
from vidgen.core.errors import DoesNotFit, Stopped, UsageRefused, WeightsRefused
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Job
from vidgen.core.request import Mode
from vidgen.core.result import Event
from vidgen.enhancers import chat as chat_in
from vidgen.media import record
from vidgen.media.inspect import digest
from vidgen.resume import resume

SHAPE = ("--size", "64x32", "--frames", "9", "--steps", "2", "--codec", "ffv1")
ASKED: dict[str, Any] = {"size": "64x32", "frames": 9, "steps": 2, "codec": "ffv1", "seed": 3, "output": "x.mkv"}


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny chat model."""
    return chats.build(tmp_path_factory.mktemp("chat") / "qwen")


@pytest.fixture(scope="session")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LTX-2 in miniature, whose text encoder is a tiny Gemma with a chat template."""
    return build(described("ltx2"), tmp_path_factory.mktemp("ltx2") / "ltx2", pipeline="LTX2Pipeline")


def told(path: Path) -> dict[str, Any]:
    facts: Any = record.read(path)["request"]
    assert isinstance(facts, dict)
    return facts


def spoken(request: dict[str, Any]) -> str:
    text: str = request["enhanced"]
    assert text
    assert text != request["prompt"]
    return text


def test_the_record_keeps_the_typed_and_the_enhanced_prompt_and_the_clip_is_that_of_the_latter(
    vidgen: ANSWER, twin: Path, qwen: Path
) -> None:
    words = ("--model", str(twin), *SHAPE, "--seed", "3")
    answer = vidgen("t2v", "a red circle", "--enhancer", str(qwen), "-o", "x.mkv", "--json", *words)
    assert answer.code == 0, answer.err
    text = spoken(told(Path("x.mkv")))
    assert told(Path("x.mkv"))["prompt"] == "a red circle"
    assert told(Path("x.mkv"))["enhancer"]["kind"] == "Qwen2ForCausalLM"
    assert json.loads(answer.out)["enhanced"] == text
    assert f"enhanced prompt: {text}" in answer.err
    Path("prompt.txt").write_text(text, encoding="utf-8")
    again = vidgen("t2v", "--prompt-file", "prompt.txt", "-o", "again.mkv", *words)
    assert again.code == 0, again.err
    assert digest(Path("x.mkv")) == digest(Path("again.mkv"))
    assert told(Path("again.mkv"))["enhanced"] == ""


def test_the_command_of_a_clip_gives_the_enhanced_prompt_and_needs_no_enhancer(
    vidgen: ANSWER, twin: Path, qwen: Path
) -> None:
    vidgen("t2v", "a red circle", "--model", str(twin), "--enhancer", str(qwen), "-o", "x.mkv", *SHAPE)
    words = shlex.split(vidgen("show", "x.mkv", "--command").out)
    assert words[-2:] == ["--", spoken(told(Path("x.mkv")))]
    assert "--enhancer" not in words


def test_the_clips_of_a_batch_are_enhanced_with_one_load_and_once(
    vidgen: ANSWER, twin: Path, qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []
    rewritten = chat.rewritten

    def counted(who: Enhancer, jobs: Sequence[Job]) -> list[str]:
        loads.append(len(jobs))
        return rewritten(who, jobs)

    monkeypatch.setattr(chat, "rewritten", counted)
    where = ("--seed", "1..3", "-o", "{seed}.mkv")
    answer = vidgen("t2v", "a red circle", "--model", str(twin), "--enhancer", str(qwen), *SHAPE, *where)
    assert answer.code == 0, answer.err
    assert loads == [3]
    assert answer.err.count("enhanced prompt: ") == 1
    assert len({told(Path(f"{seed}.mkv"))["enhanced"] for seed in (1, 2, 3)}) == 1


def begun(twin: Path, enhancer: Path) -> None:
    """A clip that was stopped after its first step, which was kept."""

    def listen(event: Event) -> None:
        if event.phase == "denoise" and event.done == 1:
            raise Stopped("stopped", "")

    [job] = vidgen.prepare("t2v", prompt="a red circle", model=str(twin), enhancer=str(enhancer), **ASKED)
    with pytest.raises(Stopped):
        list(vidgen.run([job], listen))


def test_an_enhancer_that_runs_out_of_memory_is_tried_again_in_less(
    twin: Path, qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rungs: list[str] = []
    rewritten = chat.rewritten

    def short(who: Enhancer, jobs: Sequence[Job]) -> list[str]:
        rungs.append(jobs[0].plan.rung.placement.value)
        if len(rungs) == 1:
            raise MemoryError
        return rewritten(who, jobs)

    monkeypatch.setattr(chat, "rewritten", short)
    [result] = vidgen.run(vidgen_job(twin, qwen))
    assert rungs == ["resident", "phase"]
    assert result.enhanced
    assert any("encode ran out of memory" in said for said in result.adjustments)


def never(*_: object) -> list[str]:
    raise AssertionError("enhanced again")


def test_the_same_command_goes_on_without_enhancing_again(
    twin: Path, qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(twin, qwen)
    text = Path("x.mkv.part/enhanced.txt").read_text(encoding="utf-8")
    monkeypatch.setattr(chat, "rewritten", never)
    [job] = vidgen.prepare("t2v", prompt="a red circle", model=str(twin), enhancer=str(qwen), **ASKED)
    assert "going on with seed 3 from step 1 of 2" in job.notes
    [result] = vidgen.run([job])
    assert result.enhanced == spoken(told(Path("x.mkv"))) == text


def test_a_folder_goes_on_though_its_enhancer_is_gone(tmp_path: Path, twin: Path, qwen: Path) -> None:
    moved = Path(shutil.copytree(qwen, tmp_path / "moved"))
    begun(twin, moved)
    shutil.rmtree(moved)
    job = resume("x.mkv.part")
    assert next(iter(vidgen.run([job]))).enhanced == spoken(told(Path("x.mkv")))
    assert told(Path("x.mkv"))["prompt"] == "a red circle"


def test_latents_that_are_kept_are_decoded_with_both_prompts_in_the_record(
    vidgen: ANSWER, tmp_path: Path, twin: Path, qwen: Path
) -> None:
    moved = Path(shutil.copytree(qwen, tmp_path / "moved"))
    words = ("--model", str(twin), "--enhancer", str(moved), "--keep-latents", "-o", "x.mkv", *SHAPE)
    assert vidgen("t2v", "a red circle", *words).code == 0
    shutil.rmtree(moved)
    answer = vidgen("decode", "x.mkv.latents", "-o", "again.mkv")
    assert answer.code == 0, answer.err
    for name in ("prompt", "enhanced", "enhancer"):
        assert told(Path("again.mkv"))[name] == told(Path("x.mkv"))[name]
    assert digest(Path("again.mkv")) == digest(Path("x.mkv"))


def test_another_enhancer_makes_another_clip(tmp_path: Path, twin: Path, qwen: Path) -> None:
    other = chats.build(tmp_path / "other", seed=1)
    begun(twin, qwen)
    words = {"prompt": "a red circle", "model": str(twin), **ASKED}
    for enhance in ({"enhancer": str(other)}, {"enhancer": str(qwen), "enhance": False}, {}):
        [job] = vidgen.prepare("t2v", **words, **enhance)
        assert (job.enhancer is None) == (enhance != {"enhancer": str(other)})
        assert not any("going on" in note for note in job.notes), enhance


def test_an_enhancer_is_the_same_wherever_its_folder_lies(tmp_path: Path, qwen: Path) -> None:
    moved = Path(shutil.copytree(qwen, tmp_path / "moved"))
    assert chat_in(moved).mark == chat_in(qwen).mark
    (moved / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    assert chat_in(moved).mark != chat_in(qwen).mark


def test_a_model_without_an_enhancer_says_what_to_do(vidgen: ANSWER, twin: Path) -> None:
    answer = vidgen("t2v", "a red circle", "--model", str(twin), "--enhance")
    assert answer.code == 2
    assert "has no enhancer of its own" in answer.err
    assert "--enhancer ./" in answer.err


def test_the_built_in_model_is_not_given_words_that_it_does_not_know(vidgen: ANSWER, qwen: Path) -> None:
    answer = vidgen("t2v", "a red circle", "--model", "pocket", "--enhancer", str(qwen))
    assert (answer.code, "no enhancer keeps to" in answer.err) == (2, True)


def spoil(folder: Path, name: str) -> None:
    match name:
        case "another class":
            facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            facts |= {"architectures": ["OwnForCausalLM"], "auto_map": {"AutoModelForCausalLM": "code.OwnForCausalLM"}}
            (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")
        case "no class":
            (folder / "config.json").write_text("{}")
        case "empty":
            (folder / "config.json").unlink()
        case "a model that draws":
            (folder / "model_index.json").write_text("{}")
        case "no template":
            (folder / "chat_template.jinja").unlink()
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "pickled":
            (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        case "cut short":
            (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-8])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("another class", "is a OwnForCausalLM, which is not loaded"),
        ("no class", "names no class"),
        ("empty", "has no config.json"),
        ("a model that draws", "is a model that draws"),
        ("no template", "no chat template"),
        ("no tokenizer", "no tokenizer.json"),
        ("pickled", "no weights in safetensors"),
        ("cut short", "model.safetensors is damaged"),
    ],
)
def test_a_folder_that_is_no_chat_model_is_refused_before_anything_is_loaded(
    tmp_path: Path, twin: Path, qwen: Path, name: str, said: str
) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "chat"))
    spoil(folder, name)
    with pytest.raises(WeightsRefused, match=said):
        vidgen.prepare("t2v", prompt="a red circle", model=str(twin), enhancer=str(folder))


def test_an_enhancer_for_all_clips_is_none_for_a_model_that_knows_few_words(
    monkeypatch: pytest.MonkeyPatch, qwen: Path
) -> None:
    with pytest.raises(UsageRefused, match="which no enhancer keeps to"):
        vidgen.prepare("t2v", prompt="a red circle", model="pocket", enhancer=str(qwen))
    monkeypatch.setenv("VIDGEN_ENHANCER", str(qwen))
    [job] = vidgen.prepare("t2v", prompt="a red circle", model="pocket")
    assert (job.enhancer, job.request.enhance) == (None, False)
    assert {setting.name: setting.origin for setting in job.settings}["enhance"] == "card"


def test_a_folder_that_is_not_there_is_refused(twin: Path) -> None:
    with pytest.raises(WeightsRefused, match="nowhere is not a folder"):
        vidgen.prepare("t2v", prompt="a red circle", model=str(twin), enhancer="nowhere")


def test_weights_of_another_shape_are_refused_by_name(tmp_path: Path, twin: Path, qwen: Path) -> None:
    folder = Path(shutil.copytree(qwen, tmp_path / "chat"))
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**facts, "intermediate_size": 48}), encoding="utf-8")
    [job] = vidgen.prepare("t2v", prompt="a red circle", model=str(twin), enhancer=str(folder), **ASKED)
    with pytest.raises(WeightsRefused, match=r"does not fit its class: mismatched model\.layers\.0"):
        list(vidgen.run([job]))


@pytest.mark.parametrize(
    ("machine", "device"), [(cuda(24), Device.CUDA), (replace(cuda(1), vram_gib=0.5, ram_gib=8.0), Device.CPU)]
)
def test_an_enhancer_works_on_the_card_if_it_has_room_there_and_else_on_the_processor(
    machine: Machine, device: Device, qwen: Path
) -> None:
    from vidgen.planning.enhancing import placed

    plan = replace(twins.job(twins.card(qwen)).plan, machine=machine)
    assert placed(chat_in(qwen), plan).device is device


def test_an_enhancer_that_fits_nowhere_is_refused(qwen: Path) -> None:
    from vidgen.planning.enhancing import placed

    plan = twins.job(twins.card(qwen)).plan
    with pytest.raises(DoesNotFit, match=r"needs 29\.8 GiB"):
        placed(replace(chat_in(qwen), parameters=8_000_000_000), plan)


def test_a_plan_says_who_enhances_and_loads_nothing(vidgen: ANSWER, twin: Path, qwen: Path) -> None:
    words = ("plan", "t2v", "a red circle", "--model", str(twin), "--enhancer", str(qwen))
    assert "qwen, a Qwen2ForCausalLM: 0.00 GiB of weights, alone, on the cpu" in vidgen(*words).out
    assert json.loads(vidgen(*words, "--json").out)["enhancer"]["parameters"] == 23936
    assert "the model's own enhancer" in vidgen("plan", "t2v", "a fox", "--model", "ltx-2.3-dev", "--enhance").out


def test_enhance_prints_the_prompt_and_nothing_else(vidgen: ANSWER, twin: Path, qwen: Path) -> None:
    answer = vidgen("enhance", "a red circle", "--model", str(twin), "--enhancer", str(qwen))
    assert answer.code == 0, answer.err
    [job] = vidgen_job(twin, qwen)
    assert answer.out.removesuffix("\n") == chat.rewritten(chat_in(qwen), [job])[0]


def test_enhance_by_the_model_itself_is_that_of_a_clip_and_asks_for_its_weights(vidgen: ANSWER, gemma: Path) -> None:
    answer = vidgen("enhance", "a fox", "--model", str(gemma))
    assert answer.code == 0, answer.err
    clip = ("t2v", "a fox", "--model", str(gemma), "--enhance", "--size", "64x64", "--frames", "1", "--no-sound")
    assert vidgen(*clip, "--steps", "2", "-o", "x.mp4").code == 0
    assert spoken(told(Path("x.mp4"))) == answer.out.removesuffix("\n")
    absent = vidgen("enhance", "a fox", "--model", "ltx-2-19b-distilled-x2")
    assert (absent.code, "vidgen download ltx-2-19b-distilled-x2" in absent.err) == (4, True)


def test_enhance_for_a_picture_asks_for_movement_alone(
    vidgen: ANSWER, twin: Path, qwen: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[Mode] = []

    def noted(who: Enhancer, jobs: Sequence[Job]) -> list[str]:
        modes.extend(job.request.mode for job in jobs)
        return ["It moves."]

    monkeypatch.setattr(chat, "rewritten", noted)
    words = ("--model", str(twin), "--enhancer", str(qwen), "--picture", str(picture))
    assert vidgen("enhance", "a red circle", *words).out == "It moves.\n"
    assert modes == [Mode.I2V]


def vidgen_job(twin: Path, qwen: Path) -> list[Job]:
    return vidgen.prepare("t2v", prompt="a red circle", model=str(twin), enhancer=str(qwen), **ASKED)


@pytest.mark.parametrize("kind", sorted(CHATS))
def test_every_class_of_the_table_answers_and_always_the_same(tmp_path: Path, kind: str) -> None:
    folder = chats.build(tmp_path / "chat", kind=kind)
    job = twins.job(twins.card(folder))
    [first], [second] = (chat.rewritten(chat_in(folder), [job]) for _ in range(2))
    assert first == second != ""


def test_a_chat_model_that_takes_no_orders_of_a_system_gets_them_with_the_prompt(tmp_path: Path, qwen: Path) -> None:
    job = twins.job(twins.card(qwen))
    strict = chats.build(tmp_path / "strict", template=chats.STRICT)
    assert chat.rewritten(chat_in(strict), [job]) != [""]


def test_the_model_that_enhances_itself_gives_what_diffusers_gives(gemma: Path) -> None:
    job = twins.job(replace(cards.card("ltx-2-19b-dev"), folder=gemma, tokens=64))
    backend = ltx2.open(job)
    texts = backend.enhance([job, replace(job, request=replace(job.request, seed=8))])
    backend.close()
    assert texts == [as_diffusers(gemma, job)] * 2


def as_diffusers(folder: Path, job: Job) -> str:
    """As the page of Diffusers has it, with a real processor of words and pictures."""
    import torch

    kind = found("diffusers.pipelines.ltx2.pipeline_ltx2", "LTX2Pipeline")
    with quickly():
        pipe = kind.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    for name, text in (("boi_token", "<begin>"), ("eoi_token", "<end>"), ("image_token", "<image>")):
        setattr(pipe.tokenizer, name, text)
        setattr(pipe.tokenizer, f"{name}_id", pipe.tokenizer.convert_tokens_to_ids(text))
    images = found("transformers", "Gemma3ImageProcessorPil")()
    pipe.processor = found("transformers", "Gemma3Processor")(images, pipe.tokenizer)
    system = found("diffusers.pipelines.ltx2.utils", "T2V_DEFAULT_SYSTEM_PROMPT")
    [text] = pipe.enhance_prompt(job.request.prompt, system)
    return str(text).strip()


def test_a_tokenizer_that_cannot_chat_is_refused(tmp_path: Path, gemma: Path) -> None:
    folder = Path(shutil.copytree(gemma, tmp_path / "mute"))
    (folder / "tokenizer" / "chat_template.jinja").unlink()
    with pytest.raises(WeightsRefused, match="has no chat template"):
        vidgen.prepare("t2v", prompt="a fox", model=str(folder), enhance=True)


@pytest.mark.parametrize("name", [card.name for card in cards.cards().values() if card.enhances])
def test_every_card_that_enhances_has_a_family_that_does(name: str) -> None:
    from importlib import import_module

    family = import_module(f"vidgen.backends.{cards.card(name).family}")
    assert family.Ltx2.enhance


def words_for(name: str, mode: Mode = Mode.T2V, **request: Any) -> str:
    known = cards.card(name)
    return wording.system(twins.job(replace(known, folder=Path()), mode, **request))


def test_makers_words_are_used_where_they_have_some_and_else_ours_in_the_models_length() -> None:
    assert words_for("ltx-2.3-dev").strip().startswith("You are a Creative Assistant")
    ours = words_for("ltx-video-2b")
    assert all(word in ours for word in ("subject", "action", "environment", "camera", "at most 80 words"))
    assert "at most 200 words" in words_for("hunyuan-video-1.5-480p-t2v")


def test_who_does_not_see_the_picture_is_told_not_to_describe_it() -> None:
    assert "a picture that you do not see" in words_for("ltx-2.3-dev", Mode.I2V)
    assert "and what is heard" in words_for("ltx-2.3-dev", Mode.I2V)
    assert "and what is heard" not in words_for("ltx-2.3-dev", Mode.I2V, sound=False)


def test_a_wording_that_nobody_knows_is_refused() -> None:
    job = twins.job(replace(cards.card("ltx-2.3-dev"), wording="haiku"))
    with pytest.raises(WeightsRefused, match="'haiku', which nobody here knows"):
        wording.system(job)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("<think>\nhm\n</think>\n\nA fox runs.", "A fox runs."),
        ('**"A fox\nruns."**', "A fox runs."),
        ("# A fox runs.\x1b[31m", "A fox runs.[31m"),
    ],
)
def test_an_answer_is_kept_as_one_line_of_prose(said: str, kept: str) -> None:
    assert chat.cleaned(said) == kept


def test_an_enhancer_that_says_nothing_is_said(twin: Path, qwen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidgen.core.errors import ChecksFailed

    def silent(who: object, jobs: Sequence[Job]) -> list[str]:
        return ["" for _ in jobs]

    monkeypatch.setattr(chat, "rewritten", silent)
    with pytest.raises(ChecksFailed, match="made nothing of the prompt"):
        list(vidgen.run(vidgen_job(twin, qwen)))


def test_what_the_model_does_not_read_of_an_enhanced_prompt_is_said_or_refused(
    twin: Path, qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "rewritten", lambda who, jobs: ["a red circle " * 20 for _ in jobs])
    [result] = vidgen.run(vidgen_job(twin, qwen))
    assert any("cut off:" in sentence for sentence in result.adjustments)
    strict = vidgen.prepare(
        "t2v", prompt="a", model=str(twin), enhancer=str(qwen), strict=True, **ASKED, overwrite=True
    )
    with pytest.raises(UsageRefused, match="cut off:"):
        list(vidgen.run(strict))
