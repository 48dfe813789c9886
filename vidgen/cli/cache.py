"""cache: what the Hugging Face cache holds of models, and how it is made smaller."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vidgen import hub
from vidgen.backends.store import store
from vidgen.catalog.cards import card, cards
from vidgen.cli import screen
from vidgen.cli.make import example
from vidgen.cli.models import Json
from vidgen.core.amounts import amount
from vidgen.core.card import ModelCard
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.weights import cache as held
from vidgen.weights import place, quantized
from vidgen.weights.order import free

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and stop.")]

cache = typer.Typer(
    help="What the cache holds of models, how large, and for which.",
    invoke_without_command=True,
    epilog=example("vidgen cache", "vidgen cache --json"),
)


@cache.callback()
def every(context: typer.Context, as_json: Json = False) -> None:
    """List what the cache holds of models, the largest first."""
    if context.invoked_subcommand is not None:
        return
    found, copies = held.kept(cards().values()), quantized.kept(cards().values())
    if as_json:
        entries = [{**asdict(entry), "folder": str(entry.folder)} for entry in found]
        facts = {"cache": str(place.root()), "bytes": held.total(), "free_bytes": free()}
        more = [{**asdict(copy), "path": str(copy.path)} for copy in copies]
        screen.data({**facts, "repositories": entries, "quantized": more})
        return
    if found:
        screen.table([["SIZE", "REPOSITORY", "FOR", ""], *(_row(entry) for entry in found)])
    screen.result(f"{amount(held.total())} in {place.root()}, {amount(free())} free")
    if copies:
        rows = [[amount(copy.size), copy.precision, copy.component, _owner(copy)] for copy in copies]
        screen.table([["SIZE", "QUANTIZED", "PART", "OF"], *rows])
        screen.result(f"{amount(sum(copy.size for copy in copies))} in {store()}")


@cache.command(epilog=example("vidgen cache rm ltx-video-2b --dry-run", "vidgen cache rm ltx-video-2b --yes"))
def rm(
    model: Annotated[str, typer.Argument(help="A model, or a repository as `vidgen cache` lists it.")],
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Remove the weights of a model from the cache."""
    known = None if _is_repository(model) else card(model)
    repositories = known.repositories if known else (model,)
    there = [entry for entry in held.kept(cards().values()) if entry.repository in repositories]
    needed = _needed(known, there)
    there = [entry for entry in there if entry.repository not in needed]
    copies = quantized.of(known, [name for name in repositories if name not in needed])
    if not there and not copies:
        named = repositories[0] if len(repositories) == 1 else model
        raise WeightsRefused(f"the cache holds nothing of {named}", "see what it holds: vidgen cache")
    for repository, others in needed.items():
        screen.say(f"vidgen: {repository} stays: {', '.join(others)} needs it too")
    lines = [*(_said(entry) for entry in there), *(f"{one.why}: {one.path} ({amount(one.size)})" for one in copies)]
    if _agreed(lines, dry_run=dry_run, yes=yes):
        for entry in there:
            held.remove(entry.repository)
        held.clear(copies)
        screen.say(f"vidgen: removed {', '.join(entry.repository for entry in there) or model}")


@cache.command(epilog=example("vidgen cache gc --dry-run", "vidgen cache gc --yes"))
def gc(dry_run: DryRun = False, yes: Yes = False) -> None:
    """Remove what no model needs: unfinished downloads, older versions, files of neither, quantized copies of those."""
    found = [*held.waste(cards().values()), *quantized.waste()]
    if not found:
        screen.say("vidgen: nothing to remove")
        return
    lines = [f"{entry.why}: {entry.path}" + (f" ({amount(entry.size)})" if entry.size else "") for entry in found]
    if _agreed(lines, dry_run=dry_run, yes=yes):
        held.clear(found)
        screen.say(f"vidgen: removed {amount(sum(entry.size for entry in found))}")


def attended() -> bool:
    """Whether somebody is there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _row(entry: held.Kept) -> list[str]:
    notes = [f"{amount(entry.shared)} shared with others"] if entry.shared else []
    notes += [f"and {amount(entry.unfinished)} of an unfinished download"] if entry.unfinished else []
    return [amount(entry.size), entry.repository, ", ".join(entry.models) or "-", "; ".join(notes)]


def _said(entry: held.Kept) -> str:
    also = f", which serves {', '.join(entry.models)}" if len(entry.models) > 1 else ""
    stays = f", of which {amount(entry.shared)} stay for others" if entry.shared else ""
    return f"{entry.repository}{also}: {amount(entry.size + entry.unfinished)}{stays}"


def _needed(known: ModelCard | None, there: Sequence[held.Kept]) -> dict[str, list[str]]:
    """Of the repositories of a model that is in several: those that other models which are here need too."""
    if known is None or len(known.repositories) < 2:
        return {}
    others = [one for one in cards().values() if one.name != known.name and not hub.find(one).missing]
    found = {entry.repository: [one.name for one in others if entry.repository in one.repositories] for entry in there}
    return {repository: names for repository, names in found.items() if names}


def _owner(copy: quantized.Quantized) -> str:
    """The models that a copy is for, as far as they have a name."""
    return ", ".join(copy.models) or copy.model


def _is_repository(model: str) -> bool:
    """Whether a repository is meant, and not a model or a folder of weights."""
    return "/" in model and not Path(model).is_dir()


def _agreed(lines: Sequence[str], *, dry_run: bool, yes: bool) -> bool:
    """Whether what is listed may go: said with --yes, or answered on a terminal."""
    for line in lines:
        (screen.result if dry_run else screen.say)(line)
    if dry_run or yes:
        return yes and not dry_run
    if not attended():
        raise UsageRefused("nobody is here to be asked", "add --yes, or --dry-run to look first")
    if typer.confirm("remove this?", err=True):
        return True
    screen.say("vidgen: nothing was removed")
    return False
