"""The contact sheet of the model's page: `python -m tools.pocket.sheet --folder FOLDER --to docs/pocket.png`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import LTXPipeline
from numpy.typing import NDArray
from PIL import Image

from tools.pocket.evaluate import FPS, GUIDANCE, STEPS
from tools.pocket.scene import Frames

PROMPTS = (
    "a red circle moving right on a blue background",
    "a blue square moves up on a green background",
    "a green triangle moves down and to the left on a white background",
    "a yellow square grows on a black background",
    "a purple circle shrinks on a pink background",
    "an orange triangle moves left on a blue background",
)
SHOWN = (0, 2, 4, 6, 8)
LARGER, GAP, COLOURS = 2, 4, 128


def main() -> None:
    """Draw one row of frames for each prompt, each from the same seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="an exported pipeline")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pipe = LTXPipeline.from_pretrained(options.folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    clips = pipe(
        prompt=list(PROMPTS), width=64, height=64, num_frames=9, frame_rate=FPS, num_inference_steps=STEPS,
        guidance_scale=GUIDANCE, output_type="np",
        generator=[torch.Generator().manual_seed(options.seed) for _ in PROMPTS],
    ).frames  # fmt: skip
    rows = [np.concatenate([_framed(clip[i]) for i in SHOWN], axis=1) for clip in clips]
    Image.fromarray(np.concatenate(rows)).quantize(COLOURS).save(options.to, optimize=True)


def _framed(picture: NDArray[np.float32]) -> Frames:
    larger = np.rint(255 * picture).astype(np.uint8).repeat(LARGER, 0).repeat(LARGER, 1)
    return np.pad(larger, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
