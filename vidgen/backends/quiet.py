"""Imports Diffusers and Transformers quickly, and keeps them from talking to the user's terminal."""

import gc
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vidgen.backends.lean import HIDDEN, lean


def found(module: str, name: str) -> Any:
    """The class `name` of `module`, imported quickly and quietly. Raises ImportError or AttributeError."""
    with quickly():
        return getattr(importlib.import_module(module), name)


@contextmanager
def quickly(hidden: Sequence[str] = HIDDEN) -> Iterator[None]:
    """While it lasts, imports neither bring in what is not used nor say a word; what they imported stays silent.

    Not collecting garbage meanwhile saves a tenth of the time.
    """
    collecting, silenced = gc.isenabled(), logging.root.manager.disable
    gc.disable()
    logging.disable()
    try:
        with hushed(), lean(hidden):
            yield
    finally:
        logging.disable(silenced)
        if collecting:
            gc.enable()
        _silence()


@contextmanager
def hushed() -> Iterator[None]:
    """While it lasts, Python's warnings are dropped: what the libraries deprecate is not the user's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def bring_peft() -> None:
    """Import peft, and tell the modules of Diffusers that took it for absent. After that it is never hidden again."""
    with quickly([name for name in HIDDEN if name != "peft"]):
        peft = importlib.import_module("peft")
        layer = importlib.import_module("peft.tuners.tuners_utils").BaseTunerLayer
        facts = importlib.import_module("diffusers.utils.import_utils")
        loader = importlib.import_module("diffusers.loaders.lora_base")
    vars(facts).update(_peft_available=True, _peft_version=peft.__version__)
    vars(loader).update(BaseTunerLayer=layer)
    for name, module in list(sys.modules.items()):
        if name.startswith("diffusers.") and "USE_PEFT_BACKEND" in vars(module):
            vars(module).update(USE_PEFT_BACKEND=True)


def _silence() -> None:
    for name in ("accelerate", "huggingface_hub", "peft"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("diffusers", "transformers"):
        talk = sys.modules.get(f"{name}.utils.logging")
        if talk is not None:
            talk.set_verbosity(logging.CRITICAL)
            talk.disable_progress_bar()
