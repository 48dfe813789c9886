"""models and presets: what there is to choose from."""

from typing import Annotated

import typer

from vidgen import hub
from vidgen.catalog.cards import card, cards
from vidgen.catalog.presets import presets as all_presets
from vidgen.cli import guide, screen
from vidgen.cli.make import Card, Ram, Vram, example, imagined
from vidgen.core.errors import DoesNotFit, UsageRefused
from vidgen.core.request import Mode
from vidgen.planning.advice import Advice, Want, within_reach
from vidgen.planning.advice import recommend as advise
from vidgen.planning.ladder import describe

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]

models = typer.Typer(
    help="The models that vidgen knows, best first.",
    invoke_without_command=True,
    epilog=example("vidgen models", "vidgen models --json"),
)


tastes = typer.Typer()


@models.callback()
def every(context: typer.Context, as_json: Json = False) -> None:
    """List the models, best first."""
    if context.invoked_subcommand is not None:
        return
    known = [(entry, hub.find(entry).missing == ()) for entry in cards().values()]
    if as_json:
        screen.data({"models": [guide.facts(entry, here=here) for entry, here in known]})
        return
    for line in guide.listed(known):
        screen.result(line)


@models.command(epilog=example("vidgen models show pocket", "vidgen models show ltx-video-2b --json"))
def show(name: Annotated[str, typer.Argument(help="A model's name or alias.")], as_json: Json = False) -> None:
    """Everything that is known of one model."""
    entry = card(name)
    here = hub.find(entry).missing == ()
    if as_json:
        screen.data(guide.facts(entry, here=here))
        return
    for line in guide.shown(entry, here=here):
        screen.result(line)


Wanted = Annotated[Want, typer.Option("--want", help="What matters most.")]
For = Annotated[Mode, typer.Option("--mode", help="What it is to be made from.")]


@models.command(
    epilog=example("vidgen models recommend", "vidgen models recommend --vram 12 --want fast --mode i2v --json")
)
def recommend(
    want: Wanted = Want.BEST,
    mode: For = Mode.T2V,
    vram: Vram = None,
    ram: Ram = None,
    gpu: Card = None,
    as_json: Json = False,
) -> None:
    """Which model to take, on this machine or another: an ordered answer with reasons."""
    machine = imagined(vram, ram, gpu)
    found = advise(cards().values(), machine, want, mode)
    if as_json:
        screen.data({"recommended": [_advice(one) for one in found]})
    else:
        _say(found)
    if not found:
        raise UsageRefused(f"no model does that in {mode}", "see them all: vidgen models")
    if not any(one.plan for one in found):
        change = within_reach(found, machine, mode)
        raise DoesNotFit(
            f"no model's own clip fits {machine.name}",
            f"nearest that fits: vidgen {mode} {change}" if change else "see what the smallest needs: vidgen models",
        )


def _say(found: list[Advice]) -> None:
    fitting = [one for one in found if one.plan]
    for number, one in enumerate(fitting, 1):
        screen.result(f"{number}. {one.card.name}: {one.card.summary}")
        for reason in one.reasons:
            screen.result(f"     {reason}")
        here = (
            "here already"
            if hub.find(one.card).missing == ()
            else f"{guide.weights(one.card)}; {hub.command(one.card)}"
        )
        screen.result(f"     {here}")
    for one in found[len(fitting) :]:
        screen.result(f"too large: {one.card.name}. {one.reasons[0]}")


def _advice(one: Advice) -> dict[str, object]:
    plan = one.plan
    return {
        "name": one.card.name,
        "fits": plan is not None,
        "reasons": list(one.reasons),
        "rung": describe(plan.rung) if plan else "",
        "peak_gib": round(plan.peak_gib, 3) if plan else None,
        "fetch": hub.command(one.card),
    }


@tastes.command(epilog=example("vidgen presets", "vidgen presets --json"))
def presets(as_json: Json = False) -> None:
    """The presets: named tastes, a few settings each."""
    known = all_presets().values()
    if as_json:
        screen.data({"presets": [{"name": p.name, "summary": p.summary, "settings": dict(p.values)} for p in known]})
        return
    rows = [["NAME", "SETS", "FOR"]]
    rows += [[p.name, " ".join(f"{key}={value}" for key, value in p.values.items()), p.summary] for p in known]
    screen.table(rows)
