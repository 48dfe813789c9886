"""Twins: every one that we ship, and whatever can be wrong with one."""

from pathlib import Path

import pytest

from tests.values import says
from vidgen.catalog import cards, twins
from vidgen.core.errors import UsageRefused


@pytest.mark.parametrize("family", twins.twins())
def test_every_shipped_twin_has_exactly_the_components_of_the_cards_that_it_stands_for(family: str) -> None:
    described = twins.twin(family)
    every = [card for card in cards.cards().values() if card.family == family]
    served = [card for card in every if card.serves or card.name in described.own]
    assert served
    for card in served:
        pipeline = card.serves[0] if card.serves else next(iter(card.ways.values())).pipeline
        kinds = {name: part.kind for name, part in described.of(pipeline, card.name).items()}
        assert {component.name: component.kind for component in card.components} == kinds
    pipelines = {way.pipeline for card in every for way in card.ways.values()}
    assert set(described.own) <= pipelines | {card.name for card in every}


def test_what_one_pipeline_or_card_has_otherwise_stands_over_what_all_have() -> None:
    path = Path("sketch.toml")
    path.write_text(
        '[pen]\nkind = "Pen"\nwidth = 3\nink = 1\n'
        '[APipeline.pen]\nwidth = 4\n[APipeline.paper]\nkind = "Paper"\n["b-1.5".pen]\nkind = "Brush"\n'
    )
    found = twins.read(path)
    assert found.of("CPipeline", "") == found.parts
    assert {name: (part.kind, part.arguments) for name, part in found.of("APipeline", "c").items()} == {
        "pen": ("Pen", {"width": 4, "ink": 1}),
        "paper": ("Paper", {}),
    }
    both = found.of("APipeline", "b-1.5")
    assert (both["pen"].kind, both["pen"].arguments, both["paper"].kind) == ("Brush", {}, "Paper")


def test_a_twin_is_its_classes_and_their_arguments() -> None:
    found = twins.twin("ltx")
    assert found.family == "ltx"
    assert found.parts["transformer"].kind == "LTXVideoTransformer3DModel"
    assert found.parts["transformer"].arguments["num_layers"] == 2
    assert found.parts["scheduler"].arguments == {}


def test_an_unknown_family_is_refused_with_the_nearest_and_all() -> None:
    with pytest.raises(UsageRefused) as refused:
        twins.twin("lxt")
    says(
        refused,
        2,
        "no family 'lxt' has a twin; did you mean ltx?",
        f"these have one: {', '.join(sorted(twins.twins()))}",
    )


def test_a_folder_of_families_adds_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("added/twins").mkdir(parents=True)
    Path("added/twins/sketch.toml").write_text('[pen]\nkind = "Pen"\nwidth = 3\n')
    monkeypatch.setenv("VIDGEN_FAMILIES", "added")
    assert {"ltx", "sketch"} <= set(twins.twins())
    assert twins.twin("sketch").parts["pen"].arguments == {"width": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pen]\nwidth = 3\n", ("sketch.toml [pen]: kind is missing", "type str")),
        ("[pen]\nkind = 3\n", ("sketch.toml [pen]: kind = 3", "type str")),
        ('pen = "Pen"\n', ("sketch.toml: pen is not a component", "write [pen]")),
        ("[pen", ("sketch.toml is not valid TOML",)),
    ],
)
def test_a_twin_with_a_fault_is_refused_by_file_and_key(text: str, said: tuple[str, ...]) -> None:
    path = Path("sketch.toml")
    path.write_text(text)
    with pytest.raises(UsageRefused) as refused:
        twins.read(path)
    says(refused, 2, *said)
