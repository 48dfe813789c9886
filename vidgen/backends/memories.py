"""What a scheduler remembers from step to step beside its own place: taken out for a checkpoint, and put back.

Numbers that only count steps are not kept: a pipeline that goes on counts them again.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Protocol, TypeAlias

import torch

from vidgen.backends.port import Tensors

PREFIX = "scheduler."
"""In front of the names of what is kept."""


class Memory(Protocol):
    """What one scheduler remembers."""

    def taken(self) -> dict[str, torch.Tensor]:
        """Everything that the next step will want to know."""

    def put_back(self, since: Tensors, device: torch.device) -> None:
        """Remember what `since` has in it, and nothing else."""


class _Nothing:
    def taken(self) -> dict[str, torch.Tensor]:
        return {}

    def put_back(self, since: Tensors, device: torch.device) -> None:
        pass


class _Attributes:
    """Tensors in attributes of the scheduler: `lists` hold several of them, or None in their place."""

    def __init__(self, scheduler: Any, *, lists: tuple[str, ...], single: tuple[str, ...]) -> None:
        self._scheduler, self._lists, self._single = scheduler, lists, single

    def taken(self) -> dict[str, torch.Tensor]:
        known = vars(self._scheduler)
        held = {f"{PREFIX}{name}.{place}": item for name in self._lists for place, item in enumerate(known[name])}
        held |= {f"{PREFIX}{name}": known[name] for name in self._single}
        return {name: tensor for name, tensor in held.items() if tensor is not None}

    def put_back(self, since: Tensors, device: torch.device) -> None:
        def kept(name: str) -> torch.Tensor | None:
            return since[name].to(device) if name in since else None

        known = vars(self._scheduler)
        for name in self._lists:
            known[name] = [kept(f"{PREFIX}{name}.{place}") for place in range(len(known[name]))]
        for name in self._single:
            known[name] = kept(f"{PREFIX}{name}")


class _Handed:
    """A second tensor that `step` gives, and that the pipeline hands it as its second argument the next time."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self._step = step
        self._last: torch.Tensor | None = None
        self._kept: torch.Tensor | None = None

    def step(self, model_output: Any, handed: Any, *more: Any, **words: Any) -> Any:
        """The scheduler's own, told what was put back."""
        if self._kept is not None:
            handed, self._kept = self._kept, None
        gives = self._step(model_output, handed, *more, **words)
        self._last = gives[1]
        return gives

    def taken(self) -> dict[str, torch.Tensor]:
        return {} if self._last is None else {f"{PREFIX}handed": self._last}

    def put_back(self, since: Tensors, device: torch.device) -> None:
        self._kept = since[f"{PREFIX}handed"].to(device)


@contextmanager
def _nothing(scheduler: Any) -> Iterator[Memory]:
    yield _Nothing()


@contextmanager
def _unipc(scheduler: Any) -> Iterator[Memory]:
    yield _Attributes(scheduler, lists=("model_outputs",), single=("last_sample",))


@contextmanager
def _handed(scheduler: Any) -> Iterator[Memory]:
    memory = _Handed(scheduler.step)

    @wraps(scheduler.step)  # pipelines look at its arguments
    def step(*given: Any, **words: Any) -> Any:
        return memory.step(*given, **words)

    scheduler.step = step
    try:
        yield memory
    finally:
        del scheduler.step


Remembering: TypeAlias = "Callable[[Any], Any]"

MEMORIES: Mapping[str, Remembering] = {
    "CogVideoXDDIMScheduler": _nothing,
    "CogVideoXDPMScheduler": _handed,
    "FlowMatchEulerDiscreteScheduler": _nothing,
    "LTXEulerAncestralRFScheduler": _nothing,
    "UniPCMultistepScheduler": _unipc,
}
"""Every scheduler that a family loads has its line here: one that was forgotten would go on wrongly, in silence."""


@contextmanager
def of(scheduler: Any) -> Iterator[Memory]:
    """While it lasts, the memory of `scheduler`. KeyError for one that nobody has looked into."""
    with MEMORIES[type(scheduler).__name__](scheduler) as memory:
        yield memory
