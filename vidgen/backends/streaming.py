"""Block after block: a model works in the room of two of its blocks, whose weights come one ahead of use.

A block that waits has no weights at all, so that to use one that has not come is an error and never a wrong picture.
Why this is not done by Diffusers' own means: docs/decisions/0014.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.nn import Module, ModuleList, Parameter

from vidgen.backends.apart import Build, Leaves, apart, tie
from vidgen.backends.waiting import Pages, Place, Source, read
from vidgen.core.machine import Device

HELD = "vidgen_stream"
"""Under which a model knows the stream of its blocks."""

Waits: TypeAlias = Callable[[Sequence[Sequence[Place]]], Source]
"""Where blocks wait whose tensors are at these places: there, or in memory."""


def blocks(part: Module, within: str = "") -> dict[str, Module]:
    """The repeated blocks of a model by name, in the order in which it has them: the members of its outermost lists."""
    found: dict[str, Module] = {}
    for name, child in part.named_children():
        if isinstance(child, ModuleList):
            found |= {f"{within}{name}.{number}": block for number, block in enumerate(child)}
        else:
            found |= blocks(child, f"{within}{name}.")
    return found


def from_memory(part: Module, device: str, resident: int) -> None:
    """Let all but the first `resident` blocks of `part` wait in the host's memory; the rest of it goes to `device`."""
    waiting = [Block(name, module) for name, module in list(blocks(part).items())[resident:]]
    pages = Pages(device)
    for block in waiting:
        pages.keep(block.empty())
    _begin(part, waiting, pages, device)


def from_files(part: Module, files: Mapping[str, Place], waits: Waits, device: str, resident: int) -> None:
    """Let all but the first `resident` blocks of `part` wait as `waits` has it; read the rest of it.

    `part` has no weights yet, and `files` says where each is. KeyError where it does not.
    """
    for owner, name, key in _weights(part):
        if key in files:
            like = torch.empty(owner._parameters[name].shape, dtype=files[key].dtype, device="meta")  # type: ignore[union-attr]
            owner._parameters[name] = Parameter(like, requires_grad=False)
    waiting = [Block(name, module) for name, module in list(blocks(part).items())[resident:]]
    later = {key for block in waiting for key in block.keys}
    now = {key: files[key] for key in part.state_dict() if key in files and key not in later}
    once = list(dict.fromkeys(now.values()))
    found = dict(zip(once, read(once), strict=True))
    part.load_state_dict({key: found[place] for key, place in now.items()}, strict=False, assign=True)
    tie(part)
    for block in waiting:
        block.empty()
    _begin(part, waiting, waits([[files[key] for key in block.keys] for block in waiting]), device)


def from_kept(part: Module, kept: Mapping[int, Place], waits: Waits, device: str, resident: int) -> None:
    """The same for a model that is there, none of it read yet: `kept` says by its address where each tensor is."""
    waiting = [Block(name, module) for name, module in list(blocks(part).items())[resident:]]
    places = [[kept[leaf.data_ptr()] for leaf in block.empty()] for block in waiting]
    _begin(part, waiting, waits(places), device)


def stream(part: Any) -> "Stream | None":
    """What brings the blocks of a model; None where they do not wait."""
    found: Stream | None = vars(part).get(HELD) if isinstance(part, Module) else None
    return found


def _begin(part: Module, waiting: Sequence["Block"], source: Source, device: str) -> None:
    if not waiting:
        part.to(device)
        return
    bringing = Stream(waiting, source, device)
    with bringing.standing_in():
        part.to(device)
    vars(part)[HELD] = bringing


def _weights(module: Module, within: str = "") -> Iterator[tuple[Module, str, str]]:
    """Each weight of a module: who owns it, its own name, its whole name."""
    for path, owner in module.named_modules():
        for name, weight in owner._parameters.items():
            if weight is not None:
                yield owner, name, ".".join(part for part in (within, path, name) if part)


