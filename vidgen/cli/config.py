"""config: where settings come from."""

import typer

from vidgen.catalog import settings
from vidgen.cli import screen
from vidgen.cli.make import example
from vidgen.cli.models import Json

config = typer.Typer(help="The settings that hold when nothing is typed.", no_args_is_help=True)


@config.command(epilog=example("vidgen config show", "vidgen config show --json"))
def show(as_json: Json = False) -> None:
    """Each setting that is given somewhere, its value, and where it came from."""
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
