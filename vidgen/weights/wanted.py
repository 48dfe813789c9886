"""Which files of a repository a model needs: what the loading code reads, and never anything that could run code."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vidgen.core.card import Component, ModelCard
from vidgen.core.errors import WeightsRefused

INDEX = "model_index.json"
WEIGHTLESS = ("Tokenizer", "TokenizerFast", "Scheduler", "Processor", "Extractor", "Guidance")
"""How the classes that have no weights are called."""

TEXTS = (".json", ".txt", ".model", ".jinja")
STEMS = ("diffusion_pytorch_model", "model")
"""What Diffusers and Transformers call the file of weights that they load when no variant is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One file of a repository. `etag` is the sha256 of a large file, git's own hash of a small one."""

    name: str
    size: int
    etag: str


def wanted(card: ModelCard, files: Sequence[File]) -> list[File]:
    """Those of `files` that `card` needs, in their order; WeightsRefused (exit 4) when something is not among them."""
    found = {file.name: file for file in files}
    names = {INDEX, *(name for component in card.components for name in _of(component, found))}
    absent = sorted(name for name in names if name not in found)
    if absent:
        raise WeightsRefused(
            f"{card.repository} has no {absent[0]}, which {card.name} needs",
            "check repository and revision in the model's card",
        )
    return [file for file in files if file.name in names]


def belongs(card: ModelCard, name: str) -> bool:
    """Whether the file called `name` lies where `card` looks."""
    return name == INDEX or name.partition("/")[0] in {component.place for component in card.components}


def _of(component: Component, found: Mapping[str, File]) -> Iterator[str]:
    """The files of one component."""
    inside = [name for name in found if re.fullmatch(rf"{re.escape(component.place)}/[^/]+", name)]
    if component.optional and not inside:
        return
    if component.kind.endswith(WEIGHTLESS):
        yield from (name for name in inside if name.endswith(TEXTS))
        if not any(name.endswith(TEXTS) for name in inside):
            yield f"{component.place}/ folder"
        return
    yield f"{component.place}/config.json"
    yield from (name for name in inside if name.endswith("/generation_config.json"))
    yield from _tensors(component, inside)


def _tensors(component: Component, inside: Sequence[str]) -> Iterator[str]:
    """One file of weights, or an index and its shards; neither variants (`.fp16.`) nor what is not safetensors."""
    for stem in (f"{component.place}/{stem}" for stem in STEMS):
        if f"{stem}.safetensors.index.json" in inside:
            yield f"{stem}.safetensors.index.json"
            shard = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.safetensors")
            yield from (name for name in inside if shard.fullmatch(name))
            return
        if f"{stem}.safetensors" in inside:
            yield f"{stem}.safetensors"
            return
    yield f"{component.place}/*.safetensors"
