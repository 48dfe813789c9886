"""The command line: which commands there are, and how a process ends."""

import os
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from vidgen import __version__
from vidgen.cli import screen
from vidgen.cli.cache import cache
from vidgen.cli.config import config
from vidgen.cli.diff import comparing
from vidgen.cli.doctor import health
from vidgen.cli.download import fetching
from vidgen.cli.enhance import enhancing
from vidgen.cli.make import example, making, planning
from vidgen.cli.models import models, tastes
from vidgen.cli.resume import going_on
from vidgen.cli.smoke import test
from vidgen.cli.view import view
from vidgen.core.errors import Refusal

app = typer.Typer(
    name="vidgen",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example('vidgen t2v "a red circle moving right on a blue background"', "vidgen models"),
)

DASH = '; a prompt that begins with a dash goes behind two: vidgen t2v -- "-3 degrees and snow"'


def _version(asked: bool) -> None:
    if asked:
        screen.result(f"vidgen {__version__}")
        raise typer.Exit


@app.callback()
def vidgen(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which vidgen this is.")
    ] = False,
) -> None:
    """Make videos from words and pictures on your own machine."""


app.add_typer(making)
app.add_typer(going_on)
app.add_typer(enhancing)
app.add_typer(planning, name="plan")
app.add_typer(models, name="models")
app.add_typer(tastes)
app.add_typer(fetching)
app.add_typer(cache, name="cache")
app.add_typer(view)
app.add_typer(comparing)
app.add_typer(config, name="config")
app.add_typer(health)
app.add_typer(test)


def start(words: Sequence[str]) -> int:
    """Run one command line; the exit code, with whatever went wrong already said."""
    screen.prepare_streams()
    try:
        code = app(list(words), prog_name="vidgen", standalone_mode=False)
    except Refusal as refusal:
        if os.environ.get("VIDGEN_DEBUG"):
            screen.say(traceback.format_exc())
        screen.refuse(refusal)
        return refusal.exit_code
    except typer.TyperException as error:
        _say(error)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except SystemExit as ended:
        if ended.code != 1:
            raise
        return 0  # the reader of --help has gone away: Typer ends so, and it is no error
    except Exception:
        screen.say(traceback.format_exc())
        screen.say("vidgen: this is a bug of ours; please report it with the lines above")
        return 1
    return code if isinstance(code, int) else 0


def _say(error: typer.TyperException) -> None:
    """What is wrong with a command line, and whose help to read; nothing where the help has just been shown."""
    said, context = error.format_message().replace("Value error, ", ""), getattr(error, "ctx", None)
    if said:
        screen.say(f"vidgen: {said}")
        dash = DASH if type(error).__name__ == "NoSuchOption" else ""
        screen.say(f"    see {context.command_path if context else 'vidgen'} --help{dash}")
