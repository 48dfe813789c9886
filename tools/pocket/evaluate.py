"""Examine the pocket model: `python -m tools.pocket.evaluate --folder FOLDER` prints its marks as Markdown.

Everything goes through the pipelines of Diffusers, as a user's own prompts would.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    DiffusionPipeline,
    LTXConditionPipeline,
    LTXImageToVideoPipeline,
    LTXPipeline,
)
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition
from numpy.typing import NDArray
from PIL import Image

from tools.pocket.caption import say, tell
from tools.pocket.latents import NATIVE
from tools.pocket.scene import SHARED, Frames, Scene, Size, draw, imagine, split
from tools.pocket.vae_stage import to_frames, to_tensor
from vidgen.media.seen import Sighting, detect
from vidgen.media.world import Subject

ATTRIBUTES = ("colour", "background", "motion", "shape")
STEPS, GUIDANCE, FPS = 20, 3.0, 8
KEYFRAME_GUIDANCES = (1.0, 1.5, GUIDANCE)
"""Guidance overdoes the motion the words ask for, and may drive the object past a keyframe that is not the first."""
DEMO = "a red circle moving right on a blue background"
DEMO_SUBJECT = Subject(shape="circle", colour="red", background="blue", motion="right")
KEYFRAMES = {"first": (0,), "middle": (4,), "last": (8,), "first and last": (0, 8)}
NEAR = 2.5
"""Pixels of 64 that a keyframe's object may be off."""
OTHER_SIZES = {
    "17 frames": Size(frames=17), "96x64": Size(width=96), "64x96": Size(height=96),
    "96x96": Size(width=96, height=96),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One clip that was asked for: what it should show, and what was seen."""

    scene: Scene
    frames: Frames
    seen: Sighting

    def right(self, attribute: str) -> bool:
        """Whether an attribute is as asked."""
        return bool(getattr(self.seen.subject, attribute) == getattr(self.scene.subject, attribute))


def main() -> None:
    """Print one table for each way of asking."""
    options = _options()
    torch.set_num_threads(options.threads)
    lines = [f"seed {options.seed}, {STEPS} steps, guidance {GUIDANCE}, {FPS} fps, float32 from bfloat16 weights", ""]
    for table in (reconstructions, text_to_video, shared_words, image_to_video, keyframes):
        if options.only in (None, table.__name__):
            lines += [*table(options.folder, options.clips, options.seed), ""]
            print("\n".join(lines), flush=True)
            lines = []


def reconstructions(folder: Path, clips: int, seed: int) -> list[str]:
    """What the VAE keeps: the transformer can not do better."""
    vae = AutoencoderKLLTXVideo.from_pretrained(folder / "vae", dtype=torch.float32)
    scenes = scenes_for(np.random.default_rng(seed), _mixed_up(seed), clips, NATIVE)
    trials, noise = [], []
    for scene in scenes:
        truth = draw(scene, NATIVE)
        with torch.no_grad():
            latents = vae.encode(to_tensor(truth)[None]).latent_dist.mode()
            frames = to_frames(vae.decode(latents, return_dict=False)[0])[0]
        trials.append(Trial(scene=scene, frames=frames, seen=detect(frames)))
        noise.append(psnr(truth, frames))
    below = f"PSNR {np.mean(noise):.2f} dB, worst tenth under {np.percentile(noise, 10):.2f} dB"
    return [*marks({"VAE reconstructions": trials}), "", below]


def text_to_video(folder: Path, clips: int, seed: int) -> list[str]:
    """Prompts of combinations never seen and, three fifths as many, of combinations from training."""
    pipe = _load(LTXPipeline, folder)
    rng = np.random.default_rng(seed)
    shown, held_out = split()
    groups = {"unseen combinations": (held_out, clips * 5 // 8), "seen combinations": (shown, clips * 3 // 8)}
    trials: dict[str, list[Trial]] = {"all": []}
    for name, (subjects, count) in groups.items():
        scenes = scenes_for(rng, [subjects[i] for i in rng.permutation(len(subjects))], count, NATIVE)
        prompts = [say(s.subject) if i % 2 else tell(rng, s, whole=True)[0] for i, s in enumerate(scenes)]
        trials[name] = _ask(scenes, _Film(pipe, prompts, seed))
        trials["all"] += trials[name]
    trials |= {f"- on {ground}": _on(trials["all"], ground) for ground in SHARED}
    scenes = scenes_for(rng, [DEMO_SUBJECT], clips // 10, NATIVE)
    trials[DEMO] = _ask(scenes, _Film(pipe, [DEMO] * len(scenes), seed))
    for name, size in OTHER_SIZES.items():
        scenes = scenes_for(rng, [held_out[i] for i in rng.permutation(len(held_out))], clips // 12, size)
        trials[name] = _ask(scenes, _Film(pipe, [say(s.subject) for s in scenes], seed, size))
    return [*marks(trials), "", *confusion(trials["all"])]


def shared_words(folder: Path, clips: int, seed: int) -> list[str]:
    """Blue on green and green on blue, where only the order of the words says which is which."""
    pipe, rng = _load(LTXPipeline, folder), np.random.default_rng([seed, 4])
    trials = {}
    for name, subjects in zip(("seen combinations", "unseen combinations"), split(), strict=True):
        group = [s for s in subjects if s.colour in SHARED and s.background in SHARED]
        scenes = scenes_for(rng, [group[i] for i in rng.permutation(len(group))], clips // 6, NATIVE)
        trials[name] = _ask(scenes, _Film(pipe, [say(s.subject) for s in scenes], seed))
    return marks(trials)


def image_to_video(folder: Path, clips: int, seed: int) -> list[str]:
    """A right first frame and a prompt."""
    pipe = _load(LTXImageToVideoPipeline, folder)
    scenes = scenes_for(np.random.default_rng([seed, 1]), _mixed_up(seed), clips // 4, NATIVE)
    firsts = [draw(scene, NATIVE)[0] for scene in scenes]
    trials = _ask(scenes, _Film(pipe, [say(s.subject) for s in scenes], seed, pictures=firsts))
    kept = [psnr(first, trial.frames[0]) for first, trial in zip(firsts, trials, strict=True)]
    return [*marks({"image to video": trials}), "", f"first frame kept at {np.mean(kept):.2f} dB"]


def keyframes(folder: Path, clips: int, seed: int) -> list[str]:
    """Pictures at given frames: how far the object is from where it should be, in pixels."""
    pipe = _load(LTXConditionPipeline, folder)
    lines = [f"| keyframes | guidance | n | centre error there (px) | within {NEAR} px | elsewhere (px) |"]
    lines.append("|---|---|---|---|---|---|")
    for guidance, (name, places) in product(KEYFRAME_GUIDANCES, KEYFRAMES.items()):
        scenes = scenes_for(np.random.default_rng([seed, 2]), _mixed_up(seed), clips // 12, NATIVE, anywhere=True)
        asked = [_conditioned(pipe, scene, places, seed + i, guidance) for i, scene in enumerate(scenes)]
        away = np.array([_away(scene, clip) for scene, clip in zip(scenes, asked, strict=True)])
        there, rest = away[:, list(places)], np.nanmean(np.delete(away, places, axis=1))
        near = 100 * np.mean(np.nan_to_num(there, nan=99) <= NEAR)
        each = " / ".join(f"{error:.2f}" for error in np.nanmean(there, axis=0))
        lines.append(f"| {name} | {guidance} | {len(scenes)} | {each} | {near:.0f} % | {rest:.2f} |")
    return lines


def scenes_for(
    rng: np.random.Generator, subjects: Sequence[Subject], count: int, size: Size, *, anywhere: bool = False
) -> list[Scene]:
    """Scenes of all the subjects in turn."""
    return [imagine(rng, subjects[i % len(subjects)], size, anywhere=anywhere) for i in range(count)]


def _mixed_up(seed: int) -> list[Subject]:
    """The combinations never seen, in an order of their own."""
    held_out = split()[1]
    return [held_out[i] for i in np.random.default_rng([seed, 3]).permutation(len(held_out))]


def _on(trials: list[Trial], ground: str) -> list[Trial]:
    return [trial for trial in trials if trial.scene.subject.background == ground]


def marks(groups: dict[str, list[Trial]]) -> list[str]:
    """A table of the share that is right, in percent."""
    lines = [f"| | n | {' | '.join(ATTRIBUTES)} | all but shape | all four |", "|---|---|---|---|---|---|---|---|"]
    for name, trials in groups.items():
        shares = [_share(trial.right(attribute) for trial in trials) for attribute in ATTRIBUTES]
        most = _share(all(trial.right(a) for a in ATTRIBUTES[:-1]) for trial in trials)
        every = _share(all(trial.right(a) for a in ATTRIBUTES) for trial in trials)
        lines.append(f"| {name} | {len(trials)} | {' | '.join([*shares, most, every])} |")
    return lines


def confusion(trials: list[Trial]) -> list[str]:
    """What was seen for each shape that was asked for."""
    pairs = [(trial.scene.subject.shape, trial.seen.subject.shape) for trial in trials]
    return [f"{pairs.count(pair)} x {pair[0]} seen as {pair[1]}" for pair in sorted(set(pairs))]


def psnr(one: Frames, other: Frames) -> float:
    """Likeness of two pictures or clips in decibels."""
    error = np.square(one.astype(np.float64) - other).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def _load(kind: type[DiffusionPipeline], folder: Path) -> Any:
    # Said, because Transformers would else load its part as it was saved and Diffusers the others in float32.
    pipe = kind.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@dataclass(frozen=True, slots=True)
class _Film:
    """A pipeline with what it is asked for; each prompt has a seed of its own."""

    pipe: Any
    prompts: list[str]
    seed: int
    size: Size = NATIVE
    pictures: list[Frames] | None = None

    def clips(self, first: int, count: int) -> NDArray[np.float32]:
        """Some of the clips, (clips, frames, height, width, 3) in 0..1."""
        part = slice(first, first + count)
        given = {"image": [Image.fromarray(p) for p in self.pictures[part]]} if self.pictures else {}
        seeds = [1000 * self.seed + first + i for i in range(len(self.prompts[part]))]
        return np.asarray(self.pipe(prompt=self.prompts[part], **given, **_settings(seeds, self.size)).frames)


def _ask(scenes: list[Scene], film: _Film, batch: int = 10) -> list[Trial]:
    clips = [_to_bytes(clip) for i in range(0, len(scenes), batch) for clip in film.clips(i, batch)]
    return [Trial(scene=s, frames=c, seen=detect(c)) for s, c in zip(scenes, clips, strict=True)]


def _conditioned(pipe: Any, scene: Scene, places: tuple[int, ...], seed: int, guidance: float) -> Frames:
    truth = draw(scene, NATIVE)
    conditions = [LTXVideoCondition(image=Image.fromarray(truth[place]), frame_index=place) for place in places]
    settings = _settings([seed], NATIVE) | {"guidance_scale": guidance}
    return _to_bytes(pipe(conditions=conditions, prompt=say(scene.subject), **settings).frames[0])


def _away(scene: Scene, frames: Frames) -> NDArray[np.float64]:
    """Pixels between the object and where it should be, frame by frame."""
    gap = detect(frames).centres - detect(draw(scene, NATIVE)).centres
    return np.asarray(np.hypot(gap[:, 0], gap[:, 1]))


def _to_bytes(clip: NDArray[np.float32]) -> Frames:
    return np.rint(255 * clip).astype(np.uint8)


def _settings(seeds: list[int], size: Size) -> dict[str, Any]:
    return {
        "width": size.width, "height": size.height, "num_frames": size.frames, "frame_rate": FPS,
        "num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "np",
        "generator": [torch.Generator().manual_seed(seed) for seed in seeds],
    }  # fmt: skip


def _share(right: Iterable[bool]) -> str:
    return f"{100 * float(np.mean(list(right))):.1f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="an exported pipeline")
    parser.add_argument("--clips", type=int, default=240, help="prompts of text to video; the other tables take parts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--only", choices=("reconstructions", "text_to_video", "shared_words", "image_to_video", "keyframes")
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