class Block:
    """One block: where its weights belong, and how they are put together."""

    def __init__(self, name: str, module: Module) -> None:
        self.module = module
        self._places = [(owner, own) for owner, own, _ in _weights(module)]
        self.keys = [key for _, _, key in _weights(module, name)]
        self._builds: list[tuple[Build, Leaves]] = []

    def empty(self) -> Leaves:
        """Take the weights out: their tensors, in the order in which `fill` takes others."""
        taken = [apart(owner._parameters[name]) for owner, name in self._places]
        self._builds = [(build, [torch.empty_like(leaf, device="meta") for leaf in leaves]) for leaves, build in taken]
        self.rest()
        return [leaf for leaves, _ in taken for leaf in leaves]

    @property
    def like(self) -> Leaves:
        """Tensors without contents, as those that were taken out."""
        return [leaf for _, like in self._builds for leaf in like]

    def fill(self, leaves: Sequence[torch.Tensor]) -> None:
        """Put weights in: they are made of these tensors."""
        left = iter(leaves)
        for (owner, name), (build, like) in zip(self._places, self._builds, strict=True):
            owner._parameters[name] = build([next(left) for _ in like])

    def rest(self) -> None:
        """Leave no weights, not even empty ones: on a processor torch multiplies by those without a word."""
        for owner, name in self._places:
            owner._parameters.pop(name, None)

    def stand_in(self, device: str) -> None:
        """Put in weights of the right shape, kind and device that take no memory: for those who only look at them."""
        self.fill([torch.zeros((), dtype=leaf.dtype, device=device).expand(leaf.shape) for leaf in self.like])


class Stream:
    """Blocks whose weights come when they are used, the next one's meanwhile, and go when they were."""

    def __init__(self, waiting: Sequence[Block], source: Source, device: str) -> None:
        self._blocks, self._source, self._device = list(waiting), source, device
        self._lane = Lane(device)
        self._after = {number: (number + 1) % len(waiting) for number in range(len(waiting))}
        self._last = -1
        self._ahead: tuple[int, Future[Leaves]] | None = None
        self._carrier = ThreadPoolExecutor(1, "blocks")
        self._hooks = [hook for number, block in enumerate(waiting) for hook in self._hooked(number, block)]

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """While it lasts, every block looks as if its weights were there."""
        for block in self._blocks:
            block.stand_in(self._device)
        try:
            yield
        finally:
            for block in self._blocks:
                block.rest()

    def close(self) -> None:
        """Let go of all that waits and of what is on its way."""
        for hook in self._hooks:
            hook.remove()
        self._carrier.shutdown(cancel_futures=True)
        self._ahead = None
        self._lane.close()
        self._source.close()

    def _hooked(self, number: int, block: Block) -> Iterator[Any]:
        yield block.module.register_forward_pre_hook(lambda *_: self._enter(number))
        yield block.module.register_forward_hook(lambda *_: block.rest(), always_call=True)

    def _enter(self, number: int) -> None:
        """Bring the weights of a block, and send for those of the one that followed it the last time."""
        if self._last >= 0:
            self._after[self._last] = number
        self._last = number
        ahead, self._ahead = self._ahead, None
        arriving = ahead[1] if ahead and ahead[0] == number else self._send(number)
        self._blocks[number].fill(self._lane.meet(arriving))
        follower = self._after[number]
        if follower != number:
            self._ahead = (follower, self._send(follower))

    def _send(self, number: int) -> "Future[Leaves]":
        room = self._lane.room(self._blocks[number].like)
        return self._carrier.submit(lambda: self._lane.carry(self._source(number), room))


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Room on the device for the tensors of a block, and the moment from which on nothing computed uses it."""

    leaves: Leaves
    free: Any


class Lane:
    """The way from the host to the device: on a card a stream beside the one that computes, elsewhere a plain copy.

    The host never waits for a card. What is carried waits for all that was to be computed when there was room for it:
    the memory may have been in use by then. And computing waits for what it is to use.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._side: Any = torch.cuda.Stream() if device == Device.CUDA else None  # type: ignore[no-untyped-call]

    def room(self, like: Leaves) -> Room:
        """Room for tensors like these."""
        with self._beside():
            leaves = [torch.empty_like(leaf, device=self._device) for leaf in like]
        return Room(leaves=leaves, free=torch.cuda.current_stream().record_event() if self._side else None)

    def carry(self, leaves: Leaves, room: Room) -> Leaves:
        """Copies of these tensors where there is room for them."""
        if self._side:
            self._side.wait_event(room.free)
        with self._beside():
            for leaf, place in zip(leaves, room.leaves, strict=True):
                place.copy_(leaf, non_blocking=True)
        return room.leaves

    def meet(self, arriving: "Future[Leaves]") -> Leaves:
        """What was sent for, for whatever is computed from here on."""
        leaves = arriving.result()
        if self._side:
            torch.cuda.current_stream().wait_stream(self._side)
        return leaves

    def close(self) -> None:
        """Wait until nothing is on its way."""
        if self._side:
            self._side.synchronize()

    def _beside(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._side) if self._side else nullcontext()
