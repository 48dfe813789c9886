"""The tables of what fits where: fresh, whole, and never empty for the models that people ask for most."""

from pathlib import Path

import pytest

from tests.planning.counted import MODELS, counted, usual
from tools import tables
from vidgen.catalog import cards
from vidgen.core.plan import Placement, Precision, Rung
from vidgen.planning.advice import own


@pytest.mark.parametrize(("path", "text"), list(tables.pages()), ids=lambda value: getattr(value, "name", ""))
def test_a_table_is_fresh(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run `make docs`"


@pytest.mark.parametrize("name", tables.MAIN)
@pytest.mark.parametrize("tier", tables.TIERS, ids=lambda tier: f"{tier.size}")
def test_every_main_model_is_made_on_every_card(name: str, tier: tables.Tier) -> None:
    shipped = cards.card(name)
    for card in (counted(name), *([shipped] if shipped.cost.measured else [])):
        cell = tables.cell(card, usual(card), tier.machine)
        gib = float(cell.partition(" GiB")[0].split(">")[-1])
        assert gib < tier.size
        assert cell.split("<br>")[-1].endswith(("s", "min", "h"))


def test_the_models_that_are_counted_are_those_of_the_short_table() -> None:
    assert set(MODELS) == set(tables.MAIN)


@pytest.mark.parametrize("name", [name for name in cards.cards() if name != cards.BUILT_IN])
def test_every_model_is_made_on_a_large_card(name: str) -> None:
    card = cards.card(name)
    assert tables.cell(card, own(card, next(iter(card.ways))), tables.TIERS[-1].machine) != "does not fit"


def test_a_clip_that_does_not_fit_is_made_smaller_and_that_is_shown() -> None:
    card = counted("hunyuan-video")
    assert tables.cell(card, usual(card), tables.TIERS[0].machine).startswith("**")
    assert not tables.cell(card, usual(card), tables.TIERS[-1].machine).startswith("**")


def test_a_rung_is_said_in_a_few_words() -> None:
    rung = Rung(precision=Precision.BF16, placement=Placement.STREAM, resident=3, turns=True, tiling=256)
    assert tables.short(rung) == "bf16 streamed (3), turns, tiles 256"
    encoder = Rung(precision=Precision.BF16, placement=Placement.PHASE, encoder=Precision.INT8)
    assert tables.short(encoder) == "bf16 (int8 text) by phase"


def test_a_page_without_a_place_for_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for fits"):
        tables.inserted("nothing", "fits", "a table")
