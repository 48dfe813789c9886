"""Where the weights of cards are from. How many there are: tests/tools/test_costs.py."""

from pathlib import Path

import pytest

from vidgen.catalog import cards

CARDS = sorted(path.stem for path in cards.OWN.glob("ltx-video-*.toml"))


@pytest.mark.parametrize("name", CARDS)
def test_a_card_of_the_hub_names_a_repository_and_leaves_no_weight_uncounted(name: str) -> None:
    card = cards.card(name)
    weightless = {part.name for part in card.components if not part.parameters}
    assert card.repository.startswith("Lightricks/")
    assert weightless == {"tokenizer", "scheduler"}


def test_the_built_in_model_is_weighed_by_its_files() -> None:
    assert cards.card("pocket").folder == Path(cards.__file__).parent.parent / "pocket"
    assert not any(part.parameters for part in cards.card("pocket").components)
