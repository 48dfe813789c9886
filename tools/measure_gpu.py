"""Runs full-size models with random weights under caps of memory, vidgen beside stock Diffusers: make measure-gpu.

Each model is written once, in bf16, where TMPDIR is (up to 63 GiB there); each run is a process of its own. Writes
docs/measurements/gpu.md. Refuses without a card. Pixels are noise.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools import full_size
from vidgen import probe
from vidgen.catalog import cards
from vidgen.core.card import ModelCard
from vidgen.core.machine import Device, Machine
from vidgen.core.request import Mode

TO = Path(__file__).parent.parent / "docs" / "measurements" / "gpu.md"
CAPS = (8.0, 12.0, 16.0, 24.0, 80.0)
STEPS = 4
PROMPT = "a red circle moving right"
NO_GPU = "there is no GPU here that torch could use: run this on a machine with one; see it with vidgen doctor"

MODELS = ("hunyuan-video", "hunyuan-video-1.5-480p-t2v", "ltx-2-19b-distilled", "ltx-video-13b-0.9.8-distilled")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What one run took: GiB at most, seconds in all; `rung` and `predicted_gib` of ours; or why there is no clip."""

    model: str
    cap_gib: float
    who: str
    rung: str = ""
    predicted_gib: float = 0.0
    peak_gib: float = 0.0
    seconds: float = 0.0
    failed: str = ""


def capped(machine: Machine, cap_gib: float) -> Machine:
    """The machine with a card of `cap_gib`; torch is held to it too, where there is one."""
    if machine.device is not Device.CUDA:
        return machine
    import torch

    torch.cuda.set_per_process_memory_fraction(min(1.0, cap_gib / machine.total_gib))
    return replace(machine, vram_gib=min(machine.vram_gib, cap_gib))


def ours(card: ModelCard, folder: Path, cap_gib: float, **words: Any) -> Run:
    """The card's own clip by vidgen."""
    from vidgen.generate import run
    from vidgen.planning.ladder import describe
    from vidgen.prepare import prepare

    machine = capped(probe.machine(), cap_gib)
    steps = card.schedule.fixed[0] if card.schedule.fixed else STEPS
    with tempfile.TemporaryDirectory() as place:
        [job] = prepare(
            Mode.T2V,
            prompt=PROMPT,
            model=str(folder),
            machine=machine,
            fallback=False,
            output=f"{place}/clip.mkv",
            **{"seed": 1, "steps": steps, **words},
        )
        began = time.perf_counter()
        [result] = run([job])
    return Run(
        model=card.name,
        cap_gib=cap_gib,
        who="vidgen",
        rung=describe(job.plan.rung),
        predicted_gib=round(job.plan.peak_gib, 2),
        peak_gib=round(max(result.peak_gib.values()) - result.standing_gib, 2),
        seconds=time.perf_counter() - began,
    )


def stock(card: ModelCard, folder: Path, cap_gib: float, **words: Any) -> Run:
    """The same by Diffusers as its pages advise: offloaded component by component, decoding in tiles."""
    import torch
    from diffusers import DiffusionPipeline

    machine = capped(probe.machine(), cap_gib)
    defaults, on_card = card.defaults, machine.device is Device.CUDA
    width, height = (int(side) for side in str(words.get("size", defaults["size"])).split("x"))
    probe.forget_peak()
    began = time.perf_counter()
    pipe = DiffusionPipeline.from_pretrained(folder, dtype=torch.bfloat16, local_files_only=True)
    if on_card:
        pipe.enable_model_cpu_offload()
    pipe.vae.enable_tiling()
    pipe(
        prompt=PROMPT,
        width=width,
        height=height,
        num_frames=int(words.get("frames", str(defaults["frames"]))),
        num_inference_steps=card.schedule.fixed[0] if card.schedule.fixed else int(words.get("steps", STEPS)),
        generator=torch.Generator().manual_seed(1),
    )
    return Run(
        model=card.name,
        cap_gib=cap_gib,
        who="Diffusers",
        peak_gib=round(probe.peak_gib(machine.device), 2),
        seconds=time.perf_counter() - began,
    )


WAYS = {"vidgen": ours, "Diffusers": stock}


def apart(who: str, card: ModelCard, folder: Path, cap_gib: float) -> Run:
    """One run in a process of its own; what ended it, in a line, where there is no clip."""
    line = [sys.executable, "-m", "tools.measure_gpu", "--one", who, card.name, str(folder), str(cap_gib)]
    said = subprocess.run(line, capture_output=True, text=True, check=False)
    try:
        return Run(**json.loads(said.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        last = (said.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return Run(model=card.name, cap_gib=cap_gib, who=who, failed=last[:160])


def page(runs: Sequence[Run], machine: Machine, today: str) -> str:
    """docs/measurements/gpu.md."""
    lines = [
        "# Full-size models under caps of memory",
        "",
        f"Measured on {today} by `make measure-gpu` on {machine.name}, {machine.total_gib:.0f} GiB.",
        "Weights are random, so pixels are noise; memory and time are those of the real thing. The card's memory is",
        "capped, which leaves it as quick as it is. Diffusers: `enable_model_cpu_offload`, the decoder in tiles. Each",
        f"model's own clip, in {STEPS} steps or those that a distilled model has.",
        "",
        "| model | cap | by | how | predicted | peak | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        predicted = f"{run.predicted_gib:.1f} GiB" if run.predicted_gib else ""
        took = [f"{run.peak_gib:.1f} GiB", f"{run.seconds:.0f}"] if not run.failed else [run.failed, ""]
        cells = [run.model, f"{run.cap_gib:g} GiB", run.who, run.rung, predicted, *took]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(words: Sequence[str]) -> int:
    """Measure everything, or one run for a process that asks for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, metavar=("BY", "MODEL", "FOLDER", "GIB"))
    parser.add_argument("--model", action="append", choices=MODELS, help="only this one; may be given again")
    given = parser.parse_args(words)
    machine = probe.machine()
    if machine.device is not Device.CUDA:
        sys.stderr.write(f"measure-gpu: {NO_GPU}\n")
        return 5
    if given.one:
        who, name, folder, cap = given.one
        print(json.dumps(asdict(WAYS[who](cards.card(name), Path(folder), float(cap)))))
        return 0
    runs: list[Run] = []
    for name in given.model or MODELS:
        with tempfile.TemporaryDirectory(prefix="vidgen-") as place:
            full_size.build(cards.card(name), Path(place) / name)
            for cap in (cap for cap in CAPS if cap <= machine.total_gib * 1.05):
                runs += [apart(who, cards.card(name), Path(place), cap) for who in WAYS]
                TO.write_text(page(runs, machine, f"{datetime.now(UTC):%Y-%m-%d}"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
