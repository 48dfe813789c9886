"""The third stage: the transformer learns to draw what words and pictures ask for, by flow matching on latents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import LTXVideoTransformer3DModel
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from tools.pocket import latents
from tools.pocket.architecture import SHIPPED, SPATIAL, TEMPORAL, Sizes, make_transformer, make_vae
from tools.pocket.caption import say_nothing, tell
from tools.pocket.latents import Scale, Shelf, load_scale, measure, save_scale, shelf
from tools.pocket.loop import Course, averaged
from tools.pocket.tokens import make_tokenizer
from tools.pocket.words_stage import LENGTHS, load_text_encoder, tokenize

OTHER_SIZES = 0.25
"""Share of the steps on clips of another size than the native one."""
MODES = {"text": 0.45, "image": 0.1, "keyframes": 0.45}
KINDS = {"middle": 0.42, "last": 0.38, "first and last": 0.2}
"""Keyframes given. One without a first frame is learnt last, so it comes often."""
SILENCE = {"text": 0.1, "image": 0.3, "keyframes": 0.4}
"""Share of prompts that say nothing. Guidance starts from these, and they too must heed a keyframe."""
COMPILED_TOKENS = 256
RATES = (8, 8, 8, 8, 12, 16, 24, 25, 30)
CONDITION_NOISE = 0.15
"""LTXConditionPipeline's default: noise on given latents, times the square of the noise level."""


@dataclass(slots=True)
class Batch:
    """Clean latents of some clips as tokens, and what is given of them."""

    clean: Tensor
    """(clips, tokens, channels)"""
    weight: Tensor
    """(clips, tokens): how much an error counts; 0 for what is given"""
    coords: Tensor
    """(clips, 3, tokens): seconds and pixels"""
    given: Tensor | None
    """(tokens,): which are known from the start; None if none are"""


