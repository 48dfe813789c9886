"""Which files of a repository a model needs."""

from dataclasses import replace

import pytest

from tests.loopback import UNWANTED, pipeline
from tests.values import CARD
from vidgen.core.card import Component
from vidgen.core.errors import WeightsRefused
from vidgen.weights.wanted import File, known, wanted


def files(*names: str) -> list[File]:
    return [File(name=name, size=1, etag="a" * 40) for name in names]


WHOLE = tuple(pipeline())


def test_exactly_what_the_loading_code_reads_is_wanted() -> None:
    assert {file.name for file in wanted(CARD, files(*WHOLE))} == set(WHOLE) - UNWANTED


@pytest.mark.parametrize(
    "name",
    [
        "transformer/diffusion_pytorch_model.bin",
        "transformer/diffusion_pytorch_model.fp16.safetensors",
        "transformer/model.safetensors.index.fp16.json",
        "transformer/extra/config.json",
        "transformer/modeling.py",
        "tokenizer/run.py",
        "vae/../../escape.json",
        "/etc/passwd",
        "other/model.safetensors",
    ],
)
def test_variants_pickles_code_and_other_folders_are_left(name: str) -> None:
    assert name not in {file.name for file in wanted(CARD, files(*WHOLE, name))}


def test_shards_go_with_their_index_and_leave_the_single_file() -> None:
    found = {file.name for file in wanted(CARD, files(*WHOLE, "text_encoder/model.safetensors"))}
    assert "text_encoder/model.safetensors" not in found
    assert "text_encoder/model-00002-of-00002.safetensors" in found


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("model_index.json", "no model_index.json"),
        ("vae/config.json", "no vae/config.json"),
        ("vae/diffusion_pytorch_model.safetensors", r"no vae/\*.safetensors"),
        ("scheduler/scheduler_config.json", "no scheduler/ folder"),
    ],
)
def test_a_repository_that_lacks_something_is_refused_by_its_name(without: str, said: str) -> None:
    with pytest.raises(WeightsRefused, match=said):
        wanted(CARD, files(*(name for name in WHOLE if name != without)))


def test_a_component_that_is_one_file_is_wanted_by_its_name_and_other_files_beside_it_are_not() -> None:
    lora = Component(name="distilled_lora", kind="LoRA", file="fast.safetensors")
    card = replace(CARD, components=(*CARD.components, lora))
    there = files(*WHOLE, "fast.safetensors", "slow.safetensors", "distilled_lora/config.json")
    assert {file.name for file in wanted(card, there)} == {*WHOLE, "fast.safetensors"} - UNWANTED
    assert known(card, "fast.safetensors") == "fast.safetensors"
    assert not known(card, "slow.safetensors")
    with pytest.raises(WeightsRefused, match=r"no fast\.safetensors"):
        wanted(card, files(*WHOLE))
