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
    names = {name for component in card.components for name in _of(component, found)}
    if any(not component.source for component in card.components):
        names.add(INDEX)
    absent = sorted(name for name in names if name not in found)
    if absent:
        raise WeightsRefused(
            f"{card.repository} has no {absent[0]}, which {card.name} needs",
            "check repository and revision in the model's card",
        )
    return [file for file in files if file.name in names]


def expected(component: Component) -> str:
    """The files of a component in its repository, as one pattern of a shell; variants are not among them."""
    if component.file:
        return component.file
    if component.kind.endswith(WEIGHTLESS):
        return f"{_folder(component)}*{{{','.join(TEXTS)}}}"
    return f"{_folder(component)}{{config.json,*.safetensors}}"


def known(card: ModelCard, name: str) -> str:
    """What the file called `name` in the repository of `card` is to it, as COMPONENT/FILE; empty: nothing."""
    if name == INDEX:
        return name
    for component in card.components:
        if component.file:
            if name == component.file:
                return name
        elif name.startswith(inside := _folder(component)) and (inside or "/" not in name):
            return f"{component.name}/{name.removeprefix(inside)}"
    return ""


def _folder(component: Component) -> str:
    """How the names of its files begin in its repository."""
    return "" if component.at == "." else f"{component.at or component.name}/"


def _of(component: Component, found: Mapping[str, File]) -> Iterator[str]:
    """The files of one component."""
    if component.file:
        yield component.file
        return
    folder = _folder(component)
    inside = [name for name in found if re.fullmatch(rf"{re.escape(folder)}[^/]+", name)]
    if component.optional and not inside:
        return
    if component.kind.endswith(WEIGHTLESS):
        yield from (name for name in inside if name.endswith(TEXTS))
        if not any(name.endswith(TEXTS) for name in inside):
            yield f"{folder or './'} folder"
        return
    yield f"{folder}config.json"
    yield from (name for name in inside if name == f"{folder}generation_config.json")
    if component.stored:
        return
    yield from _tensors(folder, inside)


def _tensors(folder: str, inside: Sequence[str]) -> Iterator[str]:
    """One file of weights, or an index and its shards; neither variants (`.fp16.`) nor what is not safetensors."""
    for stem in (f"{folder}{stem}" for stem in STEMS):
        if f"{stem}.safetensors.index.json" in inside:
            yield f"{stem}.safetensors.index.json"
            shard = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.safetensors")
            yield from (name for name in inside if shard.fullmatch(name))
            return
        if f"{stem}.safetensors" in inside:
            yield f"{stem}.safetensors"
            return
    yield f"{folder}*.safetensors"
