"""Where settings come from: flags over preset over VIDGEN_* over ./vidgen.toml over the user's config over the card.

Nothing is interpreted here: each layer keeps what was written, for `planning.settle` to read.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidgen.catalog.tables import load
from vidgen.core.errors import UsageRefused
from vidgen.core.words import OPTIONS, SETTINGS, nearest

PREFIX = "VIDGEN_"
RESERVED = frozenset({"VIDGEN_CACHE", "VIDGEN_CONFIG", "VIDGEN_DEBUG", "VIDGEN_FAMILIES"})
NOT_IN_A_PROJECT = frozenset({"output"})

Layers = dict[str, Mapping[str, Any]]
"""Origin to what it says, highest precedence first."""


def user_folder() -> Path:
    """The folder of the user's own configuration, as the platform has it."""
    from platformdirs import user_config_path

    return user_config_path("vidgen")


def user_file() -> Path:
    """The user's configuration: VIDGEN_CONFIG, which must be there, or config.toml in the user's folder."""
    named = os.environ.get("VIDGEN_CONFIG")
    if named and not Path(named).exists():
        raise UsageRefused(f"VIDGEN_CONFIG names {named}, which is not there", "make that file, or unset VIDGEN_CONFIG")
    return Path(named) if named else user_folder() / "config.toml"


def layers(typed: Mapping[str, Any]) -> Layers:
    """The layers under which a request is settled, without the preset and the card."""
    project = file(Path("vidgen.toml"))
    for key in NOT_IN_A_PROJECT & project.keys():
        raise UsageRefused(f"vidgen.toml may not set {key}", f"put {key} into {user_file()} or on the command line")
    flags = {key: value for key, value in typed.items() if value is not None}
    return {"flag": flags, "environment": environment(), "project": project, "user": file(user_file())}


def file(path: Path) -> dict[str, Any]:
    """The settings in a TOML file; nothing when there is no such file, UsageRefused for an unknown key."""
    if not path.exists():
        return {}
    values = load(path)
    for key in values:
        if key not in SETTINGS:
            raise UsageRefused(f"{path}: unknown setting {key!r}{nearest(key, SETTINGS)}", "remove it or mend it")
    return values


def environment() -> dict[str, str]:
    """The settings in VIDGEN_* variables; UsageRefused for a variable that is none."""
    found = {}
    for name, value in os.environ.items():
        if not name.startswith(PREFIX) or name in RESERVED or not value:
            continue
        key = name.removeprefix(PREFIX).lower()
        if key in OPTIONS:
            flag = f"--{key.replace('_', '-')}"
            raise UsageRefused(f"{name} is not a setting, but an option of one run", f"unset {name}, and give {flag}")
        if key not in SETTINGS:
            raise UsageRefused(f"{name} is not a setting{nearest(key, SETTINGS)}", f"unset {name}")
        found[key] = value
    return found


def with_preset(found: Layers, preset: Mapping[str, Any]) -> Layers:
    """The layers with a preset's settings right under the flags."""
    return {"flag": found["flag"], "preset": preset, **found}


def first(found: Layers, key: str, default: str) -> tuple[Any, str]:
    """What the highest layer says of `key`, and which layer that is."""
    for origin, values in found.items():
        if key in values:
            return values[key], origin
    return default, "built in"
