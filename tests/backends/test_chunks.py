"""Decoding a few frames at a time draws what the whole draws, in memory that does not grow with the clip."""

from copy import deepcopy

import pytest
import torch

from vidgen.backends.chunks import chunked
from vidgen.backends.counting.live import Live

TINY = {"latent_channels": 4, "block_out_channels": (8, 8, 16, 16, 16), "layers_per_block": 1}
"""Two sizes of layers, so that some are enlarged in channels too; it compresses by 16 in space and 4 in time."""


@pytest.fixture(scope="module")
def vae() -> torch.nn.Module:
    """The real class at tiny size, with weights that are large enough to be seen."""
    from diffusers import AutoencoderKLHunyuanVideo15

    torch.manual_seed(0)
    found: torch.nn.Module = AutoencoderKLHunyuanVideo15(**TINY).eval().requires_grad_(False)
    for weight in found.parameters():
        weight.copy_(torch.randn_like(weight) * 0.2 if weight.ndim > 1 else weight)
    return found


def decoded(vae: torch.nn.Module, latents: torch.Tensor, frames: int) -> torch.Tensor:
    with torch.no_grad(), chunked(vae.decoder, frames):
        video: torch.Tensor = vae.decode(latents, return_dict=False)[0]  # type: ignore[operator]
    return video


@pytest.mark.parametrize("count", [1, 2, 7])
def test_chunks_draw_what_the_whole_draws(vae: torch.nn.Module, count: int) -> None:
    latents = torch.randn(1, 4, count, 2, 3, generator=torch.Generator().manual_seed(1))
    whole = decoded(vae, latents, 0)
    assert whole.shape == (1, 3, 4 * (count - 1) + 1, 32, 48)
    assert whole.std() > 0.2
    for frames in (1, 2, 3, count, count + 1):
        assert (decoded(vae, latents, frames) - whole).abs().max() < 1e-5
    assert torch.equal(decoded(vae, latents, 0), whole), "nothing of it stays"


def test_the_length_of_a_chunk_changes_no_more_than_roundings(vae: torch.nn.Module) -> None:
    """Not even those on many processors; some libraries take another kernel for another shape."""
    latents = torch.randn(1, 4, 7, 2, 3, generator=torch.Generator().manual_seed(1))
    clips = [decoded(vae, latents, frames) for frames in (1, 2, 3, 7)]
    assert max((clip - clips[0]).abs().max() for clip in clips) < 1e-5


def test_a_frame_knows_nothing_of_what_another_clip_left(vae: torch.nn.Module) -> None:
    one, other = torch.randn(2, 1, 4, 5, 2, 2, generator=torch.Generator().manual_seed(2))
    alone = decoded(vae, other, 2)
    decoded(vae, one, 2)
    assert torch.equal(decoded(vae, other, 2), alone)


def test_in_half_precision_the_frames_are_as_near_as_its_roundings(vae: torch.nn.Module) -> None:
    latents = torch.randn(1, 4, 5, 2, 2, generator=torch.Generator().manual_seed(3))
    whole, half = decoded(vae, latents, 0), deepcopy(vae).to(torch.bfloat16)
    at_once, in_chunks = (decoded(half, latents.bfloat16(), frames).float() for frames in (0, 2))
    assert 0 < (in_chunks - whole).square().mean() < 1.2 * (at_once - whole).square().mean()


def peak_gib(side: int, latents: int, frames: int) -> float:
    """The most that the full-size decoder holds at a time beside its weights, at bf16, for one tile."""
    from diffusers import AutoencoderKLHunyuanVideo15

    with torch.device("meta"):
        full = AutoencoderKLHunyuanVideo15().to(torch.bfloat16).eval()
        tile = torch.empty(1, 32, latents, side // 16, side // 16, dtype=torch.bfloat16)
    with torch.no_grad(), chunked(full.decoder, frames), Live() as live:
        assert full.decoder(tile).shape == (1, 3, 4 * (latents - 1) + 1, side, side)
    return float(live.peak / 2**30)


@pytest.mark.slow
def test_a_full_size_tile_takes_a_tenth_of_what_it_takes_at_once() -> None:
    """121 frames of 256x256: what is on the cards is four times that, for tiles of 512."""
    assert peak_gib(256, 31, 0) == pytest.approx(13.26, abs=0.05)
    assert peak_gib(256, 31, 2) == pytest.approx(1.37, abs=0.02)


@pytest.mark.slow
def test_a_clip_of_twice_the_length_takes_hardly_more() -> None:
    assert peak_gib(128, 61, 2) < 1.1 * peak_gib(128, 31, 2)
