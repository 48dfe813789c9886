"""Weights that are damaged: cut off, empty, flipped, not fetched, not of their class. Refused before they do harm."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ANSWER, Answer
from tests.faults import refused
from tests.faults.score import Scorecard, fault, many, rounds, slow_but, some
from tests.faults.spoiled import POINTER, WEIGHTS, changed, edited, flipped, header, holding, places, sharded

SHAPE = ("--size", "32x32", "--frames", "1", "--steps", "1", "--seed", "1")
ASKED = ("t2v", "a boat", "--model", "./model", *SHAPE, "-q", "-o", "x.png")
CONFIGS = ("transformer/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json")
WORDS = ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json")
JSON = ("model_index.json", *CONFIGS, *WORDS)

NAMED = "exit code 4, the file is named, nothing is written"
CUT = {name: fault("weights", 13, f"{name} cut off anywhere", NAMED) for name in WEIGHTS}
LONG = fault("weights", 13, "weights with bytes too many", NAMED)
EMPTY = fault("weights", 13, "an empty file", NAMED)
UNFETCHED = fault("weights", 13, "a Git LFS pointer in place of a file", NAMED)
GONE = fault("weights", 13, "a file that is not there", NAMED)
NO_JSON = {
    name: fault("weights", 13, f"{name} that is no JSON of its kind", "exit code 4, nothing is written")
    for name in JSON
}
CUT_JSON = fault("weights", 13, "a configuration cut off anywhere", "exit code 4, nothing is written")
HEADER = {
    name: fault("weights", 14, f"a bit turned in the header of {name}", "exit code 4, or the same frames")
    for name in WEIGHTS
}
CONFIG = fault("weights", 14, "a bit turned in a configuration", "never a traceback; `download --verify` finds it")
MISSING = {name: fault("weights", 16, f"a tensor missing in {name}", NAMED) for name in WEIGHTS}
STRANGE = {name: fault("weights", 16, f"a tensor too many in {name}", NAMED) for name in WEIGHTS}
MISSHAPEN = {name: fault("weights", 16, f"a tensor of another shape in {name}", NAMED) for name in WEIGHTS}
OTHER = fault("weights", 16, "weights of another component", NAMED)
SETTING = fault("weights", 16, "a configuration of another size, or of nonsense", "exit code 4, nothing is written")
SHARD = fault("weights", 15, "a missing shard", "exit code 4 in the plan, the shard is named")
INDEX = fault("weights", 15, "an index of shards that is wrong", "exit code 4, nothing is written")

LEFT = "x.png.part"
"""Latents that were finished before the decoder was looked at: they are kept."""

NONSENSE = (
    b"",
    b" ",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"7",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"<html>",
)


@pytest.fixture
def model(twin: Path) -> Path:
    """A tiny model of this test's own."""
    return Path(shutil.copytree(twin, "model"))


