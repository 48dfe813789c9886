"""Tiny real models, built offline in a second and saved as ordinary folders; with their cards and jobs.

They compress by 32 in space and 8 in time, as the released LTX-Video does, and their weights are random.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vidgen.backends.quiet import quickly
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
    with quickly():
        import torch
        from diffusers.pipelines.ltx.pipeline_ltx import LTXPipeline

        with torch.random.fork_rng():
            torch.manual_seed(0)
            parts = {
                "transformer": _transformer(),
                "vae": _vae(timestep_conditioning, noisy),
                "text_encoder": _text_encoder(),
                "tokenizer": _tokenizer(),
                "scheduler": _scheduler(),
            }
    with quickly():
        LTXPipeline(**parts).save_pretrained(folder)
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("LTXPipeline", pipeline))
    return folder


@cache
def _vocabulary() -> tuple[tuple[str, float], ...]:
    letters = chain("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789.,!?'-")
    return (("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in letters))


def _tokenizer() -> Any:
    from transformers import T5Tokenizer

    return T5Tokenizer(vocab=list(_vocabulary()), extra_ids=0)


def _text_encoder() -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(_vocabulary()), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, dropout_rate=0.0
    )
    return T5EncoderModel(config).eval()


def _transformer() -> Any:
    from diffusers.models.transformers.transformer_ltx import LTXVideoTransformer3DModel

    return LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=32,
    )


def _vae(timestep_conditioning: bool, noisy: bool) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl_ltx import AutoencoderKLLTXVideo

    vae = AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        decoder_inject_noise=(noisy,) * 5,
        timestep_conditioning=timestep_conditioning,
    )
    if noisy:
        for name, parameter in vae.named_parameters():
            if "per_channel_scale" in name:
                parameter.data.fill_(0.5)
    return vae


def _scheduler() -> Any:
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def lora(file: Path, *, prefix: str = "transformer", rank: int = 4, width: int = 32) -> Path:
    """A random LoRA for the attention of the tiny transformer; another `prefix` or `width`: for another model."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for block in range(2):
        for layer in ("to_q", "to_k", "to_v"):
            name = f"{prefix}.transformer_blocks.{block}.attn1.{layer}"
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
