"""enhance and duration: what a model would make of a prompt, and how long; no clip."""

from typing import Annotated, Any

import typer

from vidgen.cli import screen
from vidgen.cli.make import Prompt, example, text_of
from vidgen.cli.options import model_names

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="The model that is to read it.", metavar="NAME", autocompletion=model_names),
]
Enhancer = Annotated[
    str | None, typer.Option("--enhancer", help="The folder of a chat model that does it.", metavar="FOLDER")
]
Picture = Annotated[
    str | None, typer.Option("--picture", help="For a clip that begins with this picture.", metavar="IMAGE")
]
PromptFile = Annotated[str | None, typer.Option(help="Read the prompt from a file.", metavar="FILE")]
enhancing = typer.Typer()


@enhancing.command(
    epilog=example(
        'vidgen enhance "a dog runs" --model ltx-video-2b --enhancer ./chat-model',
        'vidgen enhance "she turns her head" --picture first.png --model ltx-video-2b --enhancer ./chat-model',
    )
)
def enhance(
    prompt: Prompt = "",
    model: Model = None,
    enhancer: Enhancer = None,
    picture: Picture = None,
    prompt_file: PromptFile = None,
) -> None:
    """Rewrite a prompt in detail, as a model wants it, and print it: keep it, change it, give it with --prompt-file."""
    from vidgen.enhance import enhance

    given = {"model": model, "enhancer": enhancer}
    typed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    job = enhance(text_of(prompt, prompt_file), picture=picture, **typed)
    for sentence in (*job.notes, *job.adjustments):
        screen.say(f"vidgen: {sentence}")
    screen.result(job.enhanced)


@enhancing.command(
    epilog=example(
        'vidgen duration "a fox walks into a clearing and looks around" --model ./LTX-2.5-Diffusers',
        "vidgen duration --prompt-file prompt.txt --model ./LTX-2.5-Diffusers",
    )
)
def duration(prompt: Prompt = "", model: Model = None, prompt_file: PromptFile = None) -> None:
    """How many seconds a clip of a prompt would naturally last, as LTX-2.5 tells: give them with --seconds."""
    from vidgen.enhance import duration

    typed: dict[str, Any] = {} if model is None else {"model": model}
    screen.result(f"{duration(text_of(prompt, prompt_file), **typed):.2f}")
