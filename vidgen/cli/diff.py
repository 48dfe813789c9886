"""diff: how near two clips are, for a person, a script, and a test that must fail when they are too far apart."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Annotated, Any

import typer

from vidgen.cli import screen
from vidgen.cli.make import example
from vidgen.cli.options import Progress
from vidgen.cli.progress import can_draw, display
from vidgen.core.result import Event
from vidgen.media import vmaf as judge
from vidgen.media.compare import Comparison, check, compare, refuse, shown

A = Annotated[Path, typer.Argument(help="The reference: a clip, or a folder of .png.", metavar="A")]
B = Annotated[Path, typer.Argument(help="What is held against it; any kind that vidgen reads.", metavar="B")]

comparing = typer.Typer()


@comparing.command(
    epilog=example(
        "vidgen diff golden.mp4 circle.mp4",
        "vidgen diff golden.mp4 circle.mp4 --min-psnr 40 --min-ssim 0.98 --json",
    )
)
def diff(
    a: A,
    b: B,
    min_psnr: Annotated[
        float | None, typer.Option(help="End with 7 if a frame has less; inf wants it equal.", metavar="DB")
    ] = None,
    min_ssim: Annotated[float | None, typer.Option(help="End with 7 if a frame has less; 0 to 1.", metavar="X")] = None,
    vmaf: Annotated[bool, typer.Option("--vmaf", help="VMAF too, if this ffmpeg has it.")] = False,
    each: Annotated[bool, typer.Option("--each", help="Every frame, not only the worst.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """How near two clips are: PSNR and SSIM of each frame, their mean and the worst.

    PSNR is over all RGB samples of a frame, SSIM is of its BT.709 luma.
    """
    floors = {name: floor for name, floor in (("psnr", min_psnr), ("ssim", min_ssim)) if floor is not None}
    refuse(floors)
    if vmaf:
        judge.refuse()
    with _watching() as progress:
        found = compare(a, b, with_vmaf=vmaf, progress=progress)
    for note in found.notes:
        screen.say(f"vidgen: {note}")
    if as_json:
        screen.data(_as_data(found, floors, each=each))
    else:
        _show(found, floors, each=each)
    check(found, floors)


@contextmanager
def _watching() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; nothing for a script, to whom every line is one too many."""
    with display(Progress.AUTO if can_draw() else Progress.OFF) as shown_to:
        yield lambda done, total: shown_to.event(Event(phase="compare", done=done, total=total))


def _show(found: Comparison, floors: dict[str, float], *, each: bool) -> None:
    if each:
        screen.table(_every(found))
        screen.result("")
    if found.identical:
        screen.result(f"identical: all {len(found.frames)} frames are equal, sample for sample")
    else:
        screen.table([["", "MEAN", "WORST", "FRAME", "AT", ""], *(_summary(found, floors, m) for m in found.measures)])


def _every(found: Comparison) -> Iterator[list[str]]:
    yield ["FRAME", "AT", *(measure.upper() for measure in found.measures)]
    for index, scores in enumerate(found.frames):
        yield [str(index), _time(found, index), *(shown(measure, value) for measure, value in scores.items())]


def _summary(found: Comparison, floors: dict[str, float], measure: str) -> list[str]:
    worst, floor = found.worst(measure), floors.get(measure)
    mean, lowest = found.mean(measure), found.frames[worst][measure]
    below = "" if floor is None else f"{found.below(measure, floor)} of {len(found.frames)} frames below {floor:.15g}"
    return [measure.upper(), shown(measure, mean), shown(measure, lowest), str(worst), _time(found, worst), below]


def _time(found: Comparison, index: int) -> str:
    seconds = found.seconds(index)
    return "-" if seconds is None else f"{seconds:.3f} s"


def _as_data(found: Comparison, floors: dict[str, float], *, each: bool) -> dict[str, Any]:
    a, b = (
        {"path": str(path), "codec": clip.codec, "fps": str(clip.fps) if clip.fps else None, "sound": clip.sound}
        for path, clip in zip(found.paths, found.facts, strict=True)
    )
    clip, measures = found.facts[0], found.measures
    data = {"a": a, "b": b, "frames": clip.frames, "width": clip.width, "height": clip.height}
    data |= {"identical": found.identical, "mean": {measure: _number(found.mean(measure)) for measure in measures}}
    data |= {"worst": {measure: _frame(found, found.worst(measure)) for measure in measures}}
    data |= {"below": {measure: found.below(measure, floor) for measure, floor in floors.items()}}
    data |= {"notes": list(found.notes)}
    return data | ({"each": [_frame(found, index) for index in range(clip.frames)]} if each else {})


def _frame(found: Comparison, index: int) -> dict[str, Any]:
    scores = {measure: _number(value) for measure, value in found.frames[index].items()}
    return {"frame": index, "seconds": found.seconds(index), **scores}


def _number(value: float) -> float | None:
    """JSON has no infinity: a PSNR of null is that of equal frames."""
    return None if value == inf else value
