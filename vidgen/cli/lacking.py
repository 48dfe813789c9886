"""Weights that a clip lacks: fetched with --download, or when a person at a terminal says yes; else refused."""

import sys
from collections.abc import Sequence
from itertools import groupby

from vidgen import hub
from vidgen.catalog.cards import cards
from vidgen.cli import screen
from vidgen.cli.cache import attended
from vidgen.cli.options import Progress
from vidgen.cli.transfers import shown, stoppable
from vidgen.core.amounts import amount
from vidgen.core.card import ModelCard
from vidgen.core.errors import TryLater, WeightsRefused
from vidgen.core.plan import Job
from vidgen.weights import order as ordering
from vidgen.weights import place
from vidgen.weights.answers import Line
from vidgen.weights.fetch import fetch
from vidgen.weights.order import Order

STAYS = "what came stays: the same command goes on from there"


def brought(jobs: Sequence[Job], *, told: bool, how: Progress, may_ask: bool) -> bool:
    """Whether the weights that `jobs` lack were fetched: `told` to, or allowed to. Refuses as a download does."""
    wanted = list({job.card.name: job.card for job in jobs if _fetchable(job)}.values())
    if not wanted or not (told or (may_ask and attended())):
        return False
    line = Line() if how is Progress.OFF else Line(tell=lambda sentence: screen.say(f"vidgen: {sentence}"))
    with stoppable(STAYS):
        found = ordering.orders(wanted, line) if told else _seen(wanted, line)
        if not any(order.items for order in found) or not (told or _allowed(found)):
            return False
        _fetch(found, how)
    return True


def _fetchable(job: Job) -> bool:
    """Whether a job lacks weights that a download brings; damaged ones want a repair, and are refused with it."""
    lacks = job.weights.missing and not job.skip and hub.command(job.card)
    return bool(lacks) and not any(name.endswith(")") for name in job.weights.missing)


def _seen(wanted: Sequence[ModelCard], line: Line) -> list[Order]:
    """What would be fetched; nothing without a hub: then there is nothing to ask."""
    try:
        return ordering.orders(wanted, line)
    except (TryLater, WeightsRefused):
        return []


def _allowed(found: Sequence[Order]) -> bool:
    """What a person says to the download; the one that is not made unless they say yes."""
    models = dict.fromkeys(order.card.name for order in found)
    names = " and ".join(models)
    shared = {other for order in found for other in ordering.sharers(order.card, cards().values())} - set(models)
    serves = f" (serves {', '.join(sorted(shared))} too)" if shared else ""
    screen.say(f"vidgen: {names} is not on this machine{serves}")
    needed = amount(sum(order.to_fetch for order in found))
    question = f"fetch {needed}? {amount(ordering.free())} are free in {place.root()} [y/N] "
    sys.stderr.write(screen.harmless(question))  # a library's prompt would write to stdout too
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _fetch(found: Sequence[Order], how: Progress) -> None:
    ordering.check_room(found)
    for name, group in groupby(found, key=lambda order: order.card.name):
        fetched = 0
        for order in group:
            with shown("download", how) as show:
                fetched += fetch(order, show)
        if how is not Progress.OFF:
            screen.say(f"vidgen: {name} is here; fetched {amount(fetched)}")
