"""Times as a person says them."""

import pytest

from vidgen.core.amounts import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (250, "4 min 10 s"),
        (600, "10 min"),
        (3599.7, "1 h"),
        (3900, "1 h 5 min"),
        (90_000, "25 h"),
    ],
)
def test_a_time_has_its_two_largest_units_and_no_noughts(seconds: float, said: str) -> None:
    assert duration(seconds) == said
