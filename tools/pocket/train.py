"""Train the pocket model: `python -m tools.pocket.train --stage all`. Stopped (SIGTERM), it goes on where it was."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tools.pocket.loop import Course, Stage, train

STEPS = {"vae": 1300, "words": 2350, "dit": 4000, "decoder": 4000}
"""What the shipped weights took in all; the decoder gains most from more."""
BATCH = {"vae": 24, "words": 64, "dit": 32, "decoder": 6}
"""Samples to a step over all workers, whatever their number."""


def main() -> None:
    """Train the stages asked for, one after the other."""
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    for stage in STEPS if options.stage == "all" else (options.stage,):
        workers = options.workers or (1 if torch.cuda.is_available() else os.cpu_count() or 1)
        course = Course(
            folder=options.work,
            steps=options.steps or STEPS[stage],
            seed=options.seed,
            workers=max(1, workers),
            start=options.start,
            rate=options.rate,
        )
        crew(stage, course)


def crew(stage: str, course: Course) -> None:
    """Run a stage on all its workers; this process is the first of them."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        others = [
            mp.get_context("spawn").Process(target=work, args=(stage, replace(course, rank=rank), meeting), daemon=True)
            for rank in range(1, course.workers)
        ]
        for other in others:
            other.start()
        work(stage, course, meeting)
        for other in others:
            other.join()


def work(stage: str, course: Course, meeting: str) -> None:
    """One worker: one thread on a CPU, because threads of one small step only wait for each other."""
    torch.set_num_threads(1)
    if course.workers > 1:
        dist.init_process_group("gloo", init_method=meeting, rank=course.rank, world_size=course.workers)
    train(_prepare(stage, course), course)
    if course.workers > 1:
        dist.destroy_process_group()


def _prepare(stage: str, course: Course) -> Stage:
    torch.manual_seed(course.seed)
    batch = max(1, round(BATCH[stage] / course.workers))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prepare: dict[str, Callable[[Course, int, str], Stage]] = {
        "vae": _vae, "words": _words, "dit": _dit, "decoder": _decoder,
    }  # fmt: skip
    return prepare[stage](course, batch, device)


def _vae(course: Course, batch: int, device: str) -> Stage:
    from tools.pocket.architecture import make_vae
    from tools.pocket.vae_stage import VaeStage

    vae = make_vae().to(device, memory_format=torch.channels_last_3d)
    return VaeStage(module=vae, crops=batch, clips=max(1, round(0.34 * batch)))


def _words(course: Course, batch: int, device: str) -> Stage:
    from tools.pocket.words_stage import WordsStage, load_text_encoder, make_reader

    anchor = load_text_encoder(course.start).to(device) if course.start else None
    return WordsStage(module=make_reader().to(device), captions=batch, anchor=anchor)


def _dit(course: Course, batch: int, device: str) -> Stage:
    from tools.pocket.dit_stage import prepare

    return prepare(course, batch, device)


def _decoder(course: Course, batch: int, device: str) -> Stage:
    from tools.pocket.decoder_stage import prepare

    return prepare(course, batch, device)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", choices=(*STEPS, "all"), default="all")
    parser.add_argument(
        "--work", type=Path, default=Path("build/pocket"), help="where checkpoints and latents are kept"
    )
    parser.add_argument("--steps", type=int, help=f"default: {STEPS}")
    parser.add_argument("--from", dest="start", type=Path, help="a checkpoint to begin from, where it fits")
    parser.add_argument("--rate", type=float, help="learning rate; default: the stage's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="default: one a core, or one in all with a GPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
