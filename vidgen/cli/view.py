"""show and sheet: what is recorded in a clip, and a look at it."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from vidgen.cli import screen
from vidgen.cli.make import example
from vidgen.core.errors import InputRefused
from vidgen.media import record
from vidgen.media import sheet as contact_sheet

Clip = Annotated[Path, typer.Argument(help="A clip, or the .json beside it.", metavar="CLIP")]

view = typer.Typer()


@view.command(epilog=example("vidgen show circle.mp4", "vidgen show circle.mp4 --command"))
def show(
    clip: Clip,
    as_json: Annotated[bool, typer.Option("--json", help="The record as it is.")] = False,
    command: Annotated[bool, typer.Option("--command", help="The command that makes this clip again.")] = False,
) -> None:
    """What is recorded in a clip: how it was asked for, made and measured."""
    if not clip.exists():
        raise InputRefused(f"there is no clip {clip}", "look at the spelling, and at the folder you are in")
    found = record.read(clip)
    if command:
        try:
            words = words_of(found)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            said = f"the record of {clip} is not one that vidgen wrote: no command follows from it"
            raise InputRefused(said, "see what it says: vidgen show") from error
        screen.result(shlex.join(words))
    elif as_json:
        screen.result(json.dumps(found))
    else:
        screen.table(_rows(found))


@view.command(epilog=example("vidgen sheet circle.mp4", "vidgen sheet circle.mp4 -o look.png --columns 6"))
def sheet(
    clip: Clip,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .png or .jpg; CLIP.sheet.png if left out.")
    ] = None,
    columns: Annotated[int, typer.Option(help="Pictures across.", min=1, max=20)] = 5,
    rows: Annotated[int, typer.Option(help="Pictures down.", min=1, max=20)] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a picture that is there.")] = False,
) -> None:
    """A contact sheet: pictures from all through a clip, on one page."""
    to = output or clip.with_name(f"{clip.name}.sheet.png")
    contact_sheet.draw(clip, to, columns=columns, rows=rows, overwrite=overwrite)
    screen.result(str(to))


def words_of(found: dict[str, Any]) -> list[str]:
    """The words that ask for a recorded clip again, of the same seed and settings."""
    request = found["request"]
    words = ["vidgen", request["mode"]]
    match request["mode"]:
        case "i2v":
            words.append(request["keyframes"][0]["picture"])
        case "keyframe":
            for frame in request["keyframes"]:
                words += ["--at", f"{frame['frame']}:{frame['picture']}:{frame['strength']:g}"]
    for lora in request["loras"]:
        words += ["--lora", f"{lora['path']}:{lora['weight']:g}"]
    size = request.get("draft") or f"{request['width']}x{request['height']}"
    words += ["--model", request["model"], "--size", size, *(["--draft"] if "draft" in request else [])]
    for name in ("frames", "fps", "steps", "guidance_scale", "seed", "fit", "background", "negative", "codec"):
        words += [f"--{name.replace('_', '-')}", str(request[name])]
    for gguf in request.get("ggufs", ()):
        words += ["--gguf", f"{gguf['component']}={gguf['path']}"]
    words += [*_limits(request, found["plan"])]
    if request.get("true_cfg_scale", 1.0) > 1:
        words += ["--true-cfg-scale", str(request["true_cfg_scale"])]
    if request.get("force"):
        words.append("--force")
    if request["crf"] is not None:
        words += ["--crf", str(request["crf"])]
    return [*words, "--", request.get("enhanced") or request["prompt"]]


def _limits(request: dict[str, Any], plan: dict[str, Any]) -> Iterator[str]:
    """What of the plan changes pixels, as it was carried out; and where weights were to be, if somebody had said."""
    if not request.get("ggufs"):
        yield from ("--precision", plan["precision"])
    yield from ("--tiling", str(plan.get("tiling") or "off"))
    if request.get("offload", "auto") != "auto":
        yield from ("--offload", request["offload"])
    if request.get("vram_gib"):
        yield from ("--vram", f"{request['vram_gib']:g}")


def _rows(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for section, content in found.items():
        if not isinstance(content, dict):
            rows.append([section, "", _text(content)])
            continue
        for number, (key, value) in enumerate(content.items()):
            rows.append(["" if number else section, key, _text(value)])
    return rows


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
