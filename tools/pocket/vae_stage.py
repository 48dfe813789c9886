"""The first stage: the VAE learns to keep edges. The transformer can draw no crisper than this."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor
from torch.nn import functional

from tools.pocket.scene import Frames, Scene, Size, draw, imagine, recolour, split

KL = 1e-3
EDGE = 4.0
"""Extra weight of a pixel within two of an edge: shape lives there, and nowhere else."""
CROP = Size(width=32, height=32)
OTHER_SIZES = (Size(frames=17), Size(width=96), Size(height=96), Size(width=96, height=96))
SUBJECTS = split()[0]

Coded = tuple[Tensor, Tensor]
"""A reconstruction and the divergence of its latents from a unit Gaussian."""


@dataclass(slots=True)
class VaeStage:
    """Crops around the object for speed, whole clips for the borders; nearly whole clips only towards the end."""

    module: AutoencoderKLLTXVideo
    crops: int = 8
    clips: int = 2
    rate: float = 5e-3
    name: str = "vae"

    def loss(self, shared: np.random.Generator, rng: np.random.Generator, progress: float) -> Tensor:
        """Reconstruction in pixels and in differences of neighbours, and a leash on the latents."""
        kind = shared.random()
        if kind < (0.65 if progress < 0.75 else 0.2):
            return self._judge(np.stack([crop(rng) for _ in range(self.crops)]))
        if kind < 0.92:
            return self._judge(film(rng, Size(), self.clips))
        size = OTHER_SIZES[shared.integers(len(OTHER_SIZES))]
        return self._judge(film(rng, size, max(1, self.clips // 2)))

    def _judge(self, clips: Frames) -> Tensor:
        video = to_tensor(clips).to(self.module.device)
        seen, divergence = _code(self.module, video)
        error = seen - video
        weight = 1 + EDGE * _near_edge(video)
        pixels = (weight * (error.abs() + error.square())).mean()
        slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        return pixels + 0.2 * slopes + KL * divergence


def to_tensor(clips: Frames) -> Tensor:
    """Frames (..., frames, height, width, 3) in 0..255 to a video (..., 3, frames, height, width) in -1..1."""
    return torch.from_numpy(clips).movedim(-1, -4).float() / 127.5 - 1


def to_frames(video: Tensor) -> Frames:
    """The way back from `to_tensor`."""
    return (video.detach().float().movedim(-4, -1).cpu() * 127.5 + 127.5).round().clamp(0, 255).byte().numpy()


def _code(vae: AutoencoderKLLTXVideo, video: Tensor) -> Coded:
    latents = vae.encode(video).latent_dist
    divergence = 0.5 * (latents.mean.square() + latents.var - 1 - latents.logvar).mean()
    return vae.decode(latents.mean + latents.std * torch.randn_like(latents.mean), return_dict=False)[0], divergence


def _near_edge(video: Tensor) -> Tensor:
    """1 within two pixels of a change of colour, 0 elsewhere."""
    across = functional.pad(video.diff(dim=-1).abs().amax(1), (0, 1))
    down = functional.pad(video.diff(dim=-2).abs().amax(1), (0, 0, 0, 1))
    edge = ((across > 0.15) | (down > 0.15)).float()
    return functional.max_pool2d(functional.max_pool2d(edge, (1, 5), 1, (0, 2)), (5, 1), 1, (2, 0))[:, None]


def film(rng: np.random.Generator, size: Size, count: int) -> Frames:
    """Clips of anything that training shows, (clips, frames, height, width, 3)."""
    return np.stack([draw(_scene(rng, size), size) for _ in range(count)])


def crop(rng: np.random.Generator) -> Frames:
    """A window that holds a piece of the outline at some moment of the clip."""
    whole = Size()
    scene = _scene(rng, whole)
    moment, angle, out = rng.random(), rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.2)
    radius = out * (scene.radius + (scene.last_radius - scene.radius) * moment)
    middle = np.asarray(scene.start) * (1 - moment) + np.asarray(scene.end) * moment
    point = middle + radius * np.array([np.cos(angle), np.sin(angle)])
    corner = np.clip(np.rint(point - CROP.width / 2), 0, whole.width - CROP.width).astype(int)
    return draw(scene, CROP, corner=(int(corner[0]), int(corner[1])))


def _scene(rng: np.random.Generator, size: Size) -> Scene:
    scene = imagine(rng, SUBJECTS[rng.integers(len(SUBJECTS))], size, anywhere=bool(rng.random() < 0.5))
    return recolour(rng, scene) if rng.random() < 0.15 else scene
