"""A stage beside the transformer's: the decoder alone learns to draw crisper what the finished encoder keeps.

The latents do not change, so the transformer and what it learns from stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor, nn

from tools.pocket.architecture import SHIPPED, Sizes, make_vae
from tools.pocket.loop import Course, averaged
from tools.pocket.scene import Frames, Size
from tools.pocket.vae_stage import OTHER_SIZES, crop, film, to_tensor

FLOOR = 1e-5
"""Added to an error before its logarithm: what is 50 dB near needs no more care."""
CROPS, LATE_CROPS, LATE = 0.5, 0.1, 0.5
"""Share of steps on crops, before and after this much of the training."""
WHOLE = 0.75
"""Share of the other steps that are on clips of the native size."""


@dataclass(slots=True)
class DecoderStage:
    """Clips as the encoder keeps them, half of them with its own noise, as the pipelines read pictures."""

    module: nn.Module
    vae: AutoencoderKLLTXVideo
    crops: int = 16
    clips: int = 6
    rate: float = 3e-3
    name: str = "decoder"

    def loss(self, shared: np.random.Generator, rng: np.random.Generator, progress: float) -> Tensor:
        """The mean logarithm of the clips' squared errors: PSNR itself, turned over."""
        if shared.random() < (CROPS if progress < LATE else LATE_CROPS):
            return self._judge(np.stack([crop(rng) for _ in range(self.crops)]), "default")
        if shared.random() < WHOLE:
            return self._judge(film(rng, Size(), self.clips), "default")
        size = OTHER_SIZES[shared.integers(len(OTHER_SIZES))]
        return self._judge(film(rng, size, max(1, self.clips // 2)), "force_eager")

    def _judge(self, clips: Frames, stance: str) -> Tensor:
        video = to_tensor(clips).to(self.vae.device)
        with torch.no_grad():
            kept = self.vae.encode(video).latent_dist
            noisy = torch.rand(len(clips), device=self.vae.device).lt(0.5).view(-1, 1, 1, 1, 1)
            latents = kept.mean + kept.std * torch.randn_like(kept.mean) * noisy
        # Compiling pays for the shapes that come often.
        with torch.compiler.set_stance(stance):
            seen = self.module(latents)
        error: Tensor = (seen - video).square().mean((1, 2, 3, 4))
        return (error + FLOOR).log().mean()


def prepare(course: Course, clips: int, device: str, sizes: Sizes = SHIPPED, *, compiled: bool = True) -> DecoderStage:
    """The VAE of the first stage, of which only the decoder goes on learning."""
    vae = make_vae(sizes).to(device, memory_format=torch.channels_last_3d)
    vae.load_state_dict(averaged(course.folder / "vae.pt"))
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    if compiled:
        vae.decoder.compile(dynamic=False)
    return DecoderStage(vae.decoder, vae, max(1, round(2.7 * clips)), clips)
