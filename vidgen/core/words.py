"""What a person types, turned into values or refused. Pure text in, values out; knows no model and no file."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path

from vidgen.core.errors import UsageRefused
from vidgen.core.request import Gguf, Lora

SETTINGS = (
    "model",
    "gguf",
    "preset",
    "negative",
    "size",
    "frames",
    "seconds",
    "fps",
    "steps",
    "guidance_scale",
    "true_cfg_scale",
    "seed",
    "fit",
    "background",
    "sound",
    "strict",
    "force",
    "precision",
    "offload",
    "tiling",
    "vram",
    "crf",
    "codec",
    "enhance",
    "enhancer",
    "output",
)
"""Every setting that a flag, a preset, a variable or a configuration file may give."""

OPTIONS = (
    "lora",
    "prompt_file",
    "overwrite",
    "skip_existing",
    "keep_latents",
    "draft",
    "checkpoint_every",
    "wait",
    "fallback",
    "budget",
    "json",
)
"""What is said of one run alone: a flag, and no setting."""

OUTPUT = "{slug}-{seed}.mp4"
"""What a clip is called when nobody says."""

MOST_GIB = 100_000
MOST_SEEDS = 1000
LARGEST_SEED = 2**63 - 1

YES = ("true", "1", "yes", "on")
NO = ("false", "0", "no", "off")


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A place in a clip as typed: a frame (negative counts from the end) or seconds from its beginning."""

    frame: int = 0
    seconds: Fraction | None = None

    def resolve(self, frames: int, fps: Fraction) -> int:
        """The frame meant, in a clip of `frames` frames at `fps`. May lie outside the clip: the check says so."""
        if self.seconds is not None:
            return round(self.seconds * fps)
        return self.frame + frames if self.frame < 0 else self.frame


@dataclass(frozen=True, kw_only=True, slots=True)
class At:
    """A keyframe as typed: `FRAME:IMAGE[:STRENGTH]`."""

    moment: Moment
    picture: Path
    strength: float = 1.0


def whole(name: str, value: object, *, least: int, most: int) -> int:
    """A whole number between `least` and `most`."""
    text = str(value).strip()
    if not re.fullmatch(r"[+-]?\d{1,19}", text) or not least <= int(text) <= most:
        raise UsageRefused(f"{name} {text!r} is not a whole number from {least} to {most}", f"give {name} one of those")
    return int(text)


def number(name: str, value: object, *, least: float, most: float) -> float:
    """A finite number between `least` and `most`."""
    try:
        result = float(str(value))
    except ValueError:
        result = math.nan
    if not least <= result <= most:
        raise UsageRefused(
            f"{name} {str(value)!r} is not a number from {least:g} to {most:g}", f"give {name} one of those"
        )
    return result


def gib(name: str, value: object, *, least: float) -> float:
    """An amount of memory in GiB: 24, or 24GB and 24 GiB as cards are sold."""
    text = re.sub(r"\s*g(i?b)?$", "", str(value).strip(), flags=re.IGNORECASE)
    return number(name, text, least=least, most=MOST_GIB)


def truth(name: str, value: object) -> bool:
    """Yes or no, as TOML, environments and flags spell it."""
    text = str(value).strip().lower()
    if text not in {*YES, *NO}:
        raise UsageRefused(f"{name} {text!r} is neither true nor false", f"write {name} = true or {name} = false")
    return text in YES


def size(value: object, *, default: tuple[int, int], grid: int) -> tuple[int, int]:
    """Width and height from `WxH`, from `50%` of the default, or from `9:16` with about the default's area."""
    text = str(value).strip().lower().replace("×", "x")
    if found := re.fullmatch(r"(\d{1,6})x(\d{1,6})", text):
        return _sides(text, int(found[1]), int(found[2]))
    if (found := re.fullmatch(r"(\d{1,4}(?:\.\d+)?)%", text)) and (part := float(found[1]) / 100):
        return _sides(text, _snap(default[0] * part, grid), _snap(default[1] * part, grid))
    if found := re.fullmatch(r"(\d{1,4}):(\d{1,4})", text):
        return _shaped(text, int(found[1]), int(found[2]), default, grid)
    raise UsageRefused(f"size {text!r} is not WIDTHxHEIGHT", "write --size 768x512, or 50%, or 9:16")


def _shaped(text: str, across: int, down: int, default: tuple[int, int], grid: int) -> tuple[int, int]:
    if not across or not down:
        raise UsageRefused(f"size {text!r} has a side of nothing", "write --size 16:9 or 9:16")
    scale = math.sqrt(default[0] * default[1] / (across * down))
    return _sides(text, _snap(across * scale, grid), _snap(down * scale, grid))


def _sides(text: str, width: int, height: int) -> tuple[int, int]:
    if not (16 <= width <= 8192 and 16 <= height <= 8192):
        raise UsageRefused(f"size {text!r}: each side must lie between 16 and 8192 pixels", "try --size 768x512")
    return width, height


def _snap(length: float, grid: int) -> int:
    return max(grid, round(length / grid) * grid)


