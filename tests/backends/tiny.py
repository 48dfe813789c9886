"""Any family on its twin: the twin of a card, jobs for it, clips by our three verbs, and every step gone on from."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from tests import twins as pictured
from tests.backends.films import through_disk
from vidgen.backends.port import Backend, State, Step, Tensors, opened
from vidgen.backends.quiet import quickly
from vidgen.backends.twin import build
from vidgen.catalog import cards, twins
from vidgen.core.card import NAMED, Guidance, ModelCard
from vidgen.core.plan import Job, Placement, Precision, Rung
from vidgen.core.request import Keyframe, Mode

COARSE = Rung(precision=Precision.BF16, placement=Placement.PHASE)
FINE = Rung(precision=Precision.FP32, placement=Placement.RESIDENT)


def no_step(done: int, total: int, state: State | None = None, /) -> None:
    """A step that nobody looks at."""


def folder(name: str, place: Path, **changed: dict[str, Any]) -> Path:
    """The twin of the card called `name`, with `changed` arguments of its components."""
    known = cards.cards()[name]
    described = twins.twin(known.family)
    pipeline = known.serves[0] if known.serves else next(iter(known.ways.values())).pipeline
    parts = dict(described.of(pipeline, name))
    for part, words in changed.items():
        parts[part] = replace(parts[part], arguments={**parts[part].arguments, **words})
    return build(
        replace(described, parts=parts, own={}), place / name, pipeline=pipeline, says={**known.index, NAMED: name}
    )


def card(folder: Path) -> ModelCard:
    """The card that vidgen takes for a folder; a prompt is short for a twin."""
    return replace(cards.for_folder(folder), tokens=16)


def modes(*names: str) -> list[tuple[str, Mode]]:
    """Each mode of each of these cards."""
    return [(name, mode) for name in names for mode in cards.cards()[name].ways]


def job(twin: ModelCard, mode: Mode, *, rung: Rung = FINE, **words: Any) -> Job:
    """A job of four steps on the twin's grid, with the pictures that the mode takes."""
    size, frames = twin.grid.size, 2 * twin.grid.frames + 1
    ends = (0, frames - 1) if twin.ways[mode].ends else (0,)
    keyframes = [Keyframe(picture=Path(f"{frame}.png"), frame=frame) for frame in ends] if mode is not Mode.T2V else []
    scale = 5.0 if twin.schedule.guidance is Guidance.CLASSIFIER_FREE else 1.0
    usual = {"width": 4 * size, "height": 2 * size, "frames": frames, "steps": 4, "guidance_scale": scale}
    return pictured.job(twin, mode, rung=rung, keyframes=keyframes, **{**usual, **words})


def pictures(job: Job) -> list[Image]:
    """A picture for each keyframe."""
    return [
        pictured.picture(job.canvas.width, job.canvas.height, seed) for seed in range(1, len(job.request.keyframes) + 1)
    ]


def split(job: Job, step: Step = no_step) -> np.ndarray[Any, Any]:
    """The frames, each verb by a backend of its own and each artefact through a file."""
    with opened(job) as backend:
        conditioning = through_disk(backend.encode([job], lambda _: ())[0])
    with opened(job) as backend:
        latents = through_disk(backend.denoise(job, conditioning, pictures(job), step))
    with opened(job) as backend:
        return np.stack(list(backend.decode(job, latents).frames))


def straight(backend: Backend, job: Job) -> np.ndarray[Any, Any]:
    """The frames, all by one backend."""
    conditioning = backend.encode([job], lambda _: ())[0]
    latents = backend.denoise(job, conditioning, pictures(job), no_step)
    return np.stack(list(backend.decode(job, latents).frames))


@cache
def pipeline(module: str, name: str, folder: Path, precision: Precision, wide: tuple[str, ...]) -> Any:
    """The pipeline as Diffusers loads it, with the `wide` components in 32 bits."""
    dtype = torch.float32 if precision is Precision.FP32 else torch.bfloat16
    dtypes = {"default": dtype, **dict.fromkeys(wide, torch.float32)}
    with quickly():
        kind = getattr(import_module(module), name)
    with quickly():
        pipe = kind.from_pretrained(folder, torch_dtype=dtypes, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def _noted(states: list[Tensors]) -> Iterator[Step]:
    def step(done: int, total: int, state: State | None = None, /) -> None:
        assert state is not None
        states.append(through_disk(state()))

    yield step


def every_step_goes_on(job: Job) -> None:
    """From each step that was kept, a new backend draws the very latents of the run that was never stopped."""
    states: list[Tensors] = []
    with opened(job) as backend, _noted(states) as step:
        conditioning = backend.encode([job], lambda _: ())[0]
        whole = backend.denoise(job, conditioning, pictures(job), step)
    assert [int(state["step"]) for state in states] == list(range(1, job.steps + 1))
    for state in states:
        _goes_on(job, conditioning, state, whole)


def _goes_on(job: Job, conditioning: Tensors, state: Tensors, whole: Tensors) -> None:
    done: list[int] = []

    def step(index: int, total: int, state: State | None = None, /) -> None:
        done.append(index)

    with opened(job) as backend:
        latents = backend.denoise(job, conditioning, pictures(job), step, state)
    assert latents.keys() == whole.keys()
    assert all(torch.equal(latents[name], whole[name]) for name in whole), int(state["step"])
    assert done == list(range(int(state["step"]) + 1, job.steps + 1))


def sized(frames: np.ndarray[Any, Any], job: Job) -> bool:
    """Whether frames are bytes of the request's size and number, and show more than one colour."""
    wanted = (job.request.frames, job.request.height, job.request.width, 3)
    return frames.shape == wanted and frames.dtype == np.uint8 and float(frames.std()) > 1
