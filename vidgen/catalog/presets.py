"""Presets: named tastes, a few settings each, in TOML. Ours stand in `presets/`, a user's beside the user's config."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidgen.catalog.settings import user_folder
from vidgen.catalog.tables import load
from vidgen.core.errors import UsageRefused
from vidgen.core.words import SETTINGS, nearest

PACKAGE = Path(__file__).parent.parent
NEVER = frozenset({"preset", "output"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A named taste: what it is for, and the settings it stands for."""

    name: str
    summary: str
    values: Mapping[str, Any]


def folders() -> list[Path]:
    """Where presets are looked for; the first that has a name wins."""
    shipped = PACKAGE / "presets"
    return [user_folder() / "presets", shipped if shipped.is_dir() else PACKAGE.parent / "presets"]


def presets() -> Mapping[str, Preset]:
    """Every preset, by name."""
    found = [read(path) for folder in reversed(folders()) for path in sorted(folder.glob("*.toml"))]
    return {preset.name: preset for preset in found}


def preset(name: str) -> Preset:
    """The preset called `name`, or in the TOML file at `name`; UsageRefused when there is none."""
    if name.endswith(".toml"):
        return read(Path(name))
    known = presets()
    if name not in known:
        raise UsageRefused(f"unknown preset {name!r}{nearest(name, known)}", "see them all: vidgen presets")
    return known[name]


def read(path: Path) -> Preset:
    """One preset; UsageRefused for a key that is no setting."""
    values = load(path)
    summary = str(values.pop("summary", ""))
    for key in values:
        if key not in SETTINGS or key in NEVER:
            raise UsageRefused(f"{path}: {key!r} is not a setting of a preset{nearest(key, SETTINGS)}", "remove it")
    return Preset(name=path.stem, summary=summary, values=values)