def rate(value: object) -> Fraction:
    """Frames a second, exactly: 24, 24000/1001, and 23.976 or 29.97 for what they stand for."""
    text = str(value).strip()
    fps = _fraction(text)
    if not 1 <= fps <= 240:
        raise UsageRefused(f"fps {text!r} is not a rate from 1 to 240", "write --fps 24 or --fps 24000/1001")
    film = Fraction(math.ceil(fps) * 1000, 1001)
    near = fps.denominator > 1 and abs(film - fps) < Fraction(1, 200)
    return film if near and "." in text else fps.limit_denominator(1001)


def duration(value: object) -> Fraction:
    """Seconds: 5, 2.5 or 2.5s."""
    seconds = _fraction(str(value).strip().removesuffix("s"))
    if not 0 < seconds <= 3600:
        raise UsageRefused(f"{str(value)!r} is not a length in seconds", "write --seconds 2.5")
    return seconds


def _fraction(text: str) -> Fraction:
    """An exact number such as 24, 2.5 or 24000/1001; 0 for anything else, however many digits its exponent claims."""
    plain = re.fullmatch(r"\d{1,9}(\.\d{1,20}|/0*[1-9]\d{0,8})?", text)
    return Fraction(text) if plain else Fraction(0)


def seeds(value: object) -> tuple[int, ...]:
    """Seeds from `7`, `1..8`, `3,5,9` and mixtures; empty for `random`."""
    text = str(value).strip().lower()
    if text == "random":
        return ()
    found: list[int] = []
    for part in text.split(","):
        ends = [whole("seed", end, least=0, most=LARGEST_SEED) for end in part.split("..", 1)]
        if ends[-1] - ends[0] >= MOST_SEEDS or ends[-1] < ends[0]:
            raise UsageRefused(f"seed range {part!r} is empty or longer than {MOST_SEEDS}", "write --seed 1..8")
        found.extend(range(ends[0], ends[-1] + 1))
        if len(found) > MOST_SEEDS:
            raise UsageRefused(f"seeds {text[:40]!r} are more than {MOST_SEEDS}", "write --seed 1..8")
    return tuple(dict.fromkeys(found))


def steps(value: object, *, default: int) -> int:
    """A number of steps, or a part of the default such as `50%`."""
    text = str(value).strip()
    if (found := re.fullmatch(r"(\d{1,3})%", text)) and (part := int(found[1])):
        return max(1, round(default * part / 100))
    return whole("steps", text, least=1, most=1000)


def at(text: str) -> At:
    """A keyframe, `FRAME:IMAGE[:STRENGTH]`, where FRAME is 0, 24, -1 or 1.5s."""
    when, _, rest = text.partition(":")
    if not when or not rest:
        raise UsageRefused(
            f"keyframe {text!r} is not FRAME:IMAGE[:STRENGTH]", "write --at 0:first.png --at -1:last.png"
        )
    path, strength = _weighted(rest, "strength", least=0.0, most=1.0)
    return At(moment=moment(when), picture=Path(path), strength=strength)


def moment(text: str) -> Moment:
    """A place in the clip: 0, 24, -1 or 1.5s."""
    if re.fullmatch(r"-?\d{1,6}", text):
        return Moment(frame=int(text))
    if re.fullmatch(r"\d{1,4}(\.\d{1,6})?s", text):
        return Moment(seconds=Fraction(text[:-1]))
    raise UsageRefused(f"{text!r} is neither a frame nor a time", "write 0, 24, -1 (the last frame) or 1.5s")


def parted(prompt: str) -> tuple[str, ...]:
    """The prompts that bars part in one, for a model that takes several."""
    return tuple(part.strip() for part in prompt.split("|"))


def lora(text: str) -> Lora:
    """A LoRA, `PATH[:WEIGHT]`."""
    path, weight = _weighted(text, "weight", least=-10.0, most=10.0)
    return Lora(path=Path(path), weight=weight)


def ggufs(value: object) -> tuple[Gguf, ...]:
    """GGUF files, `[NAME=]FILE` each: of one text, or of a list of them. An empty one is none."""
    said = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(each, str | Path | Gguf) for each in said):
        raise UsageRefused(f"gguf {value!r} names no files", 'write gguf = "FILE.gguf"')
    return tuple(each if isinstance(each, Gguf) else gguf(str(each)) for each in said if str(each))


def gguf(text: str) -> Gguf:
    """A GGUF file, `[NAME=]FILE`, where NAME is a component of the model."""
    found = re.fullmatch(r"([a-z][a-z_\d]*)=(.+)", text)
    return Gguf(path=Path(found[2]), component=found[1]) if found else Gguf(path=Path(text))


def _weighted(text: str, name: str, *, least: float, most: float) -> tuple[str, float]:
    path, _, tail = text.rpartition(":")
    if not path or not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?|nan|[+-]?inf", tail, re.IGNORECASE):
        return text, 1.0
    return path, number(name, tail, least=least, most=most)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` when one of `known` is close to `word`, else nothing."""
    close = get_close_matches(word.lower(), sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
