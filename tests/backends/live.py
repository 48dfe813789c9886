"""Counts the bytes of live tensors while models run, on the meta device too: no memory is needed to know a peak."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it lasts, `peak` is the most bytes that tensors made meanwhile held at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it made."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        mark, size = storage._cdata, storage.nbytes()
        if mark in self._seen:
            return
        self._seen.add(mark)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, mark, size)

    def _drop(self, mark: int, size: int) -> None:
        self._seen.discard(mark)
        self.now -= size
