"""Times vidgen beside its peers on the same tiny pipeline, in one run: python -m tools.bench [--rounds N].

Whole processes, in turn (A B C A B C ...), after one round that is not counted; the system's own accounting of wall
time, processor time and peak memory; medians, and ratios of medians. Writes docs/measurements/bench.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
TO = ROOT / "docs" / "measurements" / "bench.md"
CLIP = {"height": 64, "width": 64, "num_frames": 17, "num_inference_steps": 8}
WORDS = ["t2v", "a boat", "--size", "64x64", "--frames", "17", "--steps", "8", "--seed", "1", "--overwrite", "-q"]
LOOKS = {
    "--help": ["--help"],
    "models": ["models"],
    "plan": ["plan", "t2v", "x", "--model", "ltx-video-2b"],
    "doctor": ["doctor"],
}

ANEW, AGAIN = "vidgen --precision int8, quantized anew", "vidgen --precision int8, as it was kept"

BARE = """
import torch
import time
began = time.perf_counter()
from diffusers import LTXPipeline
import imageio_ffmpeg
pipe = LTXPipeline.from_pretrained({folder!r}, torch_dtype=torch.float32)
pipe.set_progress_bar_config(disable=True)
frames = pipe("a boat", generator=torch.Generator().manual_seed(1), output_type="np", **{clip!r}).frames[0]
writer = imageio_ffmpeg.write_frames("bare.mp4", (64, 64), fps=24)
writer.send(None)
for frame in frames:
    writer.send((frame * 255).round().astype("uint8").tobytes())
writer.close()
print(time.perf_counter() - began)
"""

OURS = """
import torch
import sys, time
began = time.perf_counter()
from vidgen.cli.app import start
start({words!r})
print(time.perf_counter() - began)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One finished process: seconds, and mebibytes at its peak. `inner`: the seconds that it printed of itself."""

    wall: float
    cpu: float
    peak: float
    inner: float


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Time vidgen beside its peers.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        text = report(measure(commands(tiny(Path(place) / "tiny")), rounds), rounds)
    TO.parent.mkdir(exist_ok=True)
    TO.write_text(text, encoding="utf-8")
    print(text)


def tiny(folder: Path) -> Path:
    """The tiny pipeline, made by another process: a child's peak begins with its parent's memory."""
    make = f"from pathlib import Path; from tests import twins; twins.ltx(Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", make], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    return folder


def commands(folder: Path) -> dict[str, list[str]]:
    """What is timed, by name."""
    python, scripts = sys.executable, Path(sys.executable).parent
    ours = [*WORDS, "--model", str(folder), "-o", "ours.mp4"]
    peer = ["run", "--model", str(folder), "--dtype", "fp32", "--output", "peer.mp4"]
    peer += ["--pipeline-kwargs", json.dumps({"prompt": "a boat", **CLIP})]
    found = {
        "vidgen": [python, "-m", "vidgen", *ours],
        "diffusers-cli run": [str(scripts / "diffusers-cli"), *peer],
        "vidgen, torch imported": [python, "-c", OURS.format(words=ours)],
        "bare script, torch imported": [python, "-c", BARE.format(folder=str(folder), clip=CLIP)],
    }
    small = [python, "-m", "vidgen", *ours, "--precision", "int8"]
    found[ANEW] = ["sh", "-c", 'rm -rf anew; VIDGEN_CACHE=anew exec "$@"', "sh", *small]
    found[AGAIN] = ["env", "VIDGEN_CACHE=kept", *small]
    return {**found, **{f"vidgen {name}": [python, "-m", "vidgen", *words] for name, words in LOOKS.items()}}


def measure(wanted: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Run]]:
    """`rounds` runs of each command, in turn; the first round only warms up."""
    found: dict[str, list[Run]] = {name: [] for name in wanted}
    for number in range(rounds + 1):
        for name, words in wanted.items():
            run = timed(words)
            if number:
                found[name].append(run)
    return found


def timed(words: Sequence[str]) -> Run:
    """Run one command to its end; SystemExit when it fails, as no figure of it would mean anything."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # everything installed keeps its bytecode; so do we
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(words, stdout=out, stderr=err, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise SystemExit(f"{words[:4]} ended with {process.returncode}: {err.read().decode()[-500:]}")
        lines = out.read().decode().split()
    inner = float(lines[-1]) if words[:2] == [sys.executable, "-c"] else wall
    return Run(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss / 1024, inner=inner)


def report(found: Mapping[str, Sequence[Run]], rounds: int) -> str:
    """The page: machine, versions, the tables and their ratios."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("vidgen", "torch", "diffusers", "transformers"))
    one_off = _ratio(found, "vidgen", "diffusers-cli run")
    imported = _ratio(found, "vidgen, torch imported", "bare script, torch imported")
    lines = [
        "# Time and memory beside the peers",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), no GPU, Python "
        f"{platform.python_version()}, {libraries}. `make bench`: {rounds} rounds in turn after one that is not",
        "counted; medians. A tiny LTX pipeline with random weights, 64x64, 17 frames, 8 steps: nearly all is start.",
        "",
        "| whole process | wall s (least to most) | processor s | peak MiB |",
        "|---|---|---|---|",
        *(_row(name, found[name]) for name in ("vidgen", "diffusers-cli run")),
        "",
        f"One clip takes vidgen **{one_off}** of the time of `diffusers-cli run` (the aim: at most 0.75).",
        "",
        "| from `import torch` being done to the clip on disk | s |",
        "|---|---|",
        *(f"| {name} | {_median(found[name], 'inner'):.2f} |" for name in found if "imported" in name),
        "",
        f"That is **{imported}** of a bare Diffusers script (the aim: at most 1.05).",
        "",
        "| weights in int8 | wall s (least to most) | processor s | peak MiB |",
        "|---|---|---|---|",
        *(_row(name, found[name]) for name in (ANEW, AGAIN)),
        "",
        f"A model this small is quantized in no time ({_ratio(found, AGAIN, ANEW)}); of one at full size, see",
        "[processor](processor.md).",
        "",
        "| a look, without torch (the aim: 0.3 s, the limit 0.5 s) | wall s (least to most) | processor s | peak MiB |",
        "|---|---|---|---|",
        *(_row(f"vidgen {name}", found[f"vidgen {name}"]) for name in LOOKS),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, runs: Sequence[Run]) -> str:
    walls = [run.wall for run in runs]
    wall = f"{_median(runs, 'wall'):.2f} ({min(walls):.2f} to {max(walls):.2f})"
    return f"| {name} | {wall} | {_median(runs, 'cpu'):.2f} | {_median(runs, 'peak'):.0f} |"


def _ratio(found: Mapping[str, Sequence[Run]], ours: str, theirs: str) -> str:
    return f"{_median(found[ours], 'inner') / _median(found[theirs], 'inner'):.2f}"


def _median(runs: Sequence[Run], figure: str) -> float:
    return statistics.median(float(getattr(run, figure)) for run in runs)


if __name__ == "__main__":
    main()
