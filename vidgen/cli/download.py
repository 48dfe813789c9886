"""download: weights from the hub into the cache; and a second look at those that are there."""

import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from vidgen.catalog.cards import BUILT_IN, card, cards
from vidgen.cli import screen
from vidgen.cli.make import How, Quiet, example
from vidgen.cli.models import Json
from vidgen.cli.options import Progress, model_names
from vidgen.cli.transfers import shown, stoppable
from vidgen.core import words
from vidgen.core.amounts import amount, several
from vidgen.core.card import ModelCard
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.request import Gguf
from vidgen.ggufs import carried
from vidgen.planning.check import named
from vidgen.weights import order as ordering
from vidgen.weights import place
from vidgen.weights.answers import Line
from vidgen.weights.fetch import Moment, fetch
from vidgen.weights.listing import exposed
from vidgen.weights.order import Order, State
from vidgen.weights.verify import Seen, Verdict, size, verify

STAYS = "what came stays: the same command goes on from there"
Names = Annotated[
    list[str],
    typer.Argument(help="Models to fetch, by name or alias.", metavar="MODEL", autocompletion=model_names),
]

fetching = typer.Typer()


@fetching.command(epilog=example("vidgen download ltx-video-2b --dry-run", "vidgen download ltx-video-2b"))
def download(
    models: Names,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List files, sizes and room on the disk, and stop.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--verify", help="Fetch nothing: hash what is here again, and name what is damaged.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Hash what is here again, and fetch what is damaged or missing.")
    ] = False,
    gguf: Annotated[
        list[str] | None,
        typer.Option(help="Leave out the transformer that comes from this GGUF file.", metavar="[NAME=]FILE"),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
) -> None:
    """Fetch the weights of models into the Hugging Face cache: the files that vidgen reads, and no others.

    A download that was stopped goes on where it was. Each file is checked against its hash on the hub.
    """
    if check + repair + dry_run > 1:
        raise UsageRefused("--dry-run, --verify and --repair are three things", "give one of them")
    files = words.ggufs(gguf or ())
    known = list({entry.name: _without(entry, files) for entry in map(_known, models)}.values())
    how = Progress.OFF if quiet else progress
    if check:
        _check(known, as_json=as_json, how=how)
        return
    with stoppable(STAYS):
        found = _mending(known, how) if repair else ordering.orders(_fetchable(known, quiet=quiet), _line(how))
        if dry_run:
            _print(found, as_json=as_json)
        else:
            _fetch(found, as_json=as_json, how=how)


def _known(name: str) -> ModelCard:
    """The model called `name`, or the best one that the repository called so serves."""
    for entry in sorted(cards().values(), key=lambda entry: entry.repository != name):
        if name in entry.repositories:
            return entry
    if "/" in name and not Path(name).is_dir():
        raise UsageRefused(f"{name} is no model that vidgen knows", "see them all: vidgen models")
    return card(name)


def _without(entry: ModelCard, files: tuple[Gguf, ...]) -> ModelCard:
    """The model without the weights that these files replace."""
    named(files, entry)
    return carried(entry, files)


def _line(how: Progress) -> Line:
    """The line to the hub, which tells a person why it waits."""
    return Line() if how is Progress.OFF else Line(tell=lambda sentence: screen.say(f"vidgen: {sentence}"))


def _fetchable(known: Sequence[ModelCard], *, quiet: bool) -> list[ModelCard]:
    """The models that have to be fetched; the built-in one is there, which is said."""
    if not quiet and any(entry.name == BUILT_IN for entry in known):
        screen.say(f"vidgen: {BUILT_IN} is built in: there is nothing to fetch")
    return [entry for entry in known if entry.name != BUILT_IN]


def _fetch(found: Sequence[Order], *, as_json: bool, how: Progress) -> None:
    """Say what will happen, make it happen, and give the folders of each model."""
    if how is not Progress.OFF:
        for line in (*_lines([order for order in found if not _settled(order)]), exposed()):
            if line:
                screen.say(line)
    ordering.check_room(found)
    for name, group in groupby(found, key=lambda order: order.card.name):
        parts = list(group)
        began = time.monotonic()
        fetched = sum(_brought(order, as_json=as_json, how=how) for order in parts)
        seconds = time.monotonic() - began
        if how is not Progress.OFF and any(order.items for order in parts):
            came = f"fetched {amount(fetched)} in {seconds:.1f} s" if fetched else "nothing was to be fetched"
            screen.say(f"vidgen: {name} is here; {came}")


