"""Whether the files of a component fit its class: their headers are compared before a tensor of them is read.

What a header cannot show is left to the libraries' own reports, which `refuse` reads as well: files that their maker
has quantized, for one.
"""

from collections.abc import Iterable, Iterator, Mapping
from json import loads
from pathlib import Path
from typing import Any, TypeAlias

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from vidgen.core.errors import WeightsRefused
from vidgen.core.headers import Entry, header

UNREADABLE = (
    *(OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError),
    *(SafetensorError, StrictDataclassError),
)
"""What Diffusers and Transformers raise on files that are absent, truncated or of another model."""

FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Kinds of tensors that can be cast to what is computed in."""

FAULTS = {
    "missing_keys": "missing",
    "unexpected_keys": "unexpected",
    "mismatched_keys": "mismatched",
    "integer_keys": "not of floats",
}
"""The libraries' names of what can be wrong, and one of ours, as words."""

MOST_NAMED = 3

MODEL, ENCODER = "diffusion_pytorch_model.safetensors", "model.safetensors"
"""What Diffusers and Transformers call a file of weights."""

Report: TypeAlias = Mapping[str, Any]
"""Keys by fault, as the libraries report them."""


def of_model(skeleton: Any, folder: Path) -> Report:
    """What is wrong with the files of a model of Diffusers, of which `skeleton` has no weights."""
    if skeleton.config.get("quantization_config"):
        return {}
    entries = _indexed(folder, MODEL)
    if entries is None:
        entries = dict(header(folder / MODEL).tensors)
        skeleton._fix_state_dict_keys_on_load(entries)
    ignored = matching(entries, skeleton._keys_to_ignore_on_load_unexpected or ())
    wanted = skeleton.state_dict()
    shared = [key for key in wanted if key in entries]
    return {
        "missing_keys": wanted.keys() - entries.keys(),
        "unexpected_keys": entries.keys() - wanted.keys() - ignored,
        "mismatched_keys": {
            (key, entries[key].shape, tuple(wanted[key].shape))
            for key in shared
            if entries[key].shape != tuple(wanted[key].shape)
        },
        "integer_keys": _integers(entries, wanted),
    }


def of_encoder(kind: Any, folder: Path) -> Report:
    """What is wrong with the files of a model of Transformers.

    It is loaded with tensors that have shapes and no contents: names that it converts or ties are known to it alone.
    """
    held = entries(folder)
    if held is None or getattr(configuration(kind, folder), "quantization_config", None):
        return {}
    tensors = {key: torch.empty(entry.shape, device="meta") for key, entry in held.items()}
    skeleton, report = loaded(kind, folder, tensors, torch.float32)
    return {**report, "integer_keys": _integers(held, skeleton.state_dict())}


def entries(folder: Path) -> Mapping[str, Entry] | None:
    """The tensors in the files of a model of Transformers; None where nothing says which those are."""
    return header(folder / ENCODER).tensors if (folder / ENCODER).is_file() else _indexed(folder, ENCODER)


def configuration(kind: Any, folder: Path) -> Any:
    """The configuration of a model of Transformers."""
    return kind.config_class.from_pretrained(folder, local_files_only=True)


def loaded(kind: Any, folder: Path, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> tuple[Any, Report]:
    """A model of Transformers with these tensors, which have no contents, as `dtype`; and its own report."""
    skeleton, report = kind.from_pretrained(
        None,
        config=configuration(kind, folder),
        state_dict=dict(tensors),
        device_map={"": "meta"},
        dtype=dtype,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    return skeleton, report


def refuse(name: str, folder: Path, report: Report) -> None:
    """Refuse weights that are not exactly those that the class expects: the rest would be random or ignored."""
    if keys := _worst(report)[1]:
        raise WeightsRefused(
            f"{name} in {_place(folder, keys[0])} does not fit its class: {said(report)}",
            "the files are damaged or another model's: vidgen download --repair MODEL mends downloaded ones",
        )


def said(report: Report) -> str:
    """The first kind of fault in words, and the first keys that have it; nothing where there is none."""
    word, keys = _worst(report)
    more = f" and {len(keys) - MOST_NAMED} more" if len(keys) > MOST_NAMED else ""
    return f"{word} {', '.join(keys[:MOST_NAMED])}{more}" if keys else ""


def _worst(report: Report) -> tuple[str, list[str]]:
    """The first kind of fault that there is, as a word, and the keys that have it."""
    for fault, word in FAULTS.items():
        if keys := sorted(_said(key) for key in report.get(fault, ())):
            return word, keys
    return "", []


def faulty(report: Report) -> bool:
    """Whether `refuse` would refuse it."""
    return any(report.get(fault) for fault in FAULTS)


def first_line(error: Exception) -> str:
    """What an error says, as far as it belongs into a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def _indexed(folder: Path, name: str) -> dict[str, Entry] | None:
    """The tensors that an index names, where its shards hold them; None without an index."""
    index = folder / f"{name}.index.json"
    if not index.is_file():
        return None
    named: dict[str, str] = loads(index.read_text(encoding="utf-8"))["weight_map"]
    held: dict[str, Entry] = {}
    for shard in sorted(set(named.values())):
        held |= header(folder / shard).tensors
    return {key: held[key] for key in named if key in held}


def matching(keys: Iterable[str], patterns: Iterable[str]) -> set[str]:
    """Those of `keys` that one of `patterns` is found in."""
    from re import search

    return {key for key in keys for pattern in patterns if search(pattern, key)}


def _integers(entries: Mapping[str, Entry], wanted: Mapping[str, torch.Tensor]) -> set[str]:
    """Tensors that should be of floats and are not: they would be cast, and be nonsense."""
    return {
        f"{key} ({entry.kind})"
        for key, entry in entries.items()
        if key in wanted and wanted[key].is_floating_point() and entry.kind not in FLOATS
    }


def _said(key: Any) -> str:
    """A key, and the two shapes of one that is mismatched."""
    if isinstance(key, tuple):
        name, found, wanted = key
        return f"{name} ({'x'.join(map(str, found))} instead of {'x'.join(map(str, wanted))})"
    return str(key)


def _place(folder: Path, said: str) -> Path:
    """The file that holds a key, or that should; the folder where that is any of several."""
    files = list(_readable(folder))
    if len(files) == 1:
        return files[0][0]
    key = said.partition(" ")[0]
    return next((file for file, tensors in files if key in tensors), folder)


def _readable(folder: Path) -> Iterator[tuple[Path, Mapping[str, Entry]]]:
    for file in sorted(folder.glob("*.safetensors")):
        try:
            yield file, header(file).tensors
        except (OSError, ValueError):
            continue
