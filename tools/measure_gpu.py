"""Runs full-size models with random weights under caps of memory, vidgen beside stock Diffusers: make measure-gpu.

Each model is built once, in bf16, where TMPDIR is (up to 63 GiB there, and as much RAM as its largest part takes); each
run is a process of its own. Writes docs/measurements/gpu.md. Refuses without a card. Pixels are noise.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidgen import probe
from vidgen.catalog import cards, twins
from vidgen.core.card import NAMED, ModelCard, Twin, TwinPart
from vidgen.core.machine import Device, Machine
from vidgen.core.request import Mode

TO = Path(__file__).parent.parent / "docs" / "measurements" / "gpu.md"
CAPS = (8.0, 12.0, 16.0, 24.0, 80.0)
STEPS = 4
PROMPT = "a red circle moving right"
NO_GPU = "there is no GPU here that torch could use: run this on a machine with one; see it with vidgen doctor"

T5 = {"d_model": 4096, "num_layers": 24, "num_heads": 64, "d_kv": 64, "d_ff": 10240, "vocab_size": 32128}
GATED = {"feed_forward_proj": "gated-gelu"}
LTX_VAE = {
    "block_out_channels": (128, 256, 512, 1024, 2048),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
    "layers_per_block": (4, 6, 6, 2, 2),
    "spatio_temporal_scaling": (True,) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "decoder_block_out_channels": (256, 512, 1024),
    "decoder_layers_per_block": (5, 5, 5, 5),
    "decoder_spatio_temporal_scaling": (True,) * 3,
    "decoder_inject_noise": (False,) * 4,
    "upsample_residual": (True,) * 3,
    "upsample_factor": (2, 2, 2),
    "timestep_conditioning": True,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
LLAMA = {
    "vocab_size": 128320,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
CLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
QWEN = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
BYT5 = {"vocab_size": 1510, "d_model": 1472, "d_kv": 64, "d_ff": 3584, "num_layers": 12, "num_heads": 6}
GEMMA = {
    "text_config": {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "vocab_size": 262208,
    },
    "vision_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    },
}

FULL: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "hunyuan-video": {"transformer": {}, "vae": {}, "text_encoder": LLAMA, "text_encoder_2": CLIP},
    "hunyuan-video-1.5-480p-t2v": {
        "transformer": {},
        "vae": {},
        "text_encoder": QWEN,
        "text_encoder_2": {**BYT5, **GATED},
    },
    "ltx-2-19b-distilled": {
        "transformer": {"rope_type": "split"},
        "vae": {"spatial_compression_ratio": 32, "temporal_compression_ratio": 8},
        "text_encoder": GEMMA,
        "connectors": {},
        "audio_vae": {},
        "vocoder": {},
    },
    "ltx-video-13b-0.9.8-distilled": {
        "transformer": {"num_layers": 48, "attention_head_dim": 128, "cross_attention_dim": 4096},
        "vae": LTX_VAE,
        "text_encoder": {**T5, **GATED},
    },
}
"""What each component is configured with at full size, beside the defaults of its class; the others are its twin's."""


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


def full(card: ModelCard) -> Twin:
    """The twin of a card's family with its parts at full size."""
    small = twins.twin(card.family)
    parts = small.of(card.ways[Mode.T2V].pipeline, card.name)
    wanted = FULL[card.name]
    large = {
        name: TwinPart(kind=part.kind, arguments=wanted[name]) if name in wanted else part
        for name, part in parts.items()
    }
    return Twin(family=card.family, parts=large)


def build(card: ModelCard, folder: Path) -> None:
    """The model in `folder`, in 16 bits."""
    import torch

    from vidgen.backends import twin

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        twin.build(full(card), folder, pipeline=card.ways[Mode.T2V].pipeline, says={**card.index, NAMED: card.name})
    finally:
        torch.set_default_dtype(usual)


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
    parser.add_argument("--model", action="append", choices=sorted(FULL), help="only this one; may be given again")
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
    for name in given.model or FULL:
        with tempfile.TemporaryDirectory(prefix="vidgen-") as place:
            build(cards.card(name), Path(place))
            for cap in (cap for cap in CAPS if cap <= machine.total_gib * 1.05):
                runs += [apart(who, cards.card(name), Path(place), cap) for who in WAYS]
                TO.write_text(page(runs, machine, f"{datetime.now(UTC):%Y-%m-%d}"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
