"""resume, decode and finalize: go on from what a stopped clip or a draft has left."""

from pathlib import Path
from typing import Annotated

import typer

from vidgen.cli.make import How, Quiet, example
from vidgen.cli.options import CheckpointEvery, Fallback, Json, KeepLatents, Overwrite, Progress, Wait

Folder = Annotated[Path, typer.Argument(help="CLIP.part, or CLIP.latents.", metavar="FOLDER")]
Model = Annotated[str, typer.Option("--model", "-m", help="Its weights, where they are called differently here.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The clip; beside the folder if left out.")]
Draft = Annotated[Path, typer.Argument(help="A clip made with --draft, or its .latents.", metavar="CLIP")]
Final = Annotated[Path | None, typer.Option("--output", "-o", help="The clip; CLIP-final beside it if left out.")]
going_on = typer.Typer()


@going_on.command(epilog=example("vidgen resume circle.mp4.part", "vidgen resume circle.mp4.part -o elsewhere.mp4"))
def resume(
    folder: Folder,
    model: Model = "",
    output: Output = None,
    overwrite: Overwrite = False,
    keep_latents: KeepLatents = False,
    checkpoint_every: CheckpointEvery = 0,
    wait: Wait = False,
    fallback: Fallback = True,
    as_json: Json = False,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
) -> None:
    """Go on with a clip from its .part folder alone, also on another machine."""
    from vidgen.cli.running import perform
    from vidgen.resume import resume

    job = resume(
        folder,
        model=model,
        output=output or "",
        overwrite=overwrite,
        keep_latents=keep_latents,
        checkpoint_every=checkpoint_every,
        wait=wait,
        fallback=fallback,
    )
    perform([job], as_json=as_json, quiet=quiet, progress=progress)


@going_on.command(epilog=example("vidgen decode circle.mp4.latents -o again.mkv", "vidgen decode circle.mp4.part"))
def decode(
    folder: Folder,
    model: Model = "",
    output: Output = None,
    overwrite: Overwrite = False,
    keep_latents: KeepLatents = False,
    wait: Wait = False,
    fallback: Fallback = True,
    as_json: Json = False,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
) -> None:
    """Finish a clip whose latents are done, on any machine that holds its decoder."""
    from vidgen.cli.running import perform
    from vidgen.resume import resume

    job = resume(
        folder,
        decode=True,
        model=model,
        output=output or "",
        overwrite=overwrite,
        keep_latents=keep_latents,
        wait=wait,
        fallback=fallback,
    )
    perform([job], as_json=as_json, quiet=quiet, progress=progress)


@going_on.command(epilog=example("vidgen finalize draft.mp4", "vidgen finalize draft.mp4 -o film.mp4"))
def finalize(
    clip: Draft,
    model: Model = "",
    output: Final = None,
    overwrite: Overwrite = False,
    keep_latents: KeepLatents = False,
    checkpoint_every: CheckpointEvery = 0,
    wait: Wait = False,
    fallback: Fallback = True,
    as_json: Json = False,
    quiet: Quiet = False,
    progress: How = Progress.AUTO,
) -> None:
    """Double and refine a draft, from the latents beside it: the same motion, at the whole size."""
    from vidgen.cli.running import perform
    from vidgen.resume import finalize

    job = finalize(
        clip,
        model=model,
        output=output or "",
        overwrite=overwrite,
        keep_latents=keep_latents,
        checkpoint_every=checkpoint_every,
        wait=wait,
        fallback=fallback,
    )
    perform([job], as_json=as_json, quiet=quiet, progress=progress)
