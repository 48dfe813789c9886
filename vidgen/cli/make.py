"""t2v, i2v and keyframe, and the plan of each: words to the story, results to the screen."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vidgen import probe
from vidgen.catalog import gpus
from vidgen.cli import screen
from vidgen.cli.options import RUN, Progress, shared
from vidgen.cli.plans import as_data, show
from vidgen.cli.progress import display
from vidgen.core.errors import InputRefused, UsageRefused
from vidgen.core.machine import Machine
from vidgen.core.plan import Job
from vidgen.core.request import Mode
from vidgen.core.words import gib
from vidgen.prepare import prepare

LARGEST_PROMPT = 1 << 20

Prompt = Annotated[str, typer.Argument(help="What the clip shows; - reads it from stdin.", metavar="PROMPT")]
Picture = Annotated[str, typer.Argument(help="The first frame.", metavar="IMAGE")]
At = Annotated[
    list[str] | None,
    typer.Option(
        help="A picture and where it stands: 0, 24, -1 or 1.5s; may be given again.", metavar="FRAME:IMAGE[:STRENGTH]"
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and stop.", rich_help_panel=RUN)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=RUN)]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch the model's weights where they are not here.", rich_help_panel=RUN)
]
How = Annotated[Progress, typer.Option(help="How progress is shown.", rich_help_panel=RUN)]

Vram = Annotated[
    str | None,
    typer.Option(
        "--vram", help="Plan for a machine with a CUDA card of so many GiB.", metavar="GIB", rich_help_panel=RUN
    ),
]
Ram = Annotated[
    str | None,
    typer.Option("--ram", help="Plan for a machine with so many GiB of RAM.", metavar="GIB", rich_help_panel=RUN),
]
Card = Annotated[
    str | None,
    typer.Option("--gpu", help="Plan for a machine with such a card: 4090, h100.", metavar="NAME", rich_help_panel=RUN),
]
Exact = Annotated[
    bool,
    typer.Option(
        "--exact", help="Count the very clip with the model's real classes, without weights.", rich_help_panel=RUN
    ),
]

making = typer.Typer()
planning = typer.Typer(help="Say everything that would happen, and do nothing.", no_args_is_help=True)


def example(*lines: str) -> str:
    """The examples under a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines)


@making.command(
    epilog=example(
        'vidgen t2v "a red circle moving right on a blue background" -o circle.mp4',
        'vidgen t2v "a green square, growing" --size 96x64 --seed 1..3 -o "{seed}.webm"',
    )
)
@shared
def t2v(
    prompt: Prompt = "",
    dry_run: DryRun = False,
    download: Download = False,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
    **given: Any,
) -> None:
    """Make a clip from words."""
    _make(Mode.T2V, prompt, dry_run=dry_run, download=download, quiet=quiet, progress=progress, **given)


@making.command(
    epilog=example(
        'vidgen i2v first.png "a red circle moving right" -o moving.mp4',
        'vidgen i2v first.png "a red circle, still" --fit pad --background white -o still.gif',
    )
)
@shared
def i2v(
    image: Picture,
    prompt: Prompt = "",
    dry_run: DryRun = False,
    download: Download = False,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
    **given: Any,
) -> None:
    """Make a clip that begins with a picture."""
    _make(Mode.I2V, prompt, picture=image, dry_run=dry_run, download=download, quiet=quiet, progress=progress, **given)


@making.command(
    epilog=example(
        'vidgen keyframe --at 0:first.png --at -1:last.png "a red circle moving right" -o between.mp4',
        'vidgen keyframe --at 1s:first.png:0.8 "a red circle" --seconds 2 -o through.mp4',
    )
)
@shared
def keyframe(
    prompt: Prompt = "",
    at: At = None,
    dry_run: DryRun = False,
    download: Download = False,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
    **given: Any,
) -> None:
    """Make a clip that passes through pictures."""
    _make(
        Mode.KEYFRAME,
        prompt,
        at=at or (),
        dry_run=dry_run,
        download=download,
        quiet=quiet,
        progress=progress,
        **given,
    )


@planning.command(
    "t2v",
    epilog=example(
        'vidgen plan t2v "a red circle" --model ltx-video-2b --gpu 4090',
        'vidgen plan t2v "a red circle" --size 100x60 --frames 20 --json',
    ),
)
@shared
def plan_t2v(
    prompt: Prompt = "", vram: Vram = None, ram: Ram = None, gpu: Card = None, exact: Exact = False, **given: Any
) -> None:
    """What `vidgen t2v` would do."""
    _plan(Mode.T2V, prompt, imagined(vram, ram, gpu), vram, exact, **given)


