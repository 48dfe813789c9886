"""What a download would do: each file with where it comes from, the sum, and whether the disk has room."""

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from vidgen import hub
from vidgen.core.amounts import amount
from vidgen.core.card import ModelCard
from vidgen.core.errors import OutputRefused, TryLater, UsageRefused, WeightsRefused
from vidgen.core.plan import Weights
from vidgen.weights import place
from vidgen.weights.answers import Line, Offline
from vidgen.weights.listing import Listing, listing
from vidgen.weights.place import Place
from vidgen.weights.wanted import File

SPARE = 64 * 2**20
"""Bytes that stay free on the disk."""


class State(StrEnum):
    """Where a file is before the download."""

    HERE = "here"
    PARTLY = "partly here"
    SHARED = "in another repository here"
    ABSENT = "to fetch"
    DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One file of an order; `have` bytes of it need not be fetched."""

    file: File
    state: State
    have: int
    shared: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What one model needs of one repository. Without items nothing is to be done, and `note` says why.

    `card` is the model's as far as it is in that repository.
    """

    card: ModelCard
    listing: Listing
    items: tuple[Item, ...]
    note: str = ""

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place(self.listing.repository)

    @property
    def folder(self) -> Path:
        """Where the files will have their names."""
        return self.place.snapshot(self.listing.commit)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(item.file.size for item in self.items)

    @property
    def to_fetch(self) -> int:
        """Bytes that come over the network."""
        return sum(item.file.size - item.have for item in self.items)


def orders(cards: Sequence[ModelCard], line: Line) -> list[Order]:
    """The orders of each model. A file that an earlier one brings is not fetched again for a later one."""
    found: list[Order] = []
    for share in (share for card in cards for share in _shares(card)):
        order = _order(share, line)
        coming = {item.file.etag: before.listing.repository for before in found for item in before.items}
        found.append(replace(order, items=tuple(_after(item, order, coming) for item in order.items)))
    return found


def mending(card: ModelCard, damaged: Collection[str], line: Line) -> list[Order]:
    """Orders for what is damaged or missing in the snapshots that are here, each at its own commit."""
    return [_mending(share, damaged, line) for share in _shares(card)]


def _shares(card: ModelCard) -> list[ModelCard]:
    """`card` for each repository that it is in; a folder on this machine is in none."""
    if not card.repositories or card.folder is not None:
        raise UsageRefused(f"{card.name} is a folder on this machine: there is nothing to fetch", "name another model")
    return [card.share(repository) for repository in card.repositories]


def _mending(card: ModelCard, damaged: Collection[str], line: Line) -> Order:
    folder = hub.home(card)
    if folder is None or not (damaged or hub.find(card).missing):
        return _order(card, line)
    order = _listed(replace(card, revision=folder.name), line)
    items = (replace(item, state=State.DAMAGED, have=0) if item.file.etag in damaged else item for item in order.items)
    return replace(order, card=card, items=tuple(items))


def free() -> int:
    """Bytes free where the cache is, or will be."""
    there = next(folder for folder in (place.root(), *place.root().parents) if folder.exists())
    return shutil.disk_usage(there).free


def roomy(found: Iterable[Order]) -> bool:
    """Whether the disk has room for what is to come."""
    needed = sum(order.to_fetch for order in found)
    return not needed or free() >= needed + SPARE


def check_room(found: Sequence[Order]) -> None:
    """OutputRefused (exit 6) when the disk has no room for what is to come."""
    if not roomy(found):
        needed = sum(order.to_fetch for order in found)
        raise OutputRefused(
            f"{amount(needed)} are to come, and {place.root()} has {amount(free())} free",
            "make room (vidgen cache), or set HF_HOME to a larger disk",
        )


def sharers(card: ModelCard, known: Iterable[ModelCard]) -> list[str]:
    """The other models that the same repository serves."""
    return [other.name for other in known if card.repository in other.repositories and other.name != card.name]


def _order(card: ModelCard, line: Line) -> Order:
    """What `card` needs; nothing, when the hub is silent and all of it is here."""
    try:
        return _listed(card, line)
    except (TryLater, Offline) as refusal:
        return _kept(card, refusal)


def _listed(card: ModelCard, line: Line) -> Order:
    found = listing(card, line)
    return Order(card=card, listing=found, items=tuple(_items(found)))


def _kept(card: ModelCard, why: TryLater | Offline) -> Order:
    """Nothing to do, when the hub is silent and the model is whole all the same; otherwise the refusal."""
    here = hub.find(card)
    if here.folder is None or here.missing:
        kind = TryLater if isinstance(why, TryLater) else WeightsRefused
        raise kind(f"{why.message}; {_lacking(card, here)}", why.remedy)
    commit = here.folder.name
    silent = Listing(repository=card.repository, revision=card.revision, commit=commit, gated=False, files=())
    note = f"{why.message}; {card.name} is whole here, as of commit {commit[:7]}"
    return Order(card=card, listing=silent, items=(), note=note)


def _lacking(card: ModelCard, here: Weights) -> str:
    if here.folder is None:
        return f"nothing of {card.name} is here"
    more = f" and {len(here.missing) - 1} more" if len(here.missing) > 1 else ""
    return f"{card.name} lacks {here.missing[0]}{more} here"


def _items(found: Listing) -> Iterator[Item]:
    there = Place(found.repository)
    for file in found.files:
        if there.has(file.etag, file.size):
            yield Item(file=file, state=State.HERE, have=file.size)
        elif near := next(place.neighbours(file.etag, file.size, but=there), None):
            repository = near.parent.parent.name.removeprefix("models--").replace("--", "/")
            yield Item(file=file, state=State.SHARED, have=file.size, shared=repository)
        elif (begun := place.length(there.unfinished(file.etag))) > 0:
            yield Item(file=file, state=State.PARTLY, have=min(begun, file.size))
        else:
            yield Item(file=file, state=State.ABSENT, have=0)


def _after(item: Item, order: Order, coming: dict[str, str]) -> Item:
    """The item, when an earlier order brings the same large file."""
    source = coming.get(item.file.etag, "") if place.is_sha256(item.file.etag) else ""
    if not source or item.state is State.HERE:
        return item
    state = State.HERE if source == order.listing.repository else State.SHARED
    return replace(item, state=state, have=item.file.size, shared="" if state is State.HERE else source)
