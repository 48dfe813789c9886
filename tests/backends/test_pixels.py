"""What a decoder draws in tiles leaves for the host piece by piece, and the decoder is left as it was."""

from pathlib import Path

import pytest
import torch

from tests import twins
from vidgen.backends import ltx, pipes, pixels
from vidgen.core.plan import Canvas

CANVAS = Canvas(width=192, height=128, frames=73)


@pytest.mark.parametrize(("side", "frames"), [(64, 10), (64, 2), (256, 10)])
def test_what_is_drawn_in_tiles_leaves_for_the_host(side: int, frames: int, twin: Path) -> None:
    vae = pipes.Parts(twins.job(twins.card(twin)), ltx.KINDS).hold(["vae"])["vae"]
    latents = torch.randn(1, vae.config.latent_channels, frames, 4, 6)
    with torch.no_grad(), pixels.tiled(vae, pixels.tiles(CANVAS, side, 32), host="meta"):
        left = vae.decode(latents, None, return_dict=False)[0]
    assert left.is_meta
    assert left.shape == (1, 3, (frames - 1) * 8 + 1, 128, 192)
    with torch.no_grad():
        stayed = vae.decode(latents, None, return_dict=False)[0]
    assert stayed.shape == left.shape
    assert not stayed.is_meta


def test_a_decoder_is_left_as_it_was(twin: Path) -> None:
    vae = pipes.Parts(twins.job(twins.card(twin)), ltx.KINDS).hold(["vae"])["vae"]
    before = [set(vars(each)) for each in (vae, vae.decoder)]
    with pytest.raises(RuntimeError), pixels.tiled(vae, pixels.tiles(CANVAS, 64, 32)):
        vae.decode(torch.zeros(1, 3, 2, 4, 6), None, return_dict=False)
    assert [set(vars(each)) for each in (vae, vae.decoder)] == before
    assert not vae.use_tiling
