"""A folder with nothing in it, so that a test can say that nothing was left behind."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    empty = tmp_path / "media"
    empty.mkdir()
    return empty
