"""The transformer's training set: clips drawn and encoded once, kept beside what they show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tools.pocket.architecture import SPATIAL, TEMPORAL
from tools.pocket.scene import Frames, Scene, Size, draw, imagine, lessons
from tools.pocket.vae_stage import to_tensor

NATIVE = Size()
SHELVES: dict[str, tuple[Size, bool, int]] = {
    "centre": (NATIVE, False, 4000),
    "anywhere": (NATIVE, True, 2600),
    "long": (Size(frames=17), True, 500),
    "wide": (Size(width=96), True, 480),
    "tall": (Size(height=96), True, 240),
    "large": (Size(width=96, height=96), True, 440),
}
"""Name, size, whether objects are anywhere in the picture, and how many clips."""
NEAR_OBJECT = 3.0
"""Extra weight of a latent that sees the object: the background is most of a clip and says nothing of the shape."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Clips of one size. Latents are scaled to unit variance; `still` holds frames encoded each by itself."""

    size: Size
    scenes: list[Scene]
    latents: Tensor
    """(clips, channels, frames, height, width)"""
    weight: Tensor
    """(clips, frames, height, width): how much an error counts there"""
    stills: Tensor
    """(clips, 2, channels, height, width): a frame from the middle, and the last"""
    places: Tensor
    """(clips, 2): which frames those are"""


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and spread of the latents, channel by channel, and the encoder's own noise after scaling."""

    mean: Tensor
    spread: Tensor
    noise: float

    def to_unit(self, latents: Tensor) -> Tensor:
        """Latents (clips, channels, frames, height, width) to zero mean and unit variance."""
        return (latents - self.mean.view(1, -1, 1, 1, 1)) / self.spread.view(1, -1, 1, 1, 1)


@torch.no_grad()
def measure(vae: AutoencoderKLLTXVideo, clips: int = 96) -> Scale:
    """The scale of a VAE's latents, from clips of the native size."""
    rng = np.random.default_rng(99)
    scenes = _scenes(rng, NATIVE, False, clips)
    every = [vae.encode(_video(scenes[i : i + 16], NATIVE).to(vae.device)).latent_dist for i in range(0, clips, 16)]
    means, deviations = torch.cat([e.mean for e in every]), torch.cat([e.std for e in every])
    mean, spread = means.mean((0, 2, 3, 4)), means.std((0, 2, 3, 4))
    return Scale(mean.cpu(), spread.cpu(), float((deviations.mean((0, 2, 3, 4)) / spread).mean()))


def save_scale(scale: Scale, path: Path) -> None:
    """Keep a scale for the export, whole or not at all."""
    part = path.with_suffix(".part")
    torch.save({"mean": scale.mean, "spread": scale.spread, "noise": scale.noise}, part)
    part.replace(path)


def load_scale(path: Path) -> Scale:
    """The scale of the latents that the transformer was trained on."""
    return Scale(**torch.load(path, weights_only=True))


def shelf(vae: AutoencoderKLLTXVideo, scale: Scale, name: str, path: Path, *, seed: list[int], share: float) -> Shelf:
    """One worker's share of a shelf, read from `path`, or drawn, encoded and kept there."""
    size, anywhere, count = SHELVES[name]
    rng = np.random.default_rng([*seed, sorted(SHELVES).index(name)])
    scenes = _scenes(rng, size, anywhere, max(8, int(count * share)))
    middles = rng.integers(2, size.frames - 2, len(scenes))
    if not path.exists():
        steps = range(0, len(scenes), 8)
        parts = [_encode(vae, scale, size, scenes[i : i + 8], middles[i : i + 8]) for i in steps]
        torch.save([torch.cat([part[k] for part in parts]) for k in range(3)], path)
    latents, weight, stills = torch.load(path, weights_only=True)
    places = torch.stack([torch.from_numpy(middles), torch.full((len(scenes),), size.frames - 1)], 1)
    return Shelf(size, scenes, latents, weight, stills, places)


@torch.no_grad()
def _encode(
    vae: AutoencoderKLLTXVideo, scale: Scale, size: Size, scenes: list[Scene], middles: NDArray[np.int64]
) -> tuple[Tensor, Tensor, Tensor]:
    clips = np.stack([draw(scene, size) for scene in scenes])
    video = to_tensor(clips).to(vae.device)
    latents = scale.to_unit(vae.encode(video).latent_dist.mean.cpu())
    picked = torch.stack([video[i, :, [int(m), size.frames - 1]] for i, m in enumerate(middles)]).movedim(2, 1)
    alone = scale.to_unit(vae.encode(picked.flatten(0, 1)[:, :, None]).latent_dist.mean.cpu())
    stills = alone[:, :, 0].reshape(len(scenes), 2, *alone.shape[1:2], *alone.shape[3:])
    return latents.half(), _weight(clips, scenes), stills.half()


def _weight(clips: Frames, scenes: list[Scene]) -> Tensor:
    ground = np.rint(255 * np.array([s.background for s in scenes]))[:, None, None, None]
    seen = torch.from_numpy(np.abs(clips - ground).max(-1) > 12).float()
    first, rest = seen[:, :1], seen[:, 1:].reshape(len(seen), -1, TEMPORAL, *seen.shape[2:]).amax(2)
    near = functional.max_pool2d(functional.max_pool2d(torch.cat([first, rest], 1), 5, 1, 2), SPATIAL)
    weight = 1 + NEAR_OBJECT * near
    return (weight / weight.mean((1, 2, 3), keepdim=True)).half()


def _scenes(rng: np.random.Generator, size: Size, anywhere: bool, count: int) -> list[Scene]:
    shown = lessons()
    picks = np.concatenate([rng.permutation(len(shown)) for _ in range(1 + count // len(shown))])[:count]
    return [imagine(rng, shown[i], size, anywhere=anywhere) for i in picks]


def _video(scenes: list[Scene], size: Size) -> Tensor:
    return to_tensor(np.stack([draw(scene, size) for scene in scenes]))
