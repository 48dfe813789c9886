"""Where in its files each weight of a component is, and what it is held in. Reads nothing but headers."""

from pathlib import Path
from typing import Any

import torch

from vidgen.backends import fit
from vidgen.backends.fit import Report
from vidgen.backends.waiting import Place
from vidgen.core.headers import header

Places = dict[str, Place]
"""By the name that the model has for a weight."""


def of_model(kind: Any, skeleton: Any, folder: Path, dtype: torch.dtype) -> tuple[Places, Report]:
    """The weights of a model of Diffusers, of which `skeleton` has none, and what is wrong with its files.

    ValueError where their maker has quantized them: what is in them is not what the model has.
    """
    _plain(skeleton.config.get("quantization_config"))
    held = _held(folder, fit.MODEL)
    names = {key: key for key in held}
    if (folder / fit.MODEL).is_file():
        skeleton._fix_state_dict_keys_on_load(names)
    wide = {*(kind._keep_in_fp32_modules or ())}
    places = {
        key: Place(file=held[own], key=own, dtype=torch.float32 if wide & {*key.split(".")} else dtype)
        for key, own in names.items()
    }
    return places, fit.of_model(skeleton, folder)


def of_encoder(kind: Any, skeleton: Any, folder: Path, dtype: torch.dtype) -> tuple[Places, Report]:
    """The same for a model of Transformers.

    How it renames and ties what it loads is known to it alone: it is given tensors without contents, and where they end
    up is where they belong; what it would hold them in it shows when it is asked for `dtype`.
    """
    _plain(getattr(fit.configuration(kind, folder), "quantization_config", None))
    held = _held(folder, fit.ENCODER)
    tensors = {key: torch.empty(entry.shape, device="meta") for key, entry in (fit.entries(folder) or {}).items()}
    own = {tensor.untyped_storage()._cdata: key for key, tensor in tensors.items()}
    mapped, typed = (fit.loaded(kind, folder, tensors, each)[0].state_dict() for each in (torch.float32, dtype))
    names = {key: own.get(weight.untyped_storage()._cdata) for key, weight in mapped.items()}
    places = {key: Place(file=held[name], key=name, dtype=typed[key].dtype) for key, name in names.items() if name}
    return places, fit.of_encoder(kind, folder)


def _plain(quantized: Any) -> None:
    if quantized:
        raise ValueError("its maker has quantized it")


def _held(folder: Path, name: str) -> dict[str, Path]:
    """The file of each tensor."""
    files = [folder / name] if (folder / name).is_file() else sorted(folder.glob("*.safetensors"))
    return {key: file for file in files for key in header(file).tensors}
