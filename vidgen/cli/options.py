"""The options that t2v, i2v, keyframe and plan share, said once.

`shared` gives a command all of them; the command itself receives what was typed as one mapping.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer


class Progress(StrEnum):
    """How progress is shown."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    OFF = "off"


def model_names(incomplete: str) -> list[tuple[str, str]]:
    """The models whose names begin so, for the shell's completion."""
    from vidgen.catalog.cards import cards

    return [(name, card.summary) for name, card in cards().items() if name.startswith(incomplete)]


def _presets(incomplete: str) -> list[tuple[str, str]]:
    from vidgen.catalog.presets import presets

    return [(name, preset.summary) for name, preset in presets().items() if name.startswith(incomplete)]


def _text(flags: str, what: str, panel: str, **more: Any) -> Any:
    return Annotated[str | None, typer.Option(*flags.split(), help=what, rich_help_panel=panel, **more)]


def _switch(flags: str, what: str, panel: str) -> Any:
    return Annotated[bool | None, typer.Option(flags, help=what, rich_help_panel=panel)]


CLIP, TASTE, OUT, RUN = "The clip", "How it is made", "The file", "The run"

SETTINGS: Mapping[str, Any] = {
    "model": _text(
        "--model -m", "A model's name, a folder of weights, or auto.", TASTE, metavar="NAME", autocompletion=model_names
    ),
    "gguf": Annotated[
        list[str] | None,
        typer.Option(
            "--gguf",
            help="A GGUF file that the transformer comes from; NAME: of several, which. May be given again.",
            metavar="[NAME=]FILE",
            rich_help_panel=TASTE,
        ),
    ],
    "preset": _text(
        "--preset -p", "A named taste; see `vidgen presets`.", TASTE, metavar="NAME", autocompletion=_presets
    ),
    "negative": _text("--negative -n", "What the clip should not show.", CLIP, metavar="TEXT"),
    "enhance": _switch(
        "--enhance/--no-enhance", "Rewrite the prompt first, as the model wants it; see `enhance`.", CLIP
    ),
    "enhancer": _text(
        "--enhancer", "The folder of a chat model that does so; implies --enhance.", CLIP, metavar="FOLDER"
    ),
    "size": _text("--size -s", "WIDTHxHEIGHT, a part such as 50%, or a shape such as 9:16.", CLIP, metavar="WxH"),
    "frames": _text("--frames -f", "Length in frames.", CLIP, metavar="N"),
    "seconds": _text("--seconds", "Length in seconds, instead of --frames.", CLIP, metavar="S"),
    "fps": _text("--fps", "Frames a second: 24, 23.976, 24000/1001.", CLIP, metavar="RATE"),
    "steps": _text("--steps", "Denoising steps, or a part of the model's own such as 50%.", TASTE, metavar="N"),
    "guidance_scale": _text("--guidance-scale -g", "How closely to follow the prompt.", TASTE, metavar="X"),
    "true_cfg_scale": _text(
        "--true-cfg-scale",
        "Classifier-free guidance for a model whose guidance is embedded: reads --negative, takes twice the time.",
        TASTE,
        metavar="X",
    ),
    "seed": _text("--seed", "A seed, a range 1..8 or a list 3,5,9: one clip each.", TASTE, metavar="SEEDS"),
    "fit": _text("--fit", "How pictures of another shape are fitted: crop, pad, stretch.", CLIP, metavar="HOW"),
    "background": _text("--background", "Colour behind padding and transparency.", CLIP, metavar="COLOUR"),
    "sound": _switch("--sound/--no-sound", "Sound, where the model makes it.", CLIP),
    "precision": _text("--precision", "How weights are held: auto, fp32, bf16, int8, fp8 or nf4.", RUN, metavar="NAME"),
    "offload": _text(
        "--offload", "Where weights are: auto, none (all on the card), phase, stream or disk.", RUN, metavar="WHERE"
    ),
    "tiling": _text("--tiling", "The decoder's tiles: auto, off, 512, 256 or 128 pixels.", RUN, metavar="SIDE"),
    "vram": _text("--vram", "Use no more than so many GiB of the card.", RUN, metavar="GIB"),
    "strict": _switch("--strict/--no-strict", "Refuse what would need an adjustment.", RUN),
    "force": _switch("--force/--no-force", "Take steps and guidance that the model was not made for.", TASTE),
    "crf": _text("--crf", "Compression: lower is better and larger.", OUT, metavar="N"),
    "codec": _text("--codec", "h264, h265, av1, vp9, ffv1 or auto.", OUT, metavar="NAME"),
    "output": _text("--output -o", "A file, a folder, or a template such as {model}/{slug}-{seed}.mp4.", OUT),
}

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files.", rich_help_panel=OUT)]
KeepLatents = Annotated[
    bool, typer.Option("--keep-latents", help="Keep the latents, in CLIP.latents.", rich_help_panel=OUT)
]
CheckpointEvery = Annotated[
    int,
    typer.Option(
        help="Keep the denoising every N steps; 0: every ten seconds.", min=0, metavar="N", rich_help_panel=RUN
    ),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another vidgen at this output.", rich_help_panel=RUN)]
Fallback = Annotated[
    bool,
    typer.Option(
        "--fallback/--no-fallback", help="Go on in less memory where a phase runs out of it.", rich_help_panel=RUN
    ),
]
Budget = Annotated[
    str,
    typer.Option(
        help="Make the largest clips that end in this time: 90s, 10m, 1.5h.", metavar="TIME", rich_help_panel=RUN
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON, one object a line.", rich_help_panel=RUN)]

MANNERS: Mapping[str, tuple[Any, Any]] = {
    "lora": (
        Annotated[
            list[str] | None,
            typer.Option(help="A LoRA; may be given again.", metavar="PATH[:WEIGHT]", rich_help_panel=TASTE),
        ],
        None,
    ),
    "prompt_file": (
        Annotated[str | None, typer.Option(help="Read the prompt from a file.", metavar="FILE", rich_help_panel=CLIP)],
        None,
    ),
    "overwrite": (Overwrite, False),
    "skip_existing": (
        Annotated[bool, typer.Option("--skip-existing", help="Leave clips that exist.", rich_help_panel=OUT)],
        False,
    ),
    "keep_latents": (KeepLatents, False),
    "draft": (
        Annotated[
            bool,
            typer.Option(
                "--draft",
                help="The first of two stages alone, at half the sides; `vidgen finalize` does the other.",
                rich_help_panel=TASTE,
            ),
        ],
        False,
    ),
    "checkpoint_every": (CheckpointEvery, 0),
    "wait": (Wait, False),
    "fallback": (Fallback, True),
    "budget": (Budget, ""),
    "json": (Json, False),
}


LIMITS = ("precision", "offload", "tiling", "vram")
ONWARD = ("overwrite", "keep_latents", "wait", "fallback", "json")


def shared(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the shared options: it gets the settings as `typed`, and the rest under their own names."""
    return _with(command, SETTINGS, MANNERS)


def onward(command: Callable[..., None]) -> Callable[..., None]:
    """The same with the options of a command that goes on with a clip: the limits of its plan as `typed`."""
    return _with(command, {name: SETTINGS[name] for name in LIMITS}, {name: MANNERS[name] for name in ONWARD})


def _with(
    command: Callable[..., None], wanted: Mapping[str, Any], manners: Mapping[str, tuple[Any, Any]]
) -> Callable[..., None]:
    own = [
        parameter
        for parameter in inspect.signature(command).parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    settings = {name: annotation for name, annotation in wanted.items() if name not in {one.name for one in own}}
    added = [_parameter(name, annotation, None) for name, annotation in settings.items()]
    added += [_parameter(name, annotation, default) for name, (annotation, default) in manners.items()]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        typed = {name: given.pop(name) for name in settings}
        command(typed=typed, **given)

    parameters = [*own, *added]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del with_options.__wrapped__
    return with_options


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