@planning.command(
    "i2v",
    epilog=example('vidgen plan i2v first.png "a red circle"', 'vidgen plan i2v first.png "a red circle" --json'),
)
@shared
def plan_i2v(
    image: Picture,
    prompt: Prompt = "",
    vram: Vram = None,
    ram: Ram = None,
    gpu: Card = None,
    exact: Exact = False,
    **given: Any,
) -> None:
    """What `vidgen i2v` would do."""
    _plan(Mode.I2V, prompt, imagined(vram, ram, gpu), vram, exact, picture=image, **given)


@planning.command(
    "keyframe",
    epilog=example(
        'vidgen plan keyframe --at 0:first.png "a red circle"',
        'vidgen plan keyframe --at 0:first.png --at -1:last.png "a red circle" --frames 9',
    ),
)
@shared
def plan_keyframe(
    prompt: Prompt = "",
    at: At = None,
    vram: Vram = None,
    ram: Ram = None,
    gpu: Card = None,
    exact: Exact = False,
    **given: Any,
) -> None:
    """What `vidgen keyframe` would do."""
    _plan(Mode.KEYFRAME, prompt, imagined(vram, ram, gpu), vram, exact, at=at or (), **given)


def _make(
    mode: Mode, prompt: str, *, dry_run: bool, download: bool, quiet: bool, progress: Progress, **given: Any
) -> None:
    from vidgen.cli.running import perform

    as_json, text = given.pop("json"), text_of(prompt, given.pop("prompt_file"))
    jobs = _jobs(mode, text, **given)
    if dry_run:
        _print_plan(jobs, as_json=as_json)
        return
    if any(job.weights.missing for job in jobs):
        from vidgen.cli.lacking import brought

        how = Progress.OFF if quiet else progress
        if brought(jobs, told=download, how=how, may_ask=not (quiet or as_json)):
            jobs = _jobs(mode, text, **given)
    perform(jobs, as_json=as_json, quiet=quiet, progress=progress)


def imagined(vram: str | None, ram: str | None, gpu: str | None) -> Machine:
    """This machine with another card or memory, where one is named."""
    vram_gib, ram_gib = (
        None if said is None else gib(f"--{name}", said, least=0.0) for name, said in (("vram", vram), ("ram", ram))
    )
    return gpus.rated(probe.imagined(vram_gib=vram_gib, ram_gib=ram_gib, gpu=None if gpu is None else gpus.gpu(gpu)))


def _plan(mode: Mode, prompt: str, machine: Machine, vram: str | None, exact: bool, **given: Any) -> None:
    """Plan for `machine`; the card that `vram` stands for is there to be used whole, whatever a variable says."""
    if vram is not None:
        given["typed"] = {**given["typed"], "vram": "auto"}
    as_json, text = given.pop("json"), text_of(prompt, given.pop("prompt_file"))
    if not exact:
        _print_plan(_jobs(mode, text, machine=machine, **given), as_json=as_json)
        return
    with display(Progress.AUTO) as shown:
        jobs = _jobs(mode, text, machine=machine, counting=shown.event, **given)
    _print_plan(jobs, as_json=as_json)


def _print_plan(jobs: Sequence[Job], *, as_json: bool) -> None:
    if as_json:
        for job in jobs:
            screen.data(as_data(job))
    else:
        show(jobs)


def _jobs(mode: Mode, text: str, *, typed: dict[str, Any], **given: Any) -> list[Job]:
    given["lora"] = given["lora"] or ()
    return prepare(mode, prompt=text, **given, **{key: value for key, value in typed.items() if value is not None})


def text_of(prompt: str, file: str | None) -> str:
    """The prompt, from the argument, from stdin or from a file."""
    if prompt and file:
        raise UsageRefused("both a prompt and --prompt-file are given", "give one of them")
    if prompt == "-":
        raw = sys.stdin.buffer.read(LARGEST_PROMPT + 1)
    elif file:
        try:
            with Path(file).open("rb") as opened:
                raw = opened.read(LARGEST_PROMPT + 1)
        except OSError as error:
            raise InputRefused(f"{file} cannot be read: {error.strerror}", "check the path") from error
        except ValueError as error:
            raise InputRefused(f"{file!r} is no name of a file: {error}", "check the path") from error
    else:
        raw = _bytes(prompt)
    if len(raw) > LARGEST_PROMPT:
        raise InputRefused("the prompt is longer than 1 MiB", "a prompt is a few sentences")
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputRefused("the prompt is not valid UTF-8", "save it as UTF-8 and use --prompt-file") from error


def _bytes(prompt: str) -> bytes:
    """What a shell gave a Python that took it for ASCII."""
    try:
        return prompt.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return prompt.encode("utf-8", "surrogatepass")  # half a character, which is refused with everything else
