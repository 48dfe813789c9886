"""Counts bytes of live tensors, and arithmetic, while models run: on the meta device too, where neither takes any.

On that device tensors hold no values. What a model asks of them is answered as if every token of a text were read.
"""

import weakref
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any
from unittest import mock

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Live:
    """While it lasts, `peak` is the most bytes that tensors made meanwhile held at one time.

    `workspaces`: a convolution takes as much again as its input and output, as cuDNN's may; a mask of true and false is
    written out in numbers, as attention's kernels do with it. `attended` and `computed` are the FLOP of attention and
    of the rest.
    """

    def __init__(self, *, workspaces: bool = False) -> None:
        self.now = self.peak = 0
        self.attended = self.computed = 0.0
        self._workspaces = workspaces
        self._seen: set[int] = set()
        self._lasting = ExitStack()

    def __enter__(self) -> "Live":
        for context in (_Operations(self), _Questions(self), mock.patch.object(torch, "autocast", _cast)):
            self._lasting.enter_context(context)
        return self

    def __exit__(self, *fault: Any) -> None:
        self._lasting.__exit__(*fault)

    def there(self, tensor: torch.Tensor, *, made: bool) -> None:
        """A tensor is there; one that was made meanwhile counts until its storage is gone."""
        storage = tensor.untyped_storage()
        mark, held = storage._cdata, storage.nbytes() if made else 0
        if mark in self._seen:
            return
        self._seen.add(mark)
        self.now += held
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, mark, held)

    def briefly(self, size: float) -> None:
        """So many bytes are there during one operation alone."""
        if self._workspaces:
            self.peak = max(self.peak, self.now + int(size))

    def _gone(self, mark: int, held: int) -> None:
        self._seen.discard(mark)
        self.now -= held


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Every operation, once it is taken apart."""

    def __init__(self, live: Live) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._live = live

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count it."""
        for tensor in _tensors((args, kwargs)):
            self._live.there(tensor, made=False)
        made = func(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            self._live.there(tensor, made=True)
        packet = func._overloadpacket
        if packet in flop_registry:
            self._live.computed += flop_registry[packet](*args, **(kwargs or {}), out_val=made)
        if packet is torch.ops.aten.convolution:
            self._live.briefly(size(args[0]) + size(made))
        return made


class _Questions(TorchFunctionMode):
    """What is asked of tensors on the meta device, and attention, which would be taken apart into all pairs there."""

    def __init__(self, live: Live) -> None:
        super().__init__()
        self._live = live

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer a question that only values would answer; run everything else."""
        words = kwargs or {}
        first = args[0] if args else words.get("query")
        if isinstance(first, torch.Tensor) and first.is_meta:
            if func is scaled_dot_product_attention:
                return self._attended(**dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)), **words)
            if func in ANSWERS:
                return ANSWERS[func](func, *args, **words)
        return func(*args, **words)

    def _attended(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        self._live.attended += 2.0 * query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        if attn_mask is not None and attn_mask.dtype is torch.bool:
            self._live.briefly(attn_mask.numel() * query.element_size())
        return out


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def size(tensor: torch.Tensor) -> int:
    """Bytes of a tensor's numbers."""
    return tensor.numel() * tensor.element_size()


AUTOCAST = torch.autocast


def _cast(device: str, *given: Any, **words: Any) -> Any:
    """The meta device knows no autocast: there it changes no number, and types follow the weights."""
    return nullcontext() if device == "meta" else AUTOCAST(device, *given, **words)


def _yes(func: Any, tensor: torch.Tensor) -> bool:
    return True


def _inverted(func: Any, mask: torch.Tensor) -> torch.Tensor:
    """The rest of a mask: nothing. It is known by its having no dimension of its own."""
    return mask.new_empty(0, dtype=torch.bool)


def _chosen(func: Any, tensor: torch.Tensor, index: Any) -> Any:
    """All that a mask chooses, nothing by the rest of it; and a cut at a number nobody knows cuts nothing."""
    if isinstance(index, torch.Tensor) and index.dtype is torch.bool:
        return tensor[:0] if not index.numel() else func(tensor, slice(None))
    if isinstance(index, tuple):
        index = tuple(
            slice(None) if isinstance(part, slice) and isinstance(part.stop, torch.Tensor) else part for part in index
        )
    return func(tensor, index)


def _all_places(func: Any, tensor: torch.Tensor, **_: Any) -> torch.Tensor:
    return torch.arange(tensor.numel(), device="meta")[:, None]


ANSWERS: dict[Any, Callable[..., Any]] = {
    torch.Tensor.__bool__: _yes,
    torch.Tensor.__getitem__: _chosen,
    torch.Tensor.__invert__: _inverted,
    torch.nonzero: _all_places,
}
