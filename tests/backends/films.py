"""The same clip twice: by one call of the Diffusers pipeline, and by our three verbs with artefacts on disk."""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image
from safetensors.torch import load_file, save_file

from vidgen.backends import attention
from vidgen.backends.port import Backend, Step, Tensors
from vidgen.backends.quiet import quickly
from vidgen.core.errors import Stopped
from vidgen.core.plan import Job, Precision
from vidgen.core.request import Mode

MODULES = {
    "LTXPipeline": "pipeline_ltx",
    "LTXImageToVideoPipeline": "pipeline_ltx_image2video",
    "LTXConditionPipeline": "pipeline_ltx_condition",
    "LTXI2VLongMultiPromptPipeline": "pipeline_ltx_i2v_long_multi_prompt",
}


def split(
    job: Job, pictures: Sequence[Image] = (), step: Step = lambda done, total, state=None: None
) -> np.ndarray[Any, Any]:
    """The frames, each verb by a backend of its own and each artefact through a file."""
    with _fresh(job) as backend:
        conditioning = through_disk(backend.encode([job], lambda _: pictures)[0])
    with _fresh(job) as backend:
        latents = through_disk(backend.denoise(job, conditioning, pictures, step))
    with _fresh(job) as backend:
        return np.stack(list(backend.decode(job, latents).frames))


def straight(backend: Backend, job: Job, pictures: Sequence[Image] = ()) -> np.ndarray[Any, Any]:
    """The frames, all by one backend."""
    conditioning = backend.encode([job], lambda _: pictures)[0]
    latents = backend.denoise(job, conditioning, pictures, lambda done, total, state=None: None)
    return np.stack(list(backend.decode(job, latents).frames))


def whole(job: Job, pictures: Sequence[Image] = (), *, cut: bool = True) -> np.ndarray[Any, Any]:
    """The frames by one call of the pipeline, as its documentation has it; rounded to bytes and cut to the request."""
    name, canvas, request = job.card.ways[job.request.mode].pipeline, job.canvas, job.request
    assert job.card.folder is not None
    pipe = pipeline(job.card.folder, name, job.plan.rung.precision)
    schedule = job.card.schedule
    with quickly(), attention.unmasked(pipe.transformer):
        torch.manual_seed(request.seed)
        film = pipe(
            prompt=request.prompt,
            negative_prompt=request.negative,
            height=canvas.height,
            width=canvas.width,
            num_frames=canvas.frames,
            frame_rate=float(request.fps),
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            guidance_rescale=schedule.guidance_rescale,
            generator=torch.Generator().manual_seed(request.seed),
            decode_timestep=schedule.decode_timestep,
            decode_noise_scale=schedule.decode_noise_scale,
            max_sequence_length=job.card.tokens,
            output_type="np",
            **({"timesteps": list(schedule.timesteps)} if schedule.timesteps else {}),
            **_own(job, name, pictures),
        ).frames[0]
    frames: np.ndarray[Any, Any] = (film * 255).round().astype(np.uint8)
    if not cut:
        return frames
    rows = slice(canvas.top, canvas.top + request.height)
    return frames[: request.frames, rows, canvas.left : canvas.left + request.width]


@cache
def pipeline(folder: Path, name: str, precision: Precision) -> Any:
    """The loaded pipeline of Diffusers."""
    dtype = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}[precision]
    with quickly():
        kind = getattr(import_module(f"diffusers.pipelines.ltx.{MODULES[name]}"), name)
    with quickly():
        pipe = kind.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _own(job: Job, name: str, pictures: Sequence[Image]) -> dict[str, Any]:
    if job.request.mode is Mode.T2V or not pictures:
        return {}
    if name == "LTXImageToVideoPipeline":
        return {"image": pictures[0]}
    return {
        "image": list(pictures),
        "video": [None] * len(pictures),
        "frame_index": [keyframe.frame for keyframe in job.request.keyframes],
        "strength": [keyframe.strength for keyframe in job.request.keyframes],
        "image_cond_noise_scale": job.card.schedule.image_cond_noise_scale,
    }


class _fresh:  # noqa: N801 - reads as `with _fresh(job) as backend`
    def __init__(self, job: Job) -> None:
        self._backend: Backend = import_module(f"vidgen.backends.{job.card.family}").open(job)

    def __enter__(self) -> Backend:
        return self._backend

    def __exit__(self, *_: object) -> None:
        self._backend.close()


def through_disk(tensors: Tensors) -> Tensors:
    """The tensors as a file gives them back."""
    file = Path("artefact.safetensors")
    save_file(dict(tensors), file)
    loaded: Tensors = load_file(file)
    file.unlink()
    return loaded


def recorded(monkeypatch: pytest.MonkeyPatch, kind: Any, verb: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The arguments that a class's `verb` has, and those that it is given: it does nothing else from now on."""
    given: dict[str, Any] = {}

    def record(self: Any, **arguments: Any) -> None:
        given.update(arguments)
        raise Stopped("stop", "")

    wanted = inspect.signature(getattr(kind, verb)).parameters
    monkeypatch.setattr(kind, verb, record)
    return wanted, given
