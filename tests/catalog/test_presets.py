"""Presets: those that we ship, a user's own, and what none may say."""

from pathlib import Path

import pytest

from tests.values import says
from vidgen.catalog import cards, presets, settings
from vidgen.core import words
from vidgen.core.errors import UsageRefused
from vidgen.planning.check import check
from vidgen.planning.settle import Subject, settle

SHIPPED = sorted(path.stem for path in presets.folders()[-1].glob("*.toml"))


def own(name: str, text: str) -> Path:
    folder = settings.user_folder() / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_presets_are_those_of_the_documentation() -> None:
    assert {"draft", "standard", "final", "vertical"} <= set(SHIPPED)


@pytest.mark.parametrize("model", sorted(path.stem for path in cards.OWN.glob("*.toml")))
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preset_suits_every_model(name: str, model: str) -> None:
    card, preset = cards.card(model), presets.preset(name)
    for mode, way in card.ways.items():
        at = [words.at(f"{place}:a.png") for place in (0, -1)[: way.keyframes]]
        subject = Subject(mode=mode, prompt="x", at=at)
        (request,), _ = settle({"preset": preset.values}, card, subject, fresh_seed=1)
        check(request, card)
    assert preset.summary


def test_a_users_preset_wins_over_ours_of_that_name() -> None:
    own("draft", 'summary = "mine"\nsteps = 3\n')
    assert presets.preset("draft").values == {"steps": 3}
    assert presets.presets()["draft"].summary == "mine"
    assert set(SHIPPED) == set(presets.presets())


def test_a_preset_may_be_a_file_anywhere() -> None:
    Path("mine.toml").write_text("steps = 3\n", encoding="utf-8")
    assert presets.preset("mine.toml") == presets.Preset(name="mine", summary="", values={"steps": 3})


def test_an_unknown_preset_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageRefused) as refused:
        presets.preset("drfat")
    says(refused, 2, "unknown preset 'drfat'; did you mean draft?", "vidgen presets")


@pytest.mark.parametrize("name", ["gone.toml", "../../etc/passwd", "\0.toml"])
def test_a_preset_that_is_not_there_is_refused_by_name(name: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        presets.preset(name)
    assert name.strip("\0") in refused.value.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("step = 3", "'step' is not a setting of a preset; did you mean steps?"),
        ('output = "x.mp4"', "'output' is not a setting of a preset"),
        ('preset = "draft"', "'preset' is not a setting of a preset"),
        ('prompt = "x"', "'prompt' is not a setting of a preset"),
        ("steps =", "is not valid TOML"),
    ],
)
def test_a_preset_that_says_what_it_may_not_is_refused_with_its_file(line: str, said: str) -> None:
    path = own("mine", line + "\n")
    with pytest.raises(UsageRefused) as refused:
        presets.preset("mine")
    says(refused, 2, str(path), said)
