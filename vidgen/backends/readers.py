"""How each kind of component is read from its folder, and the classes that several families use.

No other class than those of these tables is ever loaded, whatever a downloaded file names.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from vidgen.backends import files, fit
from vidgen.backends.fit import UNREADABLE, Report

Reader: TypeAlias = Callable[[Any, Path, torch.dtype], tuple[Any, Report]]
"""Reads a folder as a class: the object, and which keys were missing, unexpected or of another shape."""


def model(kind: Any, folder: Path, dtype: torch.dtype) -> tuple[Any, Report]:
    """Reads a model of Diffusers, or only its headers when those do not fit."""
    if fit.faulty(report := _compared(lambda: fit.of_model(_on_meta(kind, folder), folder))):
        return None, report
    loaded, report = kind.from_pretrained(
        folder, torch_dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    return loaded, report


def encoder(kind: Any, folder: Path, dtype: torch.dtype) -> tuple[Any, Report]:
    """Reads a model of Transformers, or only its headers when those do not fit."""
    if fit.faulty(report := _compared(lambda: fit.of_encoder(kind, folder))):
        return None, report
    loaded, report = kind.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # else it raises without their names; we refuse them ourselves
    )
    return loaded, report


def tokenizer(kind: Any, folder: Path, dtype: torch.dtype) -> tuple[Any, Report]:
    """Reads a tokenizer. Transformers would make up an empty one where the vocabulary is missing."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model", "vocab.json")):
        raise FileNotFoundError(f"{folder / 'tokenizer.json'} is missing")
    return light(kind, folder, dtype)


def light(kind: Any, folder: Path, dtype: torch.dtype) -> tuple[Any, Report]:
    """Reads what has no weights, a scheduler."""
    return kind.from_pretrained(folder, local_files_only=True), {}


def bare(kind: Any, folder: Path) -> Any:
    """Makes a model of Diffusers from its configuration alone."""
    return kind.from_config(kind.load_config(folder, local_files_only=True))


def bare_encoder(kind: Any, folder: Path) -> Any:
    """Makes a model of Transformers from its configuration alone; one that writes, with how its makers let it."""
    made = kind(kind.config_class.from_pretrained(folder, local_files_only=True))
    if made.can_generate():
        with suppress(OSError):
            made.generation_config = type(made.generation_config).from_pretrained(folder, local_files_only=True)
    return made


def _compared(compare: Callable[[], Report]) -> Report:
    """What the headers show; nothing when they cannot be compared, and then loading shows what is wrong."""
    try:
        return compare()
    except UNREADABLE:
        return {}


def _on_meta(kind: Any, folder: Path) -> Any:
    with torch.device("meta"):
        return bare(kind, folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A class that we load, or another `instead`: its module, how it is read and made bare, the file that names it."""

    module: str
    read: Reader
    bare: Callable[[Any, Path], Any] = bare
    card: str = "config.json"
    instead: str = ""

    @property
    def weighs(self) -> bool:
        """Whether it has weights: a scheduler and a tokenizer have none."""
        return self.read not in (light, tokenizer)


KINDS: Mapping[str, Kind] = {
    "FlowMatchEulerDiscreteScheduler": Kind(
        module="diffusers.schedulers.scheduling_flow_match_euler_discrete", read=light, card="scheduler_config.json"
    ),
    "PreTrainedTokenizerFast": Kind(module="transformers", read=tokenizer, card="tokenizer_config.json"),
    "T5EncoderModel": Kind(module="transformers", read=encoder, bare=bare_encoder),
    "T5Tokenizer": Kind(module="transformers", read=tokenizer, card="tokenizer_config.json"),
}
"""The classes that several families use. No other class is ever loaded, whatever a downloaded file names."""

PLACES: Mapping[Reader, Callable[..., tuple[files.Places, Report]]] = {model: files.of_model, encoder: files.of_encoder}
"""How it is found out where weights are, by how a class is read."""
