"""Weights that would do harm: pickles, classes and code of their own, LoRAs of anything. Nothing of them ever runs."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from tests import twins
from tests.conftest import ANSWER, Answer
from tests.faults import refused
from tests.faults.score import Scorecard, fault, some
from tests.faults.spoiled import PICKLES, SCRIPT, WEIGHTS, Bomb, changed, header, holding, places
from tests.faults.test_weights import ASKED, LEFT, NONSENSE

SAFE = "exit code 4, no code of theirs runs"
PICKLED = {
    suffix: fault("weights", 35, f"weights only as a pickle, {suffix}", SAFE)
    for suffix in (".bin", ".pt", ".ckpt", ".pth", ".pkl")
}
BESIDE = fault("weights", 35, "a pickle beside the weights", "it is not opened; the clip is made")
DISGUISED = fault("weights", 35, "a pickle called .safetensors", SAFE)
INDEXED = fault("weights", 35, "an index of shards that names a pickle", SAFE)
LORA = fault("weights", 35, "a LoRA that is a pickle", "exit code 2 or 4, no code of it runs")
STRANGE_LORA = fault("weights", 36, "a LoRA of another model", "exit code 4, nothing is written")
SPOILED_LORA = fault("weights", 36, "a LoRA that is damaged", "exit code 4, nothing is written")
PIPELINE = fault("weights", 37, "an index that names a class of Python's", SAFE)
COMPONENT = fault("weights", 37, "a component of a class that is not in the table", SAFE)
REMOTE = fault("weights", 37, "code that the weights bring along", "it is not imported")
CARD = fault(
    "weights", 37, "a card in the folder of weights that names another module", "refused, no code of theirs runs"
)
TOKENIZER = fault("weights", 37, "a tokenizer that is hostile or damaged", SAFE)


@pytest.fixture
def model(twin: Path) -> Path:
    """A tiny model of this test's own."""
    return Path(shutil.copytree(twin, "model"))


def test_the_bomb_would_go_off() -> None:
    for make in PICKLES.values():
        if make() == PICKLES["packed"]():
            continue
        pickle.loads(make())
        assert Path(refused.RAN).exists()
        Path(refused.RAN).unlink()
    assert Bomb().command.endswith(f"{refused.RAN}'")


