"""From a decoder to frames: noise, tiles, checks, the cut, and uint8. Knows no family."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from vidgen.backends import quiet
from vidgen.core.errors import ChecksFailed, NotFinite
from vidgen.core.plan import Job

if TYPE_CHECKING:
    import numpy as np


def noise(state: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Noise drawn on the CPU, going on from where the denoising left the generator."""
    generator = torch.Generator("cpu")
    generator.set_state(state.cpu())
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


@contextmanager
def tiled(vae: Any, tiles: Mapping[str, float]) -> Iterator[None]:
    """While it lasts, the VAE decodes in these tiles of space and time; no tiles, no change.

    Only ever around decoding: tiles would change the pictures that are encoded.
    """
    if not tiles:
        yield
        return
    vae.enable_tiling(**tiles)
    vae.use_framewise_decoding = True
    try:
        yield
    finally:
        vae.disable_tiling()
        vae.use_framewise_decoding = False


def check(job: Job, video: torch.Tensor) -> None:
    """Refuse (exit 7) a video (1, 3, frames, height, width) that is not finite or smaller than the canvas."""
    canvas, (frames, height, width) = job.canvas, video.shape[2:]
    if frames < canvas.frames or (width, height) != (canvas.width, canvas.height):
        raise ChecksFailed(
            f"the decoder gave {width}x{height}, {frames} frames, "
            f"where {canvas.width}x{canvas.height}, {canvas.frames} frames were asked of it",
            "the weights are not those of the model's card: vidgen download --repair MODEL mends downloaded ones",
        )
    finite(video, "in the decoded video")


def frames(job: Job, video: torch.Tensor) -> "Iterator[np.ndarray[Any, Any]]":
    """Frames (height, width, 3) uint8, cut from the canvas to the request, rounded to the nearest of 256 levels."""
    canvas, request = job.canvas, job.request
    processor = quiet.found("diffusers.video_processor", "VideoProcessor")()
    rows = slice(canvas.top, canvas.top + request.height)
    columns = slice(canvas.left, canvas.left + request.width)
    for number in range(request.frames):
        picture = processor.postprocess_video(video[:, :, number : number + 1, rows, columns], output_type="np")[0][0]
        yield (picture * 255).round().astype("uint8")


def finite(tensor: torch.Tensor, where: str) -> None:
    """Refuse (exit 7) what would become a black video."""
    if not bool(torch.isfinite(tensor).all()):
        raise NotFinite(
            f"NaN or infinite values {where}: the video would be black or noise",
            "try another seed; if it stays, the weights are damaged: vidgen download --repair MODEL",
        )
