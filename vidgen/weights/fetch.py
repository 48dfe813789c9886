"""Carries out an order: several files at once, stopped at once, and nothing lost by it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from vidgen import hub
from vidgen.core.errors import WeightsRefused
from vidgen.weights.answers import Line, refusal
from vidgen.weights.order import Item, Order, State
from vidgen.weights.place import length
from vidgen.weights.transfer import Transfer

AT_ONCE = 4
EVERY_S = 0.1
LEAVE_S = 0.5
"""How long a stop waits for the threads. What they have is on disk already; the process ends without them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """How far an order is: bytes in place, of how many, how many of them came over the network; and what is amiss."""

    done: int
    total: int
    fetched: int
    note: str = ""


Listener = Callable[[Moment], None]
News = SimpleQueue[int | str | Exception | None]
"""What the threads tell: bytes more or fewer in place, a sentence, a fault, or None for a file that is done."""


def fetch(order: Order, listener: Listener) -> int:
    """Bring every file of `order`; the number of bytes fetched. The listener stops it by raising.

    Raises a Refusal for what cannot be had, with all that came kept. The same order goes on from there.
    """
    if not order.items:
        return 0
    undone = [item for item in order.items if not _done(order, item)]
    try:
        fetched = _crewed(order, undone, listener) if undone else 0
        if undone:
            _carry(order)
        order.place.refer(order.listing.revision, order.listing.commit)
    except OSError as error:
        raise refusal(error, order.listing.repository, order.listing.revision) from error
    _complete(order)
    return fetched


def _done(order: Order, item: Item) -> bool:
    """Whether a file has its name already: then nothing is written for it, and the cache may be read-only."""
    return item.state is State.HERE and length(order.folder / item.file.name) == item.file.size


def _carry(order: Order) -> None:
    """Name in this commit too what other models have of the repository: else they would lack what is here."""
    for file in order.listing.others:
        if order.place.has(file.etag, file.size):
            order.place.link(order.listing.commit, file.name, file.etag)


def _complete(order: Order) -> None:
    """WeightsRefused when the model is not whole all the same: its index may name what its repository does not hold."""
    missing = hub.find(order.card).missing
    if missing:
        said = f"{order.card.name} is not whole: {', '.join(missing[:3])}"
        raise WeightsRefused(said, f"mend it: vidgen download --repair {order.card.name}")


def _crewed(order: Order, items: Sequence[Item], listener: Listener) -> int:
    order.place.prepare()
    order.place.sweep()
    news, todo = News(), SimpleQueue[Transfer]()
    line = Line(tell=news.put)
    transfers = [
        Transfer(order.listing, item.file, line, news.put, damaged=item.state is State.DAMAGED) for item in items
    ]
    for transfer in sorted(transfers, key=lambda transfer: transfer.file.size):
        todo.put(transfer)
    crew = [Thread(target=_work, args=(todo, news), daemon=True) for _ in range(min(AT_ONCE, len(transfers)))]
    try:
        for thread in crew:
            thread.start()
        _follow(transfers, news, order.size, listener)
    finally:
        line.stop.set()
        deadline = time.monotonic() + LEAVE_S
        for thread in crew:
            thread.join(max(0.0, deadline - time.monotonic()))
    return sum(transfer.fetched for transfer in transfers)


def _work(todo: SimpleQueue[Transfer], news: News) -> None:
    """Bring one file after the other, until none is left or one cannot be had."""
    while True:
        try:
            transfer = todo.get_nowait()
        except Empty:
            return
        try:
            transfer.run()
            news.put(None)
        except Exception as error:
            if not transfer.line.stop.is_set():
                news.put(refusal(error, transfer.listing.repository, transfer.listing.revision))
            return


def _follow(transfers: list[Transfer], news: News, total: int, listener: Listener) -> None:
    """Hear what the threads tell, and tell it on; raise what they could not mend."""
    done, left, said = total - sum(transfer.file.size for transfer in transfers), len(transfers), 0.0
    while left:
        try:
            told = news.get(timeout=EVERY_S)
        except Empty:
            told = 0
        if isinstance(told, Exception):
            raise told
        note = told if isinstance(told, str) else ""
        done, left = done + (told if isinstance(told, int) else 0), left - (told is None)
        if note or not left or time.monotonic() - said >= EVERY_S:
            said = time.monotonic()
            fetched = sum(transfer.fetched for transfer in transfers)
            listener(Moment(done=done, total=total, fetched=fetched, note=note))
