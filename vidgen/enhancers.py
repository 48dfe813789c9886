"""Chat models that rewrite prompts, looked at by their files: their class, their size, whether they can chat."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

from vidgen.core.card import ModelCard
from vidgen.core.enhancer import CHATS, Enhancer
from vidgen.core.errors import WeightsRefused
from vidgen.core.facts import facts
from vidgen.core.headers import Entry, header
from vidgen.core.plan import Weights

ANOTHER = "name the folder of a chat model in safetensors: --enhancer ./that-folder"

SMALL = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
"""Files that make a chat model what it is, beside its weights: what is not there counts as empty."""

LONGEST = 100_000_000
"""Bytes of the largest of them: a vocabulary."""

PIECE = 64
"""Bytes of each tensor by which weights of one shape are told from others."""


def own(card: ModelCard, weights: Weights) -> Enhancer:
    """The enhancer that is the model itself; WeightsRefused (exit 4) when its tokenizer, if it is here, cannot chat."""
    if weights.folder is not None:
        tokenizer = weights.of("tokenizer")
        if tokenizer.is_dir() and not _chats(tokenizer):
            raise WeightsRefused(f"the tokenizer of {card.name} has no chat template: it rewrites no prompt", ANOTHER)
    return Enhancer()


def chat(folder: Path) -> Enhancer:
    """The chat model in `folder`; WeightsRefused (exit 4) for what is none, or of a class that is not loaded."""
    if not folder.is_dir():
        raise WeightsRefused(f"enhancer {folder} is not a folder", ANOTHER)
    kind = _kind(folder)
    if not (folder / "tokenizer.json").is_file():
        raise WeightsRefused(f"enhancer {folder} has no tokenizer.json", ANOTHER)
    if not _chats(folder):
        raise WeightsRefused(f"enhancer {folder} has no chat template: it is no model that follows orders", ANOTHER)
    files = dict(_files(folder))
    if not files:
        raise WeightsRefused(f"enhancer {folder} has no weights in safetensors", ANOTHER)
    parameters = sum(prod(entry.shape) for tensors in files.values() for entry in tensors.values())
    return Enhancer(kind=kind, folder=folder, parameters=parameters, mark=_mark(folder, files))


def _kind(folder: Path) -> str:
    """The class that the folder names, if it is one that we load."""
    if (folder / "model_index.json").is_file():
        raise WeightsRefused(f"enhancer {folder} is a model that draws, not one that chats", ANOTHER)
    if not (folder / "config.json").is_file():
        raise WeightsRefused(f"enhancer {folder} has no config.json", ANOTHER)
    named = facts(folder / "config.json").get("architectures")
    kind = str(named[0]) if isinstance(named, list) and named else ""
    if not kind:
        raise WeightsRefused(f"{folder / 'config.json'} is damaged, or names no class of model", ANOTHER)
    if kind not in CHATS:
        said = f"enhancer {folder} is a {kind}, which is not loaded"
        raise WeightsRefused(said, f"use one of {', '.join(sorted(CHATS))}")
    return kind


def _chats(folder: Path) -> bool:
    template = facts(folder / "tokenizer_config.json").get("chat_template")
    return bool(template) or (folder / "chat_template.jinja").is_file()


def _files(folder: Path) -> Iterator[tuple[Path, Mapping[str, Entry]]]:
    for file in sorted(folder.glob("*.safetensors")):
        try:
            yield file, header(file).tensors
        except (OSError, ValueError) as error:
            raise WeightsRefused(
                f"enhancer {folder}: {file.name} is damaged ({error})", "fetch that file again"
            ) from error


def _mark(folder: Path, files: Mapping[Path, Mapping[str, Entry]]) -> str:
    """A hash of the small files, and of each tensor's name, kind, shape and middle, wherever the folder lies.

    Whole weights would take a minute to read; and whoever trains a model changes most of its tensors everywhere.
    """
    mark = hashlib.sha256()
    for path in (folder / name for name in SMALL):
        if path.is_file() and path.stat().st_size <= LONGEST:
            mark.update(hashlib.sha256(path.read_bytes()).digest())
    for path, tensors in files.items():
        with path.open("rb") as file:
            for name, entry in sorted(tensors.items()):
                mark.update(json.dumps([name, entry.kind, entry.shape]).encode())
                file.seek((entry.begin + entry.end) // 2)
                mark.update(file.read(min(PIECE, entry.end - file.tell())))
    return mark.hexdigest()
