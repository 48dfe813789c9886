"""From a decoder to frames: noise, tiles, checks, the cut, and uint8. Knows no family."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from vidgen.backends import quiet
from vidgen.core.errors import ChecksFailed, NotFinite
from vidgen.core.plan import Canvas, Job

if TYPE_CHECKING:
    import numpy as np


def noise(state: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Noise drawn on the CPU, going on from where the denoising left the generator."""
    generator = torch.Generator("cpu")
    generator.set_state(state.cpu())
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


@contextmanager
def tiled(vae: Any, tiles: Mapping[str, float], host: str = "cpu") -> Iterator[None]:
    """While it lasts, the VAE decodes in these tiles of space and time; no tiles, no change.

    Each piece of time leaves for the `host` when it is drawn, and there they are joined: a whole film takes several
    times the memory of a piece. Only ever around decoding: tiles would change the pictures that are encoded.
    """
    if not tiles:
        yield
        return
    names = {*tiles, "use_tiling", "use_framewise_decoding"} & vars(vae).keys()
    before = {name: vars(vae)[name] for name in names}
    vae.enable_tiling(**tiles)
    vars(vae).update(dict.fromkeys({"use_framewise_decoding"} & names, True))
    try:
        with _leaving(vae, host):
            yield
    finally:
        vars(vae).update(before)


@contextmanager
def _leaving(vae: Any, host: str) -> Iterator[None]:
    """While it lasts, what `vae` draws is on the `host`: joined tiles of a picture, or what was drawn without any."""
    join, draw, joining = vae.tiled_decode, vae.decoder.forward, False

    def tiled_decode(*given: Any, **named: Any) -> Any:
        nonlocal joining
        joining = True
        try:
            return _there(join(*given, **named), host)
        finally:
            joining = False

    def forward(*given: Any, **named: Any) -> Any:
        drawn = draw(*given, **named)
        return drawn if joining else _there(drawn, host)

    vae.tiled_decode, vae.decoder.forward = tiled_decode, forward
    try:
        yield
    finally:
        vars(vae).pop("tiled_decode")
        vars(vae.decoder).pop("forward", None)  # what else stands in its place takes it away when it goes


def _there(drawn: Any, host: str) -> Any:
    """What a decoder gave, its picture on the `host`: alone, first of several things, or named."""
    if isinstance(drawn, torch.Tensor):
        return drawn.to(host)
    if isinstance(drawn, tuple):
        return (drawn[0].to(host), *drawn[1:])
    drawn.sample = drawn.sample.to(host)
    return drawn


def squares(vae: Any, side: int) -> dict[str, int]:
    """Tiles of `side` pixels, a quarter of each overlapping the next, and the VAE's own in time; none for 0."""
    if not side:
        return {}
    ratio = vae.spatial_compression_ratio
    stride = max(side * 3 // 4 // ratio, 1) * ratio
    tile = dict.fromkeys(("tile_sample_min_height", "tile_sample_min_width"), side // ratio * ratio)
    return {**tile, **dict.fromkeys(("tile_sample_stride_height", "tile_sample_stride_width"), stride)}


def tiles(canvas: Canvas, side: int, step: int) -> dict[str, int]:
    """The tiles of a VAE that compresses by `step`, about `side` pixels each way, a quarter over the next; 0 for none.

    Without strides given too, Diffusers cuts the picture off in silence.
    """
    if not side:
        return {}
    named = {"tile_sample_min_num_frames": 64, "tile_sample_stride_num_frames": 48}
    for name, length in (("height", canvas.height), ("width", canvas.width)):
        tile, stride = _tile(length // step, max(side // step, 4))
        named |= {f"tile_sample_min_{name}": tile * step, f"tile_sample_stride_{name}": stride * step}
    return named


def _tile(length: int, tile: int) -> tuple[int, int]:
    """Tile and stride, in latents, that leave no last tile of a single one: where edges are mirrored it has none."""
    usual = tile * 3 // 4
    strides = (*range(usual, 1, -1), *range(usual + 1, tile + 1))
    fitting = next((stride for stride in strides if length == 1 or length % stride != 1), 0)
    return (tile, fitting) if fitting else _tile(length, tile + 1)


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


def joined(job: Job, pieces: Iterable[tuple[torch.Tensor, bool]], overlap: int) -> "Iterator[np.ndarray[Any, Any]]":
    """The request's frames, of videos that each begin with the last `overlap` frames of the one before; the last is
    marked so. Where two meet, they go over into each other. Each is asked for when its first frame is."""
    return islice(_crossing(job, pieces, overlap), job.request.frames)


def _crossing(job: Job, pieces: Iterable[tuple[torch.Tensor, bool]], overlap: int) -> "Iterator[np.ndarray[Any, Any]]":
    before: torch.Tensor | None = None
    for video, last in pieces:
        if before is not None:
            weights = torch.linspace(1, 0, overlap, dtype=video.dtype, device=video.device).view(1, 1, -1, 1, 1)
            blended = weights * before + (1 - weights) * video[:, :, :overlap]
            video = torch.cat([blended, video[:, :, overlap:]], dim=2)
        before = video[:, :, -overlap:].clone()
        yield from every(job, video if last else video[:, :, :-overlap])


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
