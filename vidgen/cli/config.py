"""config: where settings come from."""

import typer

from vidgen.catalog import cards, settings
from vidgen.cli import screen
from vidgen.cli.make import example
from vidgen.cli.models import Json
from vidgen.core.request import Mode
from vidgen.planning.settle import Subject, settle

config = typer.Typer(help="The settings that hold when nothing is typed.", no_args_is_help=True)


@config.command(epilog=example("vidgen config show", "vidgen config show --json"))
def show(as_json: Json = False) -> None:
    """Each setting that is given somewhere, its value, and where it came from; refused when a value makes no sense."""
    found = settings.layers({})
    files = {"project": "vidgen.toml", "user": str(settings.user_file()), "environment": "VIDGEN_*"}
    values: dict[str, tuple[str, str]] = {}
    for origin, layer in found.items():
        for key, value in layer.items():
            values.setdefault(key, (str(value), f"{origin} ({files[origin]})"))
    if as_json:
        screen.data({"settings": {key: {"value": value, "origin": origin} for key, (value, origin) in values.items()}})
        return
    screen.table([["SETTING", "VALUE", "FROM"], *([key, *pair] for key, pair in sorted(values.items()))])
    screen.say(f"the user's configuration is {settings.user_file()}; the project's is ./vidgen.toml")
    name, _ = settings.first(found, "model", "auto")
    card = cards.card(cards.BUILT_IN if name == "auto" else str(name))
    settle(found, card, Subject(mode=Mode.T2V, prompt="x"), fresh_seed=0)
