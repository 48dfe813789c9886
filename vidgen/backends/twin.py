"""Builds the twin of a family: the real classes at tiny size with random weights, saved as an ordinary folder.

Offline, in about a second. Knows no family: what is small about one is data, and only classes that it trusts are built.
"""

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vidgen.backends import pipes, quiet
from vidgen.backends.pipes import Kind, Reader
from vidgen.core.card import NAMED, Twin, TwinPart
from vidgen.core.errors import OutputRefused, UsageRefused

APART = r" (?=\d)|\n+|\w+|[^\w\s]+"
"""What a tokenizer of words takes for one: as Llama does, also ends of lines, and a space before a number."""


def build(twin: Twin, folder: Path, *, pipeline: str, says: Mapping[str, object] | None = None, seed: int = 0) -> Path:
    """The twin in `folder`, with the index of `pipeline`, as it would be downloaded; the same seed, the same weights.

    `says` is what else its index says; a card that it names has the twin that the file describes for that card.
    Refuses (exit 2) a class that its family does not load, and arguments that the class does not take; and (exit 6) a
    folder that has no room for it.
    """
    family = importlib.import_module(f"vidgen.backends.{twin.family}")
    kinds: Mapping[str, Kind] = {**pipes.KINDS, **family.KINDS}
    index: dict[str, object] = {"_class_name": pipeline, **(says or {})}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, part in twin.of(pipeline, str(index.get(NAMED, ""))).items():
            kind = _kind(twin, name, part, kinds)
            with quiet.quickly():
                made = _made(twin, name, part, kind)
                with _written(folder):
                    made.save_pretrained(folder / name)
            index[name] = [_library(kind), part.kind]
    with _written(folder):
        (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return folder


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Says in a sentence that something could not be written."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        said = f"cannot write a tiny model in {folder}: {getattr(error, 'strerror', None) or error}"
        raise OutputRefused(said, "make room there, or name another folder in TMPDIR") from error


def _library(kind: Kind) -> str:
    """What an index calls the home of a class: its library, or for a pipeline's own class that pipeline's package."""
    library, _, place = kind.module.partition(".")
    return place.split(".")[1] if place.startswith("pipelines.") else library


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
    known = quiet.found(kind.module, kind.instead or part.kind)
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
    """A tokenizer of pieces takes pairs, which TOML has as lists; one of `words` spells what is not among them."""
    if "words" in part.arguments:
        return known(tokenizer_object=_worded(str(part.arguments["words"]), part), **_but(part, "words"))
    vocabulary = part.arguments.get("vocab")
    if isinstance(vocabulary, list):
        return known(**{**part.arguments, "vocab": [tuple(pair) for pair in vocabulary]})
    return known(**part.arguments)


def _worded(words: str, part: TwinPart) -> Any:
    """A tokenizer for which each of `words` is one token, and any other text is a token for each letter."""
    library = importlib.import_module("tokenizers")
    begin = str(part.arguments["bos_token"])
    known = dict.fromkeys([begin, *words.split(), "\n\n", "\n", *map(chr, range(32, 127))])
    vocab = {word: number for number, word in enumerate(known)}
    tokenizer = library.Tokenizer(library.models.BPE(vocab, [], ignore_merges=True))
    tokenizer.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(APART), behavior="removed", invert=True)
    tokenizer.post_processor = library.processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, vocab[begin])]
    )
    return tokenizer


def _but(part: TwinPart, name: str) -> dict[str, object]:
    return {key: value for key, value in part.arguments.items() if key != name}


MAKERS: Mapping[Reader, Callable[[Any, TwinPart], Any]] = {
    pipes.model: _plain,
    pipes.encoder: _configured,
    pipes.light: _plain,
    pipes.tokenizer: _spelling,
}
"""How a class is made, by how it is read."""
