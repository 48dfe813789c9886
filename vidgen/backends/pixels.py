"""From a decoder to frames: noise, tiles, checks, the cut, and uint8. Knows no family."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
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
def tiled(vae: Any, tiles: Mapping[str, int]) -> Iterator[None]:
    """While it lasts, the VAE decodes in these tiles of space and time; no tiles, no change.

    Only ever around decoding: tiles would change the pictures that are encoded.
    """
    if not tiles:
        yield
        return
    before = {name: getattr(vae, name) for name in (*tiles, "use_tiling", "use_framewise_decoding")}
    vae.enable_tiling(**tiles)
    vae.use_framewise_decoding = True
    try:
        yield
    finally:
        vars(vae).update(before)


def squares(vae: Any, side: int) -> dict[str, int]:
    """Tiles of `side` pixels, a quarter of each overlapping the next, and the VAE's own in time; none for 0."""
    if not side:
        return {}
    ratio = vae.spatial_compression_ratio
    stride = max(side * 3 // 4 // ratio, 1) * ratio
    tile = dict.fromkeys(("tile_sample_min_height", "tile_sample_min_width"), side // ratio * ratio)
    return {**tile, **dict.fromkeys(("tile_sample_stride_height", "tile_sample_stride_width"), stride)}


def check(job: Job, video: torch.Tensor, *, least: int = 0) -> None:
    """Refuse (exit 7) a video (1, 3, frames, height, width) that is not finite or smaller than the canvas.

    `least`: the frames wanted where the video is a piece of the clip.
    """
    canvas, (frames, height, width) = job.canvas, video.shape[2:]
    wanted = least or canvas.frames
    if frames < wanted or (width, height) != (canvas.width, canvas.height):
        raise ChecksFailed(
            f"the decoder gave {width}x{height}, {frames} frames, "
            f"where {canvas.width}x{canvas.height}, {wanted} frames were asked of it",
            "the weights are not those of the model's card: vidgen download --repair MODEL mends downloaded ones",
        )
    finite(video, "in the decoded video")


def frames(job: Job, video: torch.Tensor) -> "Iterator[np.ndarray[Any, Any]]":
    """The request's frames: the first ones of a video, as `every` gives them."""
    return islice(every(job, video), job.request.frames)


def every(job: Job, video: torch.Tensor) -> "Iterator[np.ndarray[Any, Any]]":
    """Frames (height, width, 3) uint8, cut from the canvas to the request, rounded to the nearest of 256 levels."""
    canvas, request = job.canvas, job.request
    processor = quiet.found("diffusers.video_processor", "VideoProcessor")()
    rows = slice(canvas.top, canvas.top + request.height)
    columns = slice(canvas.left, canvas.left + request.width)
    for number in range(video.shape[2]):
        picture = processor.postprocess_video(video[:, :, number : number + 1, rows, columns], output_type="np")[0][0]
        yield (picture * 255).round().astype("uint8")


def finite(tensor: torch.Tensor, where: str) -> None:
    """Refuse (exit 7) what would become a black video."""
    if not bool(torch.isfinite(tensor).all()):
        raise NotFinite(
            f"NaN or infinite values {where}: the video would be black or noise",
            "try another seed; if it stays, the weights are damaged: vidgen download --repair MODEL",
        )
