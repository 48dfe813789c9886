"""Twins of other kinds than the usual one, each built once."""

from pathlib import Path

import pytest

from tests import twins


@pytest.fixture(scope="session")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A twin whose decoder is conditioned on a timestep, as LTX-Video 0.9.1 and later are."""
    return twins.ltx(tmp_path_factory.mktemp("timed") / "ltx", timestep_conditioning=True)


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A twin whose decoder draws noise past every generator, as that of LTX-Video 0.9.1 does."""
    return twins.ltx(tmp_path_factory.mktemp("noisy") / "ltx", noisy=True)
