"""Keeps out what Diffusers and Transformers import and a clip does not need: most of the time before a first step.

Seconds of CPU time beside torch's own two (torch 2.13, diffusers 0.42.1, transformers 5.23): bitsandbytes and torchao
1.7, peft 0.5, torch._dynamo 1.6, the tensors of torch.distributed 0.5. Hiding accelerate or gguf saves nothing.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

HIDDEN = ("bitsandbytes", "torchao", "peft")
"""What Diffusers takes for absent. No rung uses the first two; `quiet.bring_peft` brings the third for a LoRA."""

DYNAMO = "torch._dynamo"
MARKS = ("allow_in_graph", "assume_constant_result", "disable")
"""The decorators that are asked of the compiler while importing; they mark functions for it, and do nothing else."""


@contextmanager
def lean(hidden: Sequence[str] = HIDDEN) -> Iterator[None]:
    """While it lasts, imports take `hidden` for absent, the compiler for asleep and torch for a build of one process.

    Only these imports are blind: afterwards `import torchao` works as ever, for anyone, and so does torch.compile.
    """
    with absent(hidden), _without_compiler(), _alone():
        yield
        _ask_no_compiler()


@contextmanager
def absent(names: Sequence[str]) -> Iterator[None]:
    """While it lasts, those of `names` that nobody has imported yet cannot be."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how Python spells "absent"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


class _Asleep(ModuleType):
    """torch._dynamo, as long as only its marks are wanted; at any other wish it makes room for the real one."""

    def __init__(self) -> None:
        super().__init__(DYNAMO)
        spec = find_spec("torch")
        self.__path__ = [f"{place}/_dynamo" for place in (spec and spec.submodule_search_locations) or ()]

    def __getattr__(self, name: str) -> Any:
        if name in MARKS:
            return _unmarked
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(DYNAMO) is self:
            del sys.modules[DYNAMO]
        return getattr(importlib.import_module(DYNAMO), name)


def _unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    """A decorator, with or without arguments, that leaves all as it was."""
    return _unmarked if function is None else function


@contextmanager
def _without_compiler() -> Iterator[None]:
    asleep = _Asleep()
    if sys.modules.setdefault(DYNAMO, asleep) is not asleep:
        yield
        return
    try:
        yield
    finally:
        if sys.modules.get(DYNAMO) is asleep:
            del sys.modules[DYNAMO]


@contextmanager
def _alone() -> Iterator[None]:
    distributed = importlib.import_module("torch.distributed")
    available = distributed.is_available
    vars(distributed).update(is_available=lambda: False)
    try:
        yield
    finally:
        vars(distributed).update(is_available=available)


def _awake() -> bool:
    return DYNAMO in sys.modules and not isinstance(sys.modules[DYNAMO], _Asleep)


def _ask_no_compiler() -> None:
    """Diffusers asks often whether a module was compiled; none was before torch._dynamo is really there."""
    tools = sys.modules.get("diffusers.utils.torch_utils")
    asked: Callable[[Any], bool] | None = getattr(tools, "is_compiled_module", None)
    if tools is None or asked is None or getattr(asked, "patient", False):
        return

    def is_compiled_module(module: Any) -> bool:
        return _awake() and asked(module)

    vars(is_compiled_module).update(patient=True)
    for name, holder in list(sys.modules.items()):
        if name.startswith("diffusers.") and vars(holder).get("is_compiled_module") is asked:
            vars(holder).update(is_compiled_module=is_compiled_module)
