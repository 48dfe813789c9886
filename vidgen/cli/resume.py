"""resume, decode and finalize: go on from what a stopped clip or a draft has left."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from vidgen.cli.make import How, Quiet, example
from vidgen.cli.options import CheckpointEvery, Progress, onward
from vidgen.core.plan import Job

Folder = Annotated[Path, typer.Argument(help="CLIP.part, or CLIP.latents.", metavar="FOLDER")]
Model = Annotated[str, typer.Option("--model", "-m", help="Its weights, where they are called differently here.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The clip; beside the folder if left out.")]
Draft = Annotated[Path, typer.Argument(help="A clip made with --draft, or its .latents.", metavar="CLIP")]
Final = Annotated[Path | None, typer.Option("--output", "-o", help="The clip; CLIP-final beside it if left out.")]
going_on = typer.Typer()


@going_on.command(epilog=example("vidgen resume circle.mp4.part", "vidgen resume circle.mp4.part -o elsewhere.mp4"))
@onward
def resume(
    folder: Folder,
    model: Model = "",
    output: Output = None,
    checkpoint_every: CheckpointEvery = 0,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
    **given: Any,
) -> None:
    """Go on with a clip from its .part folder alone, also on another machine."""
    from vidgen.resume import resume

    given |= {"model": model, "output": output or "", "checkpoint_every": checkpoint_every}
    _go_on(resume, folder, quiet=quiet, progress=progress, **given)


@going_on.command(epilog=example("vidgen decode circle.mp4.latents -o again.mkv", "vidgen decode circle.mp4.part"))
@onward
def decode(
    folder: Folder,
    model: Model = "",
    output: Output = None,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
    **given: Any,
) -> None:
    """Finish a clip whose latents are done, on any machine that holds its decoder."""
    from vidgen.resume import resume

    _go_on(resume, folder, decode=True, model=model, output=output or "", quiet=quiet, progress=progress, **given)


@going_on.command(epilog=example("vidgen finalize draft.mp4", "vidgen finalize draft.mp4 -o film.mp4"))
@onward
def finalize(
    clip: Draft,
    model: Model = "",
    output: Final = None,
    checkpoint_every: CheckpointEvery = 0,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
    **given: Any,
) -> None:
    """Double and refine a draft, from the latents beside it: the same motion, at the whole size."""
    from vidgen.resume import finalize

    given |= {"model": model, "output": output or "", "checkpoint_every": checkpoint_every}
    _go_on(finalize, clip, quiet=quiet, progress=progress, **given)


def _go_on(
    begin: Callable[..., Job],
    begun: Path,
    *,
    typed: dict[str, Any],
    json: bool,
    quiet: bool,
    progress: Progress,
    **given: Any,
) -> None:
    from vidgen.cli.running import perform

    perform([begin(begun, limits=typed, **given)], as_json=json, quiet=quiet, progress=progress)
