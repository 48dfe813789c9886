"""The twin's builder: the same bytes for the same seed, from the classes that the family trusts and no other."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.values import says
from vidgen.backends.twin import build
from vidgen.catalog.twins import twin
from vidgen.core.card import Twin, TwinPart
from vidgen.core.errors import UsageRefused

TINY = replace(twin("ltx"), parts={name: part for name, part in twin("ltx").parts.items() if name != "vae"})


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_part(**changed: object) -> Twin:
    return Twin(family="ltx", parts={"scheduler": TwinPart(**{"kind": "", "arguments": {}, **changed})})  # type: ignore[arg-type]


def test_a_seed_gives_the_same_files_and_another_seed_other_weights() -> None:
    one, same, other = (
        contents(build(TINY, Path(name), pipeline="LTXPipeline", seed=seed))
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert one == same
    assert {name for name in one if one[name] != other[name]} == {
        "text_encoder/model.safetensors",
        "transformer/diffusion_pytorch_model.safetensors",
    }


def test_building_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    build(TINY, Path("one"), pipeline="LTXPipeline")
    assert torch.equal(before, torch.random.get_rng_state())


def test_its_files_name_no_machine() -> None:
    for name, content in contents(build(TINY, Path("one"), pipeline="LTXPipeline")).items():
        assert str(Path.home()).encode() not in content, name
        assert str(Path.cwd()).encode() not in content, name


@pytest.mark.parametrize("kind", ["CLIPTextModel", "system"])
def test_a_class_that_the_family_does_not_load_is_not_built(kind: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        build(with_part(kind=kind), Path("x"), pipeline="LTXPipeline")
    says(refused, 2, f"scheduler of the twin of ltx is a {kind}", "T5EncoderModel")


def test_arguments_that_the_class_does_not_take_are_refused() -> None:
    arguments = {"kind": "LTXVideoTransformer3DModel", "arguments": {"layers": 2}}
    with pytest.raises(UsageRefused) as refused:
        build(with_part(**arguments), Path("x"), pipeline="LTXPipeline")
    says(refused, 2, "scheduler of the twin of ltx is no LTXVideoTransformer3DModel", "layers")
