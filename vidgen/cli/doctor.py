"""doctor: what this machine has, what is missing, and the command that mends it."""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from vidgen import __version__, hub, probe
from vidgen.catalog import gpus
from vidgen.catalog.cards import BUILT_IN, card, cards
from vidgen.cli import screen
from vidgen.cli.make import example
from vidgen.cli.models import Json
from vidgen.core.errors import UsageRefused
from vidgen.core.machine import Device

LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "torchao",
    "bitsandbytes",
    "safetensors",
    "huggingface_hub",
)
SMALL_DISK_GIB = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing looked at: what was found, whether it will do, and what mends it."""

    name: str
    found: str
    well: bool = True
    mend: str = ""


health = typer.Typer()


Calibrate = Annotated[
    bool,
    typer.Option("--calibrate", help="Make a few small clips and show what they took beside what was predicted."),
]


@health.command(epilog=example("vidgen doctor", "vidgen doctor --json"))
def doctor(calibrate: Calibrate = False, as_json: Json = False) -> None:
    """What this machine has and what is missing, each with the command that mends it."""
    if calibrate:
        from vidgen.cli.calibrate import calibrate as measured

        measured(as_json=as_json)
        return
    findings = list(examine())
    if as_json:
        screen.data({"well": all(finding.well for finding in findings), "findings": [asdict(f) for f in findings]})
    else:
        screen.table([["ok" if f.well else "--", f.name, f.found] for f in findings])
        for finding in findings:
            if finding.mend:
                screen.result(f"{finding.name}: {finding.mend}")
    if not all(finding.well for finding in findings):
        raise typer.Exit(UsageRefused.code)


def examine() -> Iterator[Finding]:
    """Everything worth knowing, found without importing torch."""
    yield Finding(name="vidgen", found=f"{__version__}, Python {sys.version.split()[0]}")
    for library in LIBRARIES:
        yield _library(library)
    yield _machine()
    yield _card()
    yield from (Finding(name="note", found=note) for note in probe.machine().notes)
    yield _ffmpeg()
    yield _built_in()
    yield _models()
    yield _disk()


def _library(name: str) -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Finding(name=name, found=version(name))
    except PackageNotFoundError:
        return Finding(name=name, found="not installed", well=False, mend="pip install --force-reinstall vidgen")


def _machine() -> Finding:
    here = probe.machine()
    free = f", {here.available_gib:.1f} free" if here.available_gib else ""
    return Finding(name="machine", found=f"{here.name}, {here.cores} cores, {here.ram_gib:.1f} GiB of memory{free}")


def _card() -> Finding:
    machine, cuda = probe.machine(), probe.torch_cuda()
    if machine.device is Device.CUDA:
        built = f"CUDA {cuda}" if cuda else f"ROCm {probe.torch_hip()}"
        size = f"{machine.vram_gib:.1f} of {machine.total_gib:.1f} GiB free"
        known = "" if gpus.rated(machine).rates else "; its rates are not known, so plans have no times before a clip"
        return Finding(name="card", found=f"{machine.name}, {size}, {built}{known}")
    if machine.device is Device.MPS:
        return Finding(name="card", found="Apple GPU, sharing the machine's memory")
    from importlib.metadata import version

    there = probe.cuda_card()
    if there is None:
        return Finding(name="card", found="none: clips are made on the processor")
    return Finding(
        name="card",
        found=f"{there.name}, but torch {version('torch')} is built without CUDA",
        well=False,
        mend="uv pip install --reinstall --torch-backend=auto torch",
    )


def _ffmpeg() -> Finding:
    from imageio_ffmpeg import get_ffmpeg_exe, get_ffmpeg_version

    try:
        return Finding(name="ffmpeg", found=f"{get_ffmpeg_version()} ({Path(get_ffmpeg_exe()).name})")
    except RuntimeError as error:
        mend = "pip install --force-reinstall imageio-ffmpeg"
        return Finding(name="ffmpeg", found=str(error).splitlines()[0], well=False, mend=mend)


def _built_in() -> Finding:
    missing = hub.find(card(BUILT_IN)).missing
    if missing:
        mend = "pip install --force-reinstall vidgen"
        return Finding(name=BUILT_IN, found=f"incomplete: {', '.join(missing)}", well=False, mend=mend)
    return Finding(name=BUILT_IN, found="the built-in model is whole")


def _models() -> Finding:
    here = [entry.name for entry in cards().values() if entry.name != BUILT_IN and not hub.find(entry).missing]
    if here:
        return Finding(name="models", found=", ".join(here))
    return Finding(name="models", found="none downloaded", mend=hub.command(card("ltx-video-2b")))


def _disk() -> Finding:
    free = probe.machine().disk_gib
    mend = "" if free >= SMALL_DISK_GIB else "set HF_HOME to a larger disk"
    return Finding(name="disk", found=f"{free:.0f} GiB free for weights", mend=mend)
