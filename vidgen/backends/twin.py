"""Builds the twin of a family: the real classes at tiny size with random weights, saved as an ordinary folder.

Offline, in about a second. Knows no family: what is small about one is data, and only classes that it trusts are built.
"""

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vidgen.backends import pipes, quiet
from vidgen.backends.pipes import Kind, Reader
from vidgen.core.card import NAMED, Twin, TwinPart
from vidgen.core.errors import UsageRefused


def build(twin: Twin, folder: Path, *, pipeline: str, says: Mapping[str, object] | None = None, seed: int = 0) -> Path:
    """The twin in `folder`, with the index of `pipeline`, as it would be downloaded; the same seed, the same weights.

    `says` is what else its index says; a card that it names has the twin that the file describes for that card.
    Refuses (exit 2) a class that its family does not load, and arguments that the class does not take.
    """
    family = importlib.import_module(f"vidgen.backends.{twin.family}")
    kinds: Mapping[str, Kind] = {**pipes.KINDS, **family.KINDS}
    index: dict[str, object] = {"_class_name": pipeline, **(says or {})}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, part in twin.of(pipeline, str(index.get(NAMED, ""))).items():
            kind = _kind(twin, name, part, kinds)
            with quiet.quickly():
                _made(twin, name, part, kind).save_pretrained(folder / name)
            index[name] = [kind.module.partition(".")[0], part.kind]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return folder


def _kind(twin: Twin, name: str, part: TwinPart, kinds: Mapping[str, Kind]) -> Kind:
    wanted = part.kind
    if wanted not in kinds or kinds[wanted].read not in MAKERS:
        makeable = sorted(known for known, kind in kinds.items() if kind.read in MAKERS)
        raise UsageRefused(
            f"{name} of the twin of {twin.family} is a {wanted}, which is not built here",
            f"use one of {', '.join(makeable)}",
        )
    return kinds[wanted]


def _made(twin: Twin, name: str, part: TwinPart, kind: Kind) -> Any:
    known = quiet.found(kind.module, part.kind)
    try:
        return MAKERS[kind.read](known, part)
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        said = f"{name} of the twin of {twin.family} is no {part.kind}: {error}"
        raise UsageRefused(said, "correct its arguments in the twin's file") from error


def _plain(known: Any, part: TwinPart) -> Any:
    return known(**part.arguments)


def _configured(known: Any, part: TwinPart) -> Any:
    """A model of Transformers takes its arguments by way of its configuration."""
    return known(known.config_class(**part.arguments))


def _spelling(known: Any, part: TwinPart) -> Any:
    """A tokenizer of pieces takes pairs, which TOML has as lists."""
    vocabulary = part.arguments.get("vocab")
    if isinstance(vocabulary, list):
        return known(**{**part.arguments, "vocab": [tuple(pair) for pair in vocabulary]})
    return known(**part.arguments)


MAKERS: Mapping[Reader, Callable[[Any, TwinPart], Any]] = {
    pipes.model: _plain,
    pipes.encoder: _configured,
    pipes.light: _plain,
    pipes.tokenizer: _spelling,
}
"""How a class is made, by how it is read."""
