"""Tiny real models with random weights, built offline as `vidgen smoke --family` builds them; their cards and jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vidgen.catalog.twins import twin
from vidgen.core.card import Component, Grid, Guidance, ModelCard, Phase, Schedule, Way
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Canvas, Job, PhasePlan, Placement, Plan, Precision, Rung, Weights
from vidgen.core.request import Keyframe, Lora, Mode, Request

COMPONENTS = {
    "transformer": "LTXVideoTransformer3DModel",
    "vae": "AutoencoderKLLTXVideo",
    "text_encoder": "T5EncoderModel",
    "tokenizer": "T5Tokenizer",
    "scheduler": "FlowMatchEulerDiscreteScheduler",
}

HOLDS = {
    "LTXPipeline": ("transformer", "scheduler"),
    "LTXImageToVideoPipeline": ("transformer", "scheduler", "vae"),
    "LTXConditionPipeline": ("transformer", "scheduler", "vae"),
}

USUAL = {
    Mode.T2V: "LTXPipeline",
    Mode.I2V: "LTXImageToVideoPipeline",
    Mode.KEYFRAME: "LTXConditionPipeline",
}


def ltx(
    folder: Path, *, timestep_conditioning: bool = False, noisy: bool = False, pipeline: str = "LTXPipeline"
) -> Path:
    """A tiny LTX model in `folder`, as `from_pretrained` reads it; `noisy`: its decoder draws noise of its own."""
    from vidgen.backends.twin import build

    described = twin("ltx")
    vae = described.parts["vae"]
    changed = {"timestep_conditioning": timestep_conditioning, "decoder_inject_noise": [noisy] * 5}
    parts = {**described.parts, "vae": replace(vae, arguments={**vae.arguments, **changed})}
    build(replace(described, parts=parts), folder, pipeline=pipeline)
    if noisy:
        _make_loud(folder / "vae" / "diffusion_pytorch_model.safetensors")
    return folder


def _make_loud(file: Path) -> None:
    """Give the decoder's own noise a strength: new weights have none."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    loud = {name: tensor.fill_(0.5) for name, tensor in tensors.items() if "per_channel_scale" in name}
    save_file({**tensors, **loud}, file, metadata={"format": "pt"})


def lora(
    file: Path,
    *,
    prefix: str = "transformer",
    rank: int = 4,
    width: int = 32,
    layer: str = "transformer_blocks.{}.attn1",
) -> Path:
    """A random LoRA for the attention of the tiny transformer; another `prefix` or `width`: for another model."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for block in range(2):
        for part in ("to_q", "to_k", "to_v"):
            name = f"{prefix}.{layer.format(block)}.{part}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, width, generator=generator)
            tensors[f"{name}.lora_B.weight"] = torch.randn(width, rank, generator=generator)
    save_file(tensors, file)
    return file


def card(
    folder: Path,
    *,
    pipelines: Mapping[Mode, str] = USUAL,
    kinds: Mapping[str, str] | None = None,
    tokens: int = 16,
    **schedule: Any,
) -> ModelCard:
    """The card of a tiny model: `pipelines` by mode, `schedule` the fields of its Schedule, `kinds` to lie about."""
    named = {**COMPONENTS, **(kinds or {})}
    return ModelCard(
        name="twin",
        family="ltx",
        title="Twin",
        summary="A tiny LTX-Video with random weights.",
        rank=0,
        folder=folder,
        grid=Grid(size=32, frames=8),
        components=tuple(Component(name=name, kind=kind) for name, kind in named.items()),
        ways={mode: _way(pipeline) for mode, pipeline in pipelines.items()},
        schedule=Schedule(**{"guidance": Guidance.CLASSIFIER_FREE, **schedule}),
        tokens=tokens,
        negative=True,
        defaults={"negative": ""},
    )


def _way(pipeline: str) -> Way:
    phases = {
        Phase.ENCODE: ("text_encoder", "tokenizer"),
        Phase.DENOISE: HOLDS.get(pipeline, ("transformer", "scheduler")),
        Phase.DECODE: ("vae",),
    }
    return Way(pipeline=pipeline, phases=phases, keyframes=4)


def job(
    twin: ModelCard,
    mode: Mode = Mode.T2V,
    *,
    canvas: Canvas | None = None,
    rung: Rung | None = None,
    keyframes: Sequence[Keyframe] | None = None,
    loras: Sequence[Lora] = (),
    **words: Any,
) -> Job:
    """A whole job on the CPU; `words` are fields of the request. Without a canvas, the request must be on the grid."""
    first = (Keyframe(picture=Path("first.png")),)
    given: dict[str, Any] = {
        "prompt": "a red circle moving right",
        "negative": "blurry",
        "width": 64,
        "height": 32,
        "frames": 9,
        "fps": Fraction(24),
        "steps": 3,
        "guidance_scale": 3.0,
        "seed": 7,
        "keyframes": tuple(keyframes) if keyframes is not None else () if mode is Mode.T2V else first,
        "output": Path("clip.mp4"),
    }
    request = Request(mode=mode, model=twin.name, loras=tuple(loras), **{**given, **words})
    return Job(
        request=request,
        card=twin,
        canvas=canvas or Canvas(width=request.width, height=request.height, frames=request.frames),
        plan=_plan(twin, mode, rung or Rung(precision=Precision.FP32, placement=Placement.RESIDENT)),
        weights=Weights(folder=twin.folder, sizes={}),
        settings=(),
    )


def _plan(twin: ModelCard, mode: Mode, rung: Rung) -> Plan:
    phases = twin.ways[mode].phases
    return Plan(
        machine=Machine(device=Device.CPU, name="test", ram_gib=8.0, cores=2),
        rung=rung,
        phases=tuple(PhasePlan(phase=phase, components=phases[phase], weights_gib=0.0) for phase in Phase),
    )


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of coarse random colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