def _brought(order: Order, *, as_json: bool, how: Progress) -> int:
    """Carry out one order, and give its folder; the bytes that were fetched."""
    began = time.monotonic()
    with shown("download", how) as show:
        fetched = fetch(order, show)
    if as_json:
        screen.data({**_data(order), "fetched": fetched, "seconds": round(time.monotonic() - began, 3)})
    else:
        screen.result(str(order.folder))
    return fetched


def _settled(order: Order) -> bool:
    """Whether every file of an order is here already: then there is nothing to list."""
    return bool(order.items) and all(item.state is State.HERE for item in order.items)


def _print(found: Sequence[Order], *, as_json: bool) -> None:
    if as_json:
        cache = {"cache": str(place.root()), "free_bytes": ordering.free()}
        screen.data({"models": [_data(order) for order in found], **cache})
        return
    for line in _lines(found):
        screen.result(line)


def _lines(found: Sequence[Order]) -> list[str]:
    """What will happen, file by file, and the sum."""
    lines: list[str] = []
    for order in found:
        lines += [*_head(order), *(f"  {line}" for line in screen.columns(_rows(order)))]
    if any(order.items for order in found):
        needed, total = sum(order.to_fetch for order in found), sum(order.size for order in found)
        count = several(sum(len(order.items) for order in found), "file")
        room = f"{amount(ordering.free())} free in {place.root()}"
        lacking = "" if ordering.roomy(found) else ", which is too little"
        lines.append(f"{count}, {amount(total)}; {amount(needed)} to fetch; {room}{lacking}")
    return lines


def _head(order: Order) -> list[str]:
    if order.note:
        return [f"vidgen: {order.note}"]
    gated = "; gated: its licence has to be accepted on the hub" if order.listing.gated else ""
    others = ordering.sharers(order.card, cards().values())
    shares = f"; serves {', '.join(others)} too" if others else ""
    return [f"{order.card.name}: {order.listing.repository}, commit {order.listing.commit[:7]}{gated}{shares}"]


def _rows(order: Order) -> list[list[str]]:
    return [[item.file.name, amount(item.file.size), _state(item)] for item in order.items]


def _state(item: ordering.Item) -> str:
    match item.state:
        case State.PARTLY:
            return f"{amount(item.have)} here"
        case State.SHARED:
            return f"shared with {item.shared}"
        case State.HERE | State.ABSENT | State.DAMAGED:
            return str(item.state)


def _data(order: Order) -> dict[str, Any]:
    files = [
        {
            "name": item.file.name,
            "bytes": item.file.size,
            "hash": item.file.etag,
            "state": item.state.name.lower(),
            "have_bytes": item.have,
            "shared_with": item.shared,
        }
        for item in order.items
    ]
    return {
        "model": order.card.name,
        "repository": order.listing.repository,
        "commit": order.listing.commit,
        "gated": order.listing.gated,
        "folder": str(order.folder),
        "bytes": order.size,
        "fetch_bytes": order.to_fetch,
        "files": files,
        "note": order.note,
    }


def _check(known: Sequence[ModelCard], *, as_json: bool, how: Progress) -> None:
    """Look at every file again; refuse (exit 4) when one is not what it was."""
    with stoppable("nothing was changed"):
        looks = [(entry, _look(entry, how)) for entry in known]
    for entry, seen in looks:
        if as_json:
            files = [{"name": one.name, "bytes": one.size, "verdict": one.verdict.name.lower()} for one in seen]
            screen.data({"model": entry.name, "whole": not _faults(seen), "files": files})
        else:
            screen.table([[one.name, amount(one.size), str(one.verdict)] for one in seen])
    for entry, seen in looks:
        if faults := _faults(seen):
            said = ", ".join(f"{one.name} is {one.verdict}" for one in faults[:3])
            more = f" and {several(len(faults) - 3, 'file')} more" if len(faults) > 3 else ""
            raise WeightsRefused(f"{entry.name}: {said}{more}", f"mend it: vidgen download --repair {entry.name}")


def _look(entry: ModelCard, how: Progress) -> list[Seen]:
    done, total = 0, size(entry)
    with shown("verify", how) as show:

        def told(count: int) -> None:
            nonlocal done
            done += count
            show(Moment(done=done, total=total, fetched=0))

        return verify(entry, told)


def _faults(seen: Sequence[Seen]) -> list[Seen]:
    return [one for one in seen if one.verdict in (Verdict.DAMAGED, Verdict.MISSING)]


def _mending(known: Sequence[ModelCard], how: Progress) -> list[Order]:
    """Orders for what is damaged or missing."""
    damaged = {entry.name: {one.etag for one in _look(entry, how) if one.verdict is Verdict.DAMAGED} for entry in known}
    return [order for entry in known for order in ordering.mending(entry, damaged[entry.name], _line(how))]
