"""What every test with a fault has: the card on which its rounds are written down."""

import pytest

from tests.faults.score import Scorecard, scorecard


@pytest.fixture(scope="session")
def card() -> Scorecard:
    """The scores of this process."""
    return scorecard()