@dataclass(slots=True)
class DitStage:
    """Text, image and keyframe steps, one kind to a batch, with the same token grids as the pipelines."""

    module: LTXVideoTransformer3DModel
    text_encoder: T5EncoderModel
    tokenizer: PreTrainedTokenizerFast
    shelves: dict[str, Shelf]
    scale: Scale
    clips: int = 24
    rate: float = 3e-3
    name: str = "dit"

    def loss(self, shared: np.random.Generator, rng: np.random.Generator, progress: float) -> Tensor:
        """The error of the predicted direction from clip to noise, most of it counted near the object."""
        mode = str(shared.choice(list(MODES), p=list(MODES.values())))
        chosen = self._choose(shared, mode)
        tokens = chosen.latents[0, 0].numel()
        picks = rng.integers(len(chosen.scenes), size=max(1, self.clips * 192 // tokens))
        fps, late = int(rng.choice(RATES)), bool(mode == "keyframes" or rng.random() < 0.5)
        batch = assemble(rng, chosen, picks, mode, fps, late=late)
        length = LENGTHS[shared.integers(len(LENGTHS))]
        words, mask = self._read(rng, chosen, picks, SILENCE[mode], length, masked=late)
        return self._flow(rng, batch, words, mask, late=late)

    def _choose(self, shared: np.random.Generator, mode: str) -> Shelf:
        if shared.random() < OTHER_SIZES:
            return self.shelves[str(shared.choice(["long", "wide", "tall", "large"], p=[0.2, 0.3, 0.2, 0.3]))]
        centre = mode == "text" and shared.random() < 0.85
        return self.shelves["centre" if centre else "anywhere"]

    @torch.no_grad()
    def _read(
        self,
        rng: np.random.Generator,
        shelf: Shelf,
        picks: NDArray[np.int64],
        silence: float,
        length: int,
        *,
        masked: bool,
    ) -> tuple[Tensor, Tensor]:
        texts = [say_nothing(rng) if rng.random() < silence else tell(rng, shelf.scenes[i])[0] for i in picks]
        ids, mask = tokenize(self.tokenizer, texts, length)
        ids, mask = ids.to(self.module.device), mask.to(self.module.device)
        words = self.text_encoder(ids, attention_mask=mask if masked else None).last_hidden_state
        # The transformer does not see what is masked, so what lies beyond the longest caption costs time only.
        return words[:, : LENGTHS[0]], mask[:, : LENGTHS[0]]

    def _flow(self, rng: np.random.Generator, batch: Batch, words: Tensor, mask: Tensor, *, late: bool) -> Tensor:
        device = self.module.device
        clean, noise = batch.clean.to(device), torch.randn_like(batch.clean).to(device)
        sigma = noise_levels(rng, len(clean)).to(device)
        noisy, level = clean.lerp(noise, sigma[:, None]), sigma
        if batch.given is not None:
            given = batch.given.to(device)[None, :, None]
            spread = self.scale.noise**2 + (CONDITION_NOISE * sigma.square() * late * (rng.random() < 0.7)) ** 2
            noisy = torch.where(given, clean + noise * spread.sqrt()[:, None], noisy)
            level = torch.where(given[..., 0], 0.0, sigma)
        # Compiling pays for the shapes that come often.
        common = clean.shape[1] <= COMPILED_TOKENS
        with torch.compiler.set_stance("default" if common else "force_eager"):
            guess = self.module(noisy, words, 1000 * level, mask, video_coords=batch.coords.to(device))[0]
        error = (guess - (noise - clean)).square().mean(-1)
        weight = batch.weight.to(device)
        total: Tensor = (weight * error).sum() / weight.sum()
        return total


def prepare(course: Course, clips: int, device: str, sizes: Sizes = SHIPPED, *, compiled: bool = True) -> DitStage:
    """Everything a worker needs: what the first two stages learnt, and its share of the latents."""
    vae, text_encoder = make_vae(sizes).to(device), load_text_encoder(course.folder / "words.pt", sizes).to(device)
    vae.load_state_dict(averaged(course.folder / "vae.pt"))
    kept = course.folder / "scale.pt"
    scale = load_scale(kept) if kept.exists() else measure(vae)
    if course.rank == 0:
        save_scale(scale, kept)
    shelves = {}
    for name in latents.SHELVES:
        path = course.folder / f"latents-{name}-{course.rank}-of-{course.workers}.pt"
        seed = [course.seed, course.rank, course.workers]
        shelves[name] = shelf(vae, scale, name, path, seed=seed, share=1 / course.workers)
    torch.manual_seed(course.seed)
    transformer = make_transformer(sizes).to(device)
    if compiled:
        transformer.compile_repeated_blocks(dynamic=False)
    return DitStage(transformer, text_encoder, make_tokenizer(), shelves, scale, clips)


def noise_levels(rng: np.random.Generator, count: int) -> Tensor:
    """Mostly high: what the words decide is decided while the picture is still nearly noise."""
    uniform, high = rng.random(count), 1 / (1 + np.exp(-rng.normal(1.0, 1.0, count)))
    levels = np.where(rng.random(count) < 0.35, uniform, high)
    return torch.from_numpy(levels.astype(np.float32))[:, None]


def assemble(
    rng: np.random.Generator, shelf: Shelf, picks: NDArray[np.int64], mode: str, fps: int, *, late: bool
) -> Batch:
    """Tokens of a batch as the pipelines lay them out; `late` is LTXConditionPipeline's count of time."""
    index = torch.from_numpy(picks)
    latents = shelf.latents[index].float()
    clean = latents.flatten(2).transpose(1, 2)
    weight = shelf.weight[index].float().flatten(1)
    coords = grid(*latents.shape[2:], late=late).expand(len(picks), -1, -1)
    if mode == "text":
        return Batch(clean, weight, _in_seconds(coords, fps), None)
    frame = latents.shape[3] * latents.shape[4]
    kinds = rng.choice(list(KINDS), p=list(KINDS.values())) if mode == "keyframes" else "first"
    given = torch.zeros(clean.shape[1], dtype=torch.bool)
    given[:frame] = "first" in str(kinds)
    if mode == "keyframes":
        which = 0 if kinds == "middle" else 1
        still = shelf.stills[index, which].float().flatten(2).transpose(1, 2)
        there = grid(1, *latents.shape[3:], late=True).expand(len(picks), -1, -1).clone()
        there[:, 0] += shelf.places[index, which, None]
        clean, coords = torch.cat([still, clean], 1), torch.cat([there, coords], 2)
        weight = torch.cat([torch.zeros(len(picks), frame), weight], 1)
        given = torch.cat([torch.ones(frame, dtype=torch.bool), given])
    return Batch(clean, weight * ~given, _in_seconds(coords, fps), given)


def grid(frames: int, height: int, width: int, *, late: bool) -> Tensor:
    """Where tokens are: frame number and pixels, (1, 3, tokens)."""
    t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    time = (TEMPORAL * t - (TEMPORAL - 1) * late).clamp(min=0)
    return torch.stack([time, SPATIAL * y, SPATIAL * x]).float().flatten(1)[None]


def _in_seconds(coords: Tensor, fps: int) -> Tensor:
    return coords * torch.tensor([1 / fps, 1, 1])[None, :, None]
