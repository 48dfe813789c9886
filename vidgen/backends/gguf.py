"""A transformer from a GGUF file: whether it fits the class, told from headers, and then its weights as they are there.

By Diffusers' own means: its names for what others call otherwise, and its linear layers that make a weight whole when
it is used. It looks for a class among all that it reads from one file, and would import every one: it is shown ours.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.nn import Parameter

from vidgen.backends import fit, hunyuan15_names, quiet
from vidgen.backends.fit import UNREADABLE, Report
from vidgen.backends.port import exhausted
from vidgen.core.errors import WeightsRefused
from vidgen.core.gguf import Stored, header

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
"""What programs put before the names of a transformer."""

OWN: Mapping[str, Callable[..., Any]] = {"HunyuanVideo15Transformer3DModel": hunyuan15_names.renamed}
"""Names that Diffusers does not know."""

SINGLE, LOADING = "diffusers.loaders.single_file_model", "diffusers.models.model_loading_utils"
ANOTHER = "give a GGUF file of this model"
WHOLE = "give a whole .gguf file of this model: fetch it again"


def check(name: str, stored: Stored, bare: Any) -> None:
    """Refuse (exit 4) a file that has not exactly the tensors of `bare`, which has no weights."""
    try:
        with quiet.quickly():
            report = min(_reports(stored, bare), key=lambda each: sum(map(len, each.values())))
    except (OSError, ValueError) as error:
        raise WeightsRefused(f"{stored.path} is not what it was: {fit.first_line(error)}", WHOLE) from error
    if said := fit.said(report):
        raise WeightsRefused(f"{name} in {stored.path} does not fit its class: {said}", ANOTHER)


def read(name: str, stored: Stored, folder: Path, bare: Any, dtype: torch.dtype) -> Any:
    """The transformer with the weights of the file, computed in `dtype`; its configuration is in `folder`.

    What is no matrix of a linear layer, and what is not quantized, is made whole at once: Diffusers would compute with
    its bytes.
    """
    try:
        with quiet.quickly():
            tensors = _bare(import_module(LOADING).load_gguf_checkpoint(str(stored.path)))
            if tensors.keys() != bare.state_dict().keys():
                tensors = _renamed(tensors, bare)
            configured = import_module("diffusers").GGUFQuantizationConfig(compute_dtype=dtype)
            with _shown(type(bare)):
                part = type(bare).from_single_file(
                    tensors,
                    config=str(folder),
                    quantization_config=configured,
                    torch_dtype=dtype,
                    local_files_only=True,
                )
    except (*UNREADABLE, IndexError) as error:
        if exhausted(error):
            raise
        raise WeightsRefused(f"{name} in {stored.path} cannot be loaded: {fit.first_line(error)}", WHOLE) from error
    _made_whole(part, dtype)
    return part


def _reports(stored: Stored, bare: Any) -> Iterator[Report]:
    """What is wrong with the file, by the names that it has and by those that Diffusers knows for them."""
    held = header(stored.path).tensors
    tensors = _bare({key: torch.empty(tensor.shape, device="meta") for key, tensor in held.items()})
    wanted = bare.state_dict()
    ignored = bare._keys_to_ignore_on_load_unexpected or ()
    yield _compared(tensors, wanted, ignored)
    try:
        yield _compared(_renamed(tensors, bare), wanted, ignored)
    except (*UNREADABLE, IndexError):
        return  # it is of no such names


def _compared(tensors: Mapping[str, Any], wanted: Mapping[str, Any], ignored: Iterable[str]) -> Report:
    return {
        "missing_keys": wanted.keys() - tensors.keys(),
        "unexpected_keys": tensors.keys() - wanted.keys() - fit.matching(tensors, ignored),
        "mismatched_keys": {
            (key, tuple(tensors[key].shape), tuple(wanted[key].shape))
            for key in wanted.keys() & tensors.keys()
            if tensors[key].shape != wanted[key].shape
        },
    }


def _bare(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors by their names without prefixes."""
    found = {}
    for key, tensor in tensors.items():
        for prefix in PREFIXES:
            key = key.removeprefix(prefix)
        found[key] = tensor
    return found


def _renamed(tensors: Mapping[str, Any], bare: Any) -> dict[str, Any]:
    """The tensors by the names of Diffusers, and cut as it has them."""
    kind = type(bare).__name__
    known = import_module(SINGLE).SINGLE_FILE_LOADABLE_CLASSES.get(kind, {})
    rename = OWN.get(kind) or known.get("checkpoint_mapping_fn") or (lambda checkpoint, **_: checkpoint)
    found: dict[str, Any] = rename(checkpoint=dict(tensors), config=bare.config)
    return found


@contextmanager
def _shown(kind: Any) -> Iterator[None]:
    """While it lasts, Diffusers reads no other class than `kind` from one file, under the names that it is given."""
    table = import_module(SINGLE).SINGLE_FILE_LOADABLE_CLASSES
    every = dict(table)
    table.clear()
    table[kind.__name__] = {"checkpoint_mapping_fn": lambda checkpoint, **_: checkpoint}
    try:
        yield
    finally:
        table.clear()
        table.update(every)


def _made_whole(part: torch.nn.Module, dtype: torch.dtype) -> None:
    tools = import_module("diffusers.quantizers.gguf.utils")
    for module in part.modules():
        for name, weight in module._parameters.items():
            kind = getattr(weight, "quant_type", None)
            if weight is None or kind is None or (isinstance(module, tools.GGUFLinear) and kind.name != "BF16"):
                continue
            module._parameters[name] = Parameter(tools.dequantize_gguf_tensor(weight).to(dtype), requires_grad=False)
