"""The hub: what of a model is on this machine, what is missing by name, and the command that fetches it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.values import CARD
from vidgen import hub
from vidgen.catalog import cards
from vidgen.core.card import Component
from vidgen.core.plan import Weights

SHA = "0123456789abcdef0123456789abcdef01234567"
INDEX = "model.safetensors.index.json"

EVERYTHING = (
    "model_index.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    f"text_encoder/{INDEX}",
    "text_encoder/config.json",
    "text_encoder/model-1.safetensors",
    "text_encoder/model-2.safetensors",
    "tokenizer/spiece.model",
    "scheduler/scheduler_config.json",
)


def tensors(length: int) -> bytes:
    header = json.dumps({"t": {"dtype": "U8", "shape": [length], "data_offsets": [0, length]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"x" * length


def deep(brackets: int) -> bytes:
    return brackets.to_bytes(8, "little") + b"[" * brackets


def written(folder: Path, *, without: str = "") -> Path:
    for number, name in enumerate(EVERYTHING):
        if name != without:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tensors(number) if name.endswith(".safetensors") else b"x" * number)
    weight_map = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}
    if (folder / "text_encoder").is_dir():
        (folder / "text_encoder" / INDEX).write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    return folder


def here(folder: Path) -> Weights:
    return hub.find(replace(CARD, folder=folder))


def test_a_complete_folder_misses_nothing_and_is_weighed_by_component() -> None:
    found = here(written(Path("weights")))
    assert (found.folder, found.missing) == (Path("weights"), ())
    sizes = {"transformer": len(tensors(2)), "vae": len(tensors(4)), "text_encoder": len(tensors(7) + tensors(8))}
    assert found.sizes == {**sizes, "tokenizer": 0, "scheduler": 0}


@pytest.mark.parametrize(
    "harm", [b"", b"x" * 100, tensors(9)[:-1], tensors(9) + b"x", b"\x02" + b"\0" * 7 + b"[]", deep(10**5)]
)
def test_a_damaged_file_is_named_before_it_is_loaded(harm: bytes) -> None:
    folder = written(Path("weights"))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(harm)
    assert here(folder).missing == ("vae/diffusion_pytorch_model.safetensors (damaged)",)


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ("transformer/config.json", "transformer/config.json"),
        ("transformer/diffusion_pytorch_model.safetensors", "transformer/*.safetensors"),
        ("text_encoder/model-2.safetensors", "text_encoder/model-2.safetensors"),
        ("tokenizer/spiece.model", "tokenizer/tokenizer.json"),
        ("scheduler/scheduler_config.json", "scheduler/scheduler_config.json"),
    ],
)
def test_whatever_is_missing_is_named(without: str, missing: str) -> None:
    assert here(written(Path("weights"), without=without)).missing == (missing,)


def test_either_file_will_do_for_a_tokenizer() -> None:
    folder = written(Path("weights"), without="tokenizer/spiece.model")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_bytes(b"{}")
    assert here(folder).missing == ()


def test_what_prepares_pictures_has_one_file_and_no_weights() -> None:
    folder = written(Path("weights"))
    part = Component(name="image_processor", kind="CLIPImageProcessor")
    card = replace(CARD, folder=folder, components=(*CARD.components, part))
    assert hub.find(card).missing == ("image_processor/preprocessor_config.json",)
    (folder / "image_processor").mkdir()
    (folder / "image_processor" / "preprocessor_config.json").write_bytes(b"{}")
    assert hub.find(card).missing == ()


def test_an_empty_folder_misses_every_component() -> None:
    Path("weights").mkdir()
    missing = here(Path("weights")).missing
    assert {name.partition("/")[0] for name in missing} == {component.name for component in CARD.components}


@pytest.mark.parametrize(
    "content", ["", "null", "[]", '{"weight_map": 1}', '{"map": {}}', "version https://git-lfs", "[" * 10**5]
)
def test_an_index_that_is_none_is_named_instead_of_raising(content: str) -> None:
    folder = written(Path("weights"))
    (folder / "text_encoder" / INDEX).write_text(content, encoding="utf-8")
    assert here(folder).missing == (f"text_encoder/{INDEX} (cannot be read)",)


@pytest.mark.parametrize("shard", ["evil.bin", "../vae/diffusion_pytorch_model.safetensors", "a\\b.safetensors"])
def test_an_index_may_name_only_files_of_tensors_beside_it(shard: str) -> None:
    folder = written(Path("weights"))
    (folder / "text_encoder" / shard).write_bytes(b"x")
    (folder / "text_encoder" / INDEX).write_text(json.dumps({"weight_map": {"a": shard}}), encoding="utf-8")
    assert f"text_encoder/{INDEX} (cannot be read)" in here(folder).missing


def test_an_empty_cache_misses_every_component_by_name() -> None:
    found = hub.find(CARD)
    assert (found.folder, dict(found.sizes)) == (None, {})
    assert found.missing == tuple(component.name for component in CARD.components)


def snapshot(sha: str = SHA, ref: str | None = "main") -> Path:
    repository = Path(constants.HF_HUB_CACHE) / "models--someone--sketch"
    if ref is not None:
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / ref).write_text(sha, encoding="utf-8")
    return written(repository / "snapshots" / sha)


def test_a_model_in_the_cache_is_found_at_its_main_snapshot() -> None:
    snapshot("f" * 40, ref=None)
    folder = snapshot()
    found = hub.find(CARD)
    assert (found.folder, found.missing) == (folder, ())


def test_a_pinned_revision_is_found_and_no_other_will_do() -> None:
    snapshot()
    pinned = snapshot("a" * 40, ref=None)
    assert hub.find(replace(CARD, revision="a" * 40)).folder == pinned
    assert hub.find(replace(CARD, revision="b" * 40)).folder is None


def test_a_snapshot_of_links_is_a_snapshot() -> None:
    folder = snapshot()
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    blob = Path(constants.HF_HUB_CACHE) / "blob"
    weights.rename(blob)
    weights.symlink_to(blob)
    assert hub.find(CARD).missing == ()


def test_a_link_whose_file_has_gone_is_a_missing_file() -> None:
    weights = snapshot() / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.symlink_to("gone")
    assert hub.find(CARD).missing == ("vae/*.safetensors",)


def test_a_card_without_repository_and_folder_is_just_not_here() -> None:
    assert hub.find(replace(CARD, repository="")).folder is None


def test_a_part_may_be_in_a_folder_of_another_name() -> None:
    folder = snapshot()
    (folder / "transformer").rename(folder / "transformer_full")
    full = replace(CARD.component("transformer"), at="transformer_full")
    found = hub.find(replace(CARD, components=(full, *CARD.components[1:])))
    assert (found.missing, found.of("transformer")) == ((), folder / "transformer_full")
    assert found.apart == {"transformer": folder / "transformer_full"}
    assert found.sizes["transformer"] == len(tensors(2))
    assert hub.find(CARD).missing == ("transformer/config.json", "transformer/*.safetensors")


def test_the_command_fetches_what_is_missing_and_mends_what_is_damaged() -> None:
    assert hub.command(CARD) == hub.command(CARD, ["vae/config.json"]) == "vidgen download sketch"
    assert hub.command(CARD, ["vae/x.safetensors (damaged)"]) == "vidgen download --repair sketch"
    assert hub.command(replace(CARD, folder=Path("weights"))) == hub.command(replace(CARD, repository="")) == ""


def test_every_shipped_model_has_a_command_or_is_built_in() -> None:
    assert [card.name for card in cards.cards().values() if not hub.command(card)] == [cards.BUILT_IN]


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("CLIPTokenizer", "vocab.json"),
        ("CLIPTokenizer", "tokenizer.json"),
        ("CLIPImageProcessor", "preprocessor_config.json"),
        ("SiglipImageProcessor", "preprocessor_config.json"),
        ("ByT5Tokenizer", "tokenizer_config.json"),
        ("ClassifierFreeGuidance", "guider_config.json"),
    ],
)
def test_what_has_no_weights_is_there_when_its_own_file_is(kind: str, file: str) -> None:
    parts = (*CARD.components, Component(name="other", kind=kind))
    folder = written(Path("weights"))
    card = replace(CARD, components=parts, folder=folder)
    assert [name.partition("/")[0] for name in hub.find(card).missing] == ["other"]
    (folder / "other").mkdir()
    (folder / "other" / file).write_text("{}")
    assert hub.find(card).missing == ()


def test_a_component_that_is_one_file_is_looked_for_beside_the_folders() -> None:
    folder = written(Path("weights"))
    lora = Component(name="distilled_lora", kind="LoRA", file="fast.safetensors")
    card = replace(CARD, folder=folder, components=(*CARD.components, lora))
    assert hub.find(card).missing == ("fast.safetensors",)
    (folder / "fast.safetensors").write_bytes(tensors(9))
    found = hub.find(card)
    assert (found.missing, found.sizes["distilled_lora"]) == ((), len(tensors(9)))
    (folder / "fast.safetensors").write_bytes(tensors(9)[:-1])
    assert hub.find(card).missing == ("fast.safetensors (damaged)",)