@pytest.mark.parametrize("suffix", PICKLED)
def test_weights_only_as_a_pickle(suffix: str, card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    for name, kind in some(1, [(name, kind) for name in WEIGHTS for kind in PICKLES]):
        file = model / WEIGHTS[name]
        stem = "pytorch_model" if name == "text_encoder" and suffix == ".bin" else file.stem
        with (
            holding(file, None),
            holding(file.with_name(f"{stem}{suffix}"), PICKLES[kind]()),
            card.round(PICKLED[suffix]) as trial,
            refused.nothing_written(),
        ):
            refused.check(trial, vidgen(*ASKED), 4, f"{name}/")


def test_a_pickle_beside_the_weights_is_not_opened(card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    for name in WEIGHTS:
        folder = (model / WEIGHTS[name]).parent
        for file in ("pytorch_model.bin", "diffusion_pytorch_model.bin", "training_args.bin", "optimizer.pt"):
            (folder / file).write_bytes(PICKLES["plain"]())
    with card.round(BESIDE) as trial:
        assert vidgen(*ASKED).code == 0
        if Path(refused.RAN).exists():
            trial.ran("it was opened")


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_pickle_that_is_called_safetensors(name: str, card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    for kind in some(1, list(PICKLES)):
        data = PICKLES[kind]()
        with holding(model / WEIGHTS[name], data), card.round(DISGUISED) as trial, refused.nothing_written():
            refused.check(trial, vidgen(*ASKED), 4, name)


@pytest.mark.parametrize("name", WEIGHTS)
def test_an_index_that_names_a_pickle(name: str, card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    file = model / WEIGHTS[name]
    data = file.read_bytes()
    keys = [key for key in json.loads(data[8 : header(data)]) if key != "__metadata__"]
    (file.parent / "evil.bin").write_bytes(PICKLES["packed"]())
    index = file.with_name(f"{file.name}.index.json")
    names = ["evil.bin", "./evil.bin", f"../{file.parent.name}/evil.bin", str((file.parent / "evil.bin").resolve())]
    for shard in some(1, names):
        said = json.dumps({"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(keys, shard)}).encode()
        for kept in some(1, (None, data)):
            with holding(index, said), holding(file, kept), card.round(INDEXED) as trial:
                answer = vidgen(*ASKED, "--overwrite")
                if answer.code or kept is None:
                    refused.check(trial, answer, 4, name)
                if Path(refused.RAN).exists():
                    trial.ran("a pickle of the index was opened")
        for path in Path().glob("x.png*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def wearing(vidgen: ANSWER, name: str) -> Answer:
    return vidgen(*ASKED, "--lora", name)


def test_a_lora_that_is_a_pickle(card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    suffixes = (".bin", ".pt", ".ckpt", ".pth", ".pkl", ".SAFETENSORS", ".safetensors.bin", ".safetensors", "")
    for suffix, kind in some(2, [(suffix, kind) for suffix in suffixes for kind in PICKLES]):
        with (
            holding(Path(f"evil{suffix}"), PICKLES[kind]()),
            card.round(LORA) as trial,
            refused.nothing_written(but=LEFT),
        ):
            refused.check(trial, wearing(vidgen, f"evil{suffix}"), (2, 4), "evil")


def test_a_lora_of_another_model(card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    shapes: list[dict[str, object]] = [
        {"prefix": "unet"},
        {"prefix": "text_encoder"},
        {"prefix": "lora_unet"},
        {"prefix": "diffusion_model.single_blocks"},
        {"width": 64},
        {"width": 31},
        {"prefix": ""},
    ]
    for shape in some(1, shapes):
        twins.lora(Path("lora.safetensors"), **shape)  # type: ignore[arg-type]
        with card.round(STRANGE_LORA) as trial, refused.nothing_written(but=LEFT):
            refused.check(trial, wearing(vidgen, "lora.safetensors"), 4, "lora.safetensors")


def test_a_lora_that_is_damaged(card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    data = twins.lora(Path("lora.safetensors")).read_bytes()
    spoiled = [*(data[:end] for end in places(data)[::3]), data + b"x", *NONSENSE]
    for content in some(1, spoiled):
        Path("lora.safetensors").write_bytes(content)
        with card.round(SPOILED_LORA) as trial, refused.nothing_written(but=LEFT):
            refused.check(trial, wearing(vidgen, "lora.safetensors"), 4, "lora.safetensors")


CLASSES = (
    "os.system",
    "system",
    "subprocess.Popen",
    "eval",
    "DiffusionPipeline",
    "StableDiffusionPipeline",
    "__import__",
)
ODD = (7, None, ["LTXPipeline"], {"a": 1}, "", "LTXPipeline\x00", "../LTXPipeline", "evil.LTXPipeline", True)


def test_an_index_that_names_a_class_of_pythons(card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    index = (model / "model_index.json").read_bytes()
    for name in some(2, [*CLASSES, *ODD]):
        spoiled = changed(index, _class_name=name)
        with holding(model / "model_index.json", spoiled), card.round(PIPELINE) as trial, refused.nothing_written():
            refused.check(trial, vidgen(*ASKED), 4)


ENTRIES = (
    ["os", "system"],
    ["builtins", "exec"],
    ["subprocess", "Popen"],
    ["evil", "Evil"],
    ["transformers_modules.evil", "Evil"],
    ["diffusers", "AutoencoderKL"],
    ["transformers", "AutoModel"],
    ["diffusers", "../../evil"],
    ["torch", "load"],
    ["pickle", "load"],
)


@pytest.mark.parametrize("name", [*WEIGHTS, "scheduler", "tokenizer"])
def test_a_component_of_a_class_that_is_not_in_the_table(
    name: str, card: Scorecard, vidgen: ANSWER, model: Path
) -> None:
    index = (model / "model_index.json").read_bytes()
    (model / "evil.py").write_text(SCRIPT)
    for entry in some(1, ENTRIES):
        spoiled = changed(index, **{name: entry})
        with (
            holding(model / "model_index.json", spoiled),
            card.round(COMPONENT) as trial,
            refused.nothing_written(but=LEFT),
        ):
            refused.check(trial, vidgen(*ASKED), 4, name)


def test_code_that_the_weights_bring_along(card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    files = (
        "pipeline.py",
        "evil.py",
        "modeling_evil.py",
        "configuration_evil.py",
        "__init__.py",
        "setup.py",
        "conftest.py",
    )
    code = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    cases: list[tuple[str, dict[str, object]]] = [
        ("model_index.json", {"custom_pipeline": "./model", "trust_remote_code": True}),
        ("text_encoder/config.json", {"auto_map": code, "model_type": "evil"}),
        ("text_encoder/config.json", {"auto_map": code, "trust_remote_code": True}),
        ("transformer/config.json", {"auto_map": code}),
        ("vae/config.json", {"auto_map": code}),
        ("scheduler/scheduler_config.json", {"auto_map": code}),
        ("tokenizer/tokenizer_config.json", {"auto_map": code, "tokenizer_class": "Evil", "trust_remote_code": True}),
        ("text_encoder/config.json", {"torch_dtype": "__import__('os').system('touch canary-ran')"}),
        ("text_encoder/config.json", {"quantization_config": {"quant_method": "evil"}}),
        ("transformer/config.json", {"quantization_config": {"quant_method": "evil"}}),
        ("text_encoder/config.json", {"adapter_path": "evil", "_name_or_path": "../../evil"}),
    ]
    for folder in (".", *WEIGHTS, "tokenizer", "scheduler"):
        for file in files:
            (model / folder / file).write_text(SCRIPT)
    for name, keys in some(1, cases):
        spoiled = changed((model / name).read_bytes(), **keys)
        with holding(model / name, spoiled), card.round(REMOTE) as trial, refused.nothing_written(but="x.png"):
            answer = vidgen(*ASKED, "--overwrite")
            if answer.code:
                refused.check(trial, answer, 4)
            if Path(refused.RAN).exists():
                trial.ran("its module was imported")


def test_a_card_in_the_folder_that_names_another_module(card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    text = (Path(twins.__file__).parents[1] / "vidgen/catalog/models/ltx-video-2b-0.9.5.toml").read_text()
    (model / "evil.py").write_text(SCRIPT)
    Path("evil.py").write_text(SCRIPT)
    families = (
        "evil",
        "os",
        ".os",
        "...os",
        "os.path",
        "port",
        "pipes",
        "twin",
        "quiet",
        "",
        "ltx\\n",
        "../evil",
        "ltx.open",
    )
    for family in some(2, families):
        said = text.replace('family = "ltx"', f'family = "{family}"')
        with (
            holding(model / "card.toml", said.encode()),
            card.round(CARD) as trial,
            refused.nothing_written(but=LEFT),
        ):
            refused.check(trial, vidgen(*ASKED), (2, 4))


def test_a_tokenizer_that_is_hostile_or_damaged(card: Scorecard, vidgen: ANSWER, model: Path) -> None:
    file = model / "tokenizer" / "tokenizer.json"
    data = file.read_bytes()
    spoiled = [
        changed(data, model={"type": "Evil"}),
        changed(data, model=None),
        changed(data, pre_tokenizer={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}),
        changed(data, version="99"),
        PICKLES["packed"](),
        *(data[: len(data) * part // 10] for part in range(1, 10)),
        *NONSENSE,
    ]
    for content in some(1, spoiled):
        with holding(file, content), card.round(TOKENIZER) as trial, refused.nothing_written(but=LEFT):
            refused.check(trial, vidgen(*ASKED), 4, "tokenizer")