@pytest.fixture
def ask(vidgen: ANSWER, model: Path) -> Callable[[], Answer]:
    """Asks for a picture of the tiny model; what it leaves is removed before the next round."""

    def asking() -> Answer:
        for path in Path().glob("x.png*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return vidgen(*ASKED)

    return asking


def drawn() -> bytes:
    return Path("x.png/0001.png").read_bytes()


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_cut_off_anywhere(name: str, card: Scorecard, ask: Callable[[], Answer], model: Path) -> None:
    file = model / WEIGHTS[name]
    data = file.read_bytes()
    for end in some(3, places(data)):
        with holding(file, data[:end]), card.round(CUT[name]) as trial, refused.nothing_written():
            refused.check(trial, ask(), 4, WEIGHTS[name])


def test_weights_with_bytes_too_many(card: Scorecard, ask: Callable[[], Answer], model: Path) -> None:
    for name in WEIGHTS:
        data = (model / WEIGHTS[name]).read_bytes()
        for more in some(1, [b"\0", b"x" * 100, data]):
            with holding(model / WEIGHTS[name], data + more), card.round(LONG) as trial, refused.nothing_written():
                refused.check(trial, ask(), 4, WEIGHTS[name])


@pytest.mark.parametrize(("tried", "content"), [(EMPTY, b""), (UNFETCHED, POINTER), (GONE, None)])
def test_a_file_that_is_none(
    tried: Any, content: bytes | None, card: Scorecard, ask: Callable[[], Answer], model: Path
) -> None:
    needed = (*WEIGHTS.values(), *JSON) if content is not None else (*WEIGHTS.values(), *CONFIGS, "model_index.json")
    for name in some(2, needed):
        with holding(model / name, content), card.round(tried) as trial, refused.nothing_written(but=LEFT):
            refused.check(trial, ask(), 4, Path(name).parent.name)


@pytest.mark.parametrize("name", slow_but([(name,) for name in JSON], (JSON[0],)))
def test_json_of_another_kind(name: str, card: Scorecard, ask: Callable[[], Answer], model: Path) -> None:
    for content in some(1, NONSENSE):
        with holding(model / name, content), card.round(NO_JSON[name]) as trial, refused.nothing_written(but=LEFT):
            refused.check(trial, ask(), 4, Path(name).parent.name)


def test_a_configuration_cut_off_anywhere(card: Scorecard, ask: Callable[[], Answer], model: Path) -> None:
    for name in some(1, (*CONFIGS, *WORDS)):
        data = (model / name).read_bytes().rstrip()
        for end in some(1, [len(data) * part // 8 for part in range(1, 8)]):
            with holding(model / name, data[:end]), card.round(CUT_JSON) as trial, refused.nothing_written(but=LEFT):
                refused.check(trial, ask(), 4)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_bit_turned_in_a_header(name: str, card: Scorecard, ask: Callable[[], Answer], model: Path) -> None:
    file, chance = model / WEIGHTS[name], random.Random(name)
    data = file.read_bytes()
    ask()
    whole = drawn()
    for _ in rounds(1, 25):
        spoiled = flipped(data, chance.randrange(header(data)), chance.randrange(8))
        with holding(file, spoiled), card.round(HEADER[name]) as trial, refused.nothing_written(but="x.png"):
            answer = ask()
            if answer.code:
                refused.check(trial, answer, 4, name)
            elif drawn() != whole:
                trial.silent("another picture")


def test_a_bit_turned_in_a_configuration(card: Scorecard, ask: Callable[[], Answer], model: Path) -> None:
    chance = random.Random(14)
    for _ in rounds(1, 30):
        name = chance.choice(CONFIGS)
        data = (model / name).read_bytes()
        spoiled = flipped(data, chance.randrange(len(data)), chance.randrange(8))
        with holding(model / name, spoiled), card.round(CONFIG) as trial, refused.nothing_written(but="x.png"):
            answer = ask()
            if answer.code:
                refused.check(trial, answer, (4, 7))


def tensors_of(file: Path) -> list[str]:
    data = file.read_bytes()
    return sorted(name for name in json.loads(data[8 : header(data)]) if name != "__metadata__")


@pytest.mark.parametrize("name", WEIGHTS)
def test_tensors_that_are_not_the_classs_own(
    name: str, card: Scorecard, ask: Callable[[], Answer], model: Path
) -> None:
    file = model / WEIGHTS[name]
    data = file.read_bytes()
    for key in some(1, tensors_of(file)[:: 1 if not many() else 6]):
        without = edited(data, lambda tensors: tensors.pop(key))  # noqa: B023 - it is called at once
        with holding(file, without), card.round(MISSING[name]) as trial, refused.nothing_written(but=LEFT):
            refused.check(trial, ask(), 4, name, "missing", key)
        other = edited(data, lambda tensors: tensors.update({key: tensors[key].flatten()[:1].repeat(3)}))  # noqa: B023
        with holding(file, other), card.round(MISSHAPEN[name]) as trial, refused.nothing_written(but=LEFT):
            refused.check(trial, ask(), 4, name, key)
        more = edited(data, lambda tensors: tensors.update({f"{key}.more": tensors[key].clone()}))  # noqa: B023
        with holding(file, more), card.round(STRANGE[name]) as trial, refused.nothing_written(but=LEFT):
            refused.check(trial, ask(), 4, name, f"{key}.more")


def test_weights_of_another_component(card: Scorecard, ask: Callable[[], Answer], model: Path) -> None:
    for name, other in some(1, [(name, other) for name in WEIGHTS for other in WEIGHTS if name != other]):
        strange = (model / WEIGHTS[other]).read_bytes()
        with (
            holding(model / WEIGHTS[name], strange),
            card.round(OTHER) as trial,
            refused.nothing_written(but=LEFT),
        ):
            refused.check(trial, ask(), 4, name)


SETTINGS: tuple[tuple[str, dict[str, object]], ...] = (
    ("transformer/config.json", {"num_layers": 3}),
    ("transformer/config.json", {"num_layers": -1}),
    ("transformer/config.json", {"num_layers": "two"}),
    ("transformer/config.json", {"num_attention_heads": 0}),
    ("transformer/config.json", {"attention_head_dim": 16}),
    ("transformer/config.json", {"in_channels": None}),
    ("transformer/config.json", {"_class_name": "HunyuanVideoTransformer3DModel"}),
    ("transformer/config.json", {"_class_name": ["LTXVideoTransformer3DModel"]}),
    ("vae/config.json", {"latent_channels": 9}),
    ("vae/config.json", {"block_out_channels": [8, 8]}),
    ("vae/config.json", {"block_out_channels": "8"}),
    ("vae/config.json", {"_class_name": "AutoencoderKL"}),
    ("text_encoder/config.json", {"num_layers": 3}),
    ("text_encoder/config.json", {"d_model": 64}),
    ("text_encoder/config.json", {"d_kv": -8}),
    ("text_encoder/config.json", {"vocab_size": "many"}),
    ("text_encoder/config.json", {"dense_act_fn": "os.system"}),
    ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}),
    ("scheduler/scheduler_config.json", {"num_train_timesteps": "many"}),
    ("scheduler/scheduler_config.json", {"shift": "much"}),
)


def test_configurations_of_another_size(card: Scorecard, ask: Callable[[], Answer], model: Path) -> None:
    for name, keys in some(2, SETTINGS):
        spoiled = changed((model / name).read_bytes(), **keys)
        with holding(model / name, spoiled), card.round(SETTING) as trial, refused.nothing_written(but=LEFT):
            refused.check(trial, ask(), 4, Path(name).parent.name)


def test_shards_that_are_missing_or_misnamed(card: Scorecard, ask: Callable[[], Answer], model: Path) -> None:
    names = sharded(model)
    assert ask().code == 0
    whole = drawn()
    for name in names:
        with holding(model / "text_encoder" / name, None), card.round(SHARD) as trial, refused.nothing_written(but="x"):
            refused.check(trial, ask(), 4, f"text_encoder/{name}")
    index = model / "text_encoder" / "model.safetensors.index.json"
    known = json.loads(index.read_bytes())["weight_map"]
    one = next(iter(known))
    wrong: list[dict[str, object]] = [
        {"weight_map": {**known, one: "model-00003-of-00002.safetensors"}},
        {"weight_map": {**known, one: names[1] if known[one] == names[0] else names[0]}},
        {"weight_map": {**known, one: None}},
        {"weight_map": {**known, one: ["a", "b"]}},
        {"weight_map": {key: name for key, name in known.items() if name == names[0]}},
        {"weight_map": {}},
        {"weight_map": list(known)},
    ]
    contents = [*(changed(index.read_bytes(), **keys) for keys in wrong), *NONSENSE]
    for content in some(2, contents):
        with holding(index, content), card.round(INDEX) as trial, refused.nothing_written(but="x"):
            answer = ask()
            if answer.code or drawn() != whole:  # a tensor said to be in the other shard is found all the same
                refused.check(trial, answer, 4, "text_encoder")
