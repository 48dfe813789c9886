"""Hold the pocket model's quantized clips against its bf16 ones: `python -m tools.pocket.precisions`.

Through vidgen itself, as a user would: clips without loss, `vidgen diff`'s measures, and the detector's marks.
"""

from __future__ import annotations

import argparse
import tempfile
from math import inf
from pathlib import Path

import numpy as np

from tools.pocket.caption import say
from tools.pocket.evaluate import ATTRIBUTES
from tools.pocket.scene import split
from vidgen import prepare, run
from vidgen.core.plan import Precision
from vidgen.media import compare, inspect
from vidgen.media.seen import detect
from vidgen.media.world import Subject

REFERENCE = Precision.BF16


def main() -> None:
    """Print one row for each precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--model", default="pocket")
    options = parser.parse_args()
    subjects = split()[1][: options.clips]
    head = f"| {options.clips} prompts never seen, seeds 0 to {options.clips - 1}, against bf16"
    print(f"{head} | PSNR dB, mean | worst frame | SSIM | {' | '.join(ATTRIBUTES)} | all four |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for precision in (REFERENCE, *(each for each in Precision if each is not REFERENCE)):
            clips = make(subjects, precision, options.model, folder)
            print(f"| {precision} | {near(folder, clips)} | {marks(subjects, clips)} |", flush=True)


def make(subjects: list[Subject], precision: Precision, model: str, folder: Path) -> list[Path]:
    """A clip of each subject, its number for a seed, at one precision."""
    jobs = [
        job
        for seed, subject in enumerate(subjects)
        for job in prepare(
            "t2v",
            prompt=say(subject),
            model=model,
            frames=9,
            seed=seed,
            precision=precision.value,
            codec="ffv1",
            output=str(folder / f"{precision}-{seed}.mkv"),
        )
    ]
    return [result.path for result in run(jobs)]


def near(folder: Path, clips: list[Path]) -> str:
    """Likeness to the reference: PSNR of the mean error over all clips, the worst frame's, the mean SSIM."""
    found = [
        compare.compare(folder / f"{REFERENCE}-{seed}.mkv", clip, progress=lambda done, total: None)
        for seed, clip in enumerate(clips)
    ]
    if all(each.identical for each in found):
        return "identical | identical | 1"
    errors = [0.0 if each.mean("psnr") == inf else 10 ** (-each.mean("psnr") / 10) for each in found]
    worst = min(each.frames[each.worst("psnr")]["psnr"] for each in found)
    return f"{-10 * np.log10(np.mean(errors)):.1f} | {worst:.1f} | {np.mean([each.mean('ssim') for each in found]):.4f}"


def marks(subjects: list[Subject], clips: list[Path]) -> str:
    """The share of each attribute that is seen as asked, in percent."""
    seen = [detect(np.stack(list(inspect.frames(clip)))).subject for clip in clips]
    right = np.array(
        [[getattr(one, a) == getattr(other, a) for a in ATTRIBUTES] for one, other in zip(seen, subjects, strict=True)]
    )
    return " | ".join(f"{100 * share:.1f}" for share in (*right.mean(0), right.all(1).mean()))


if __name__ == "__main__":
    main()
