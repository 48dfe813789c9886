"""Small files of JSON beside weights: configurations, indexes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def facts(path: Path) -> Mapping[str, Any]:
    """What a file of JSON says; nothing when it is not there, cannot be read or is no object."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
