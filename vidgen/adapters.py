"""LoRAs, looked at by their headers alone: what each of them changes, and how much of that a model has.

Knows neither torch nor which model a LoRA was made for.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vidgen.core.card import ModelCard
from vidgen.core.errors import WeightsRefused
from vidgen.core.headers import Entry, header
from vidgen.core.plan import Weights
from vidgen.core.request import Lora

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "base_model.model.", "transformer.", "lora_unet_", "lora_")
"""What trainers put before the name of a layer."""

DOWN = re.compile(r"\.(lora_A(\.\w+)?|lora_down|lora\.down)\.weight$")
UP = re.compile(r"\.(lora_B(\.\w+)?|lora_up|lora\.up)\.weight$")
PART = re.compile(
    rf"({DOWN.pattern})|({UP.pattern})"
    r"|\.(alpha|dora_scale|diff|diff_b|(lokr|hada|oft)_\w+|lora_[AB](\.\w+)?\.bias)$"
    r"|\.lora_magnitude_vector(\.\w+)?(\.weight)?$"
)
"""How the tensors of one layer end."""

OWN = "transformer."
"""Before the names of LoRAs that are spelled as Diffusers spells its models."""

FITTING = "use a LoRA that was made for this model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """What a LoRA changes: layers by name without their prefix, each with its inputs and outputs (0: not said)."""

    path: Path
    layers: Mapping[str, tuple[int, int]]
    spelled: bool
    """Whether every name is spelled as Diffusers does."""


def adapter(lora: Lora) -> Adapter:
    """A LoRA by its header; WeightsRefused (exit 4) when it is damaged or none."""
    try:
        tensors = header(lora.path).tensors
    except (OSError, ValueError) as error:
        said = f"LoRA {lora.path} cannot be read: {error}"
        raise WeightsRefused(said, "give a whole .safetensors file: fetch it again") from error
    named = {PART.sub("", name) for name in tensors if PART.search(name)}
    if not named:
        said = f"{lora.path} is no LoRA: none of its {len(tensors)} tensors is one's"
        raise WeightsRefused(said, "whole models are given by --model")
    layers = {_bare(name): (0, 0) for name in named}
    for name, entry in tensors.items():
        _measure(layers, name, entry)
    return Adapter(path=lora.path, layers=layers, spelled=all(name.startswith(OWN) for name in named))


def fitting(worn: Adapter, card: ModelCard, weights: Weights) -> str:
    """A sentence when only a part of `worn` fits the model; refused (exit 4) when none of it does, or other sizes do.

    Nothing is said while the weights are not here, and of names that are spelled otherwise: loading translates them.
    """
    held = _held(card, weights)
    known = [name for name in worn.layers if name in held]
    if not held or not (known or worn.spelled):
        return ""
    if not known:
        some = sorted(worn.layers)[0]
        raise WeightsRefused(f"LoRA {worn.path} does not fit {card.name}, which has no {some}", FITTING)
    for name in sorted(known):
        _same_size(worn, name, held[name], card)
    count = len(worn.layers)
    return f"LoRA {worn.path.name}: {len(known)} of its {count} layers are in {card.name}" if len(known) < count else ""


def _same_size(worn: Adapter, name: str, wanted: tuple[int, int], card: ModelCard) -> None:
    for found, there in zip(worn.layers[name], wanted, strict=True):
        if found and there and found != there:
            said = f"{name} is for {found} channels, and {card.name} has {there}"
            raise WeightsRefused(f"LoRA {worn.path} does not fit: its {said}", FITTING)


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _measure(layers: dict[str, tuple[int, int]], name: str, entry: Entry) -> None:
    """Note how wide the layer is that a tensor of two sides changes."""
    if len(entry.shape) != 2:
        return
    layer = _bare(PART.sub("", name))
    inputs, outputs = layers.get(layer, (0, 0))
    if DOWN.search(name):
        layers[layer] = (entry.shape[1], outputs)
    elif UP.search(name):
        layers[layer] = (inputs, entry.shape[0])


def _held(card: ModelCard, weights: Weights) -> dict[str, tuple[int, int]]:
    """The layers of the model's transformers with inputs and outputs (0: neither), by the headers of its files."""
    if weights.folder is None:
        return {}
    folders = [weights.of(part.name) for part in card.components if part.name.startswith("transformer")]
    found: dict[str, tuple[int, int]] = {}
    for file in (file for folder in folders for file in folder.glob("*.safetensors")):
        try:
            found |= dict(_layers(header(file).tensors.items()))
        except (OSError, ValueError):
            return {}  # damaged, and refused as such
    return found


def _layers(tensors: Iterable[tuple[str, Entry]]) -> Iterable[tuple[str, tuple[int, int]]]:
    for name, entry in tensors:
        if name.endswith(".weight"):
            inputs, outputs = (entry.shape[1], entry.shape[0]) if len(entry.shape) == 2 else (0, 0)
            yield name.removesuffix(".weight"), (inputs, outputs)
