"""Words into requests: each setting from the highest layer that has it, each request complete.

Pure: layers and a card in, requests and the origin of every setting out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidgen.core import words
from vidgen.core.card import ModelCard
from vidgen.core.errors import Refusal, UsageRefused
from vidgen.core.plan import Precision, Setting
from vidgen.core.request import Fit, Keyframe, Lora, Mode, Request
from vidgen.planning.ladder import OFFLOADS, TILES

Layers = Mapping[str, Mapping[str, Any]]

LIMITS = ("precision", "offload", "tiling", "vram")
"""Limits of the plan: settings that narrow its choice, and of which some belong to one machine."""

LONGEST = 230
"""Bytes in a name: room for what is put behind it, under the 255 of most file systems."""

BUILT_IN: Mapping[str, Any] = {
    "true_cfg_scale": 1.0,
    "gguf": "",
    "seed": "random",
    "fit": Fit.CROP.value,
    "background": "black",
    "sound": True,
    "strict": False,
    "force": False,
    "precision": "auto",
    "offload": "auto",
    "tiling": "auto",
    "vram": "auto",
    "codec": "auto",
    "crf": "auto",
    "enhance": "auto",
    "enhancer": "",
    "output": words.OUTPUT,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What the clip is of: the words and pictures that only a command line gives."""

    mode: Mode
    prompt: str
    at: Sequence[words.At | Keyframe] = ()
    loras: Sequence[Lora] = ()


BEGUN = "begun"
"""Where the settings of a clip come from that is gone on with: from its folder."""

ASKED = frozenset({"flag", "preset", BEGUN})
"""What was said for this very clip; the rest for all of them."""

WRITTEN: Mapping[str, str] = {
    "preset": "the preset says: ",
    BEGUN: "the folder of the clip says: ",
    "environment": "VIDGEN_{} says: ",
    "project": "vidgen.toml says: ",
    "user": "your configuration (vidgen config show) says: ",
}
"""Where a bad value stands, when it was not typed just now."""


class _Settled:
    """Looks settings up through the layers and remembers where each was found."""

    def __init__(self, layers: Layers, card: ModelCard, mode: Mode) -> None:
        way = card.ways.get(mode)
        own = {} if way is None or way.guidance_scale is None else {"guidance_scale": way.guidance_scale}
        self._layers = {**layers, "card": {**card.defaults, **own}, "built in": BUILT_IN}
        self._read = ""
        self.origins: dict[str, str] = {}

    def get(self, key: str) -> Any:
        for origin, values in self._layers.items():
            if key in values:
                self._read, self.origins[key] = key, origin
                return values[key]
        raise KeyError(key)

    def located(self, refusal: UsageRefused) -> UsageRefused:
        """The refusal of the value that was read last, with the place where it is written."""
        place = WRITTEN.get(self.origins.get(self._read, ""), "").format(self._read.upper())
        return UsageRefused(f"{place}{refusal.message}", refusal.remedy)

    def rival(self, first: str, second: str) -> str:
        """Which of two settings for the same thing stands higher; refused when one layer has both."""
        self._read = ""
        for origin, values in self._layers.items():
            if first in values and second in values:
                raise UsageRefused(f"both {first} and {second} are given ({origin})", f"give only {first} or {second}")
            if first in values or second in values:
                return first if first in values else second
        raise KeyError(first)


def settle(
    layers: Layers, card: ModelCard, subject: Subject, *, fresh_seed: int
) -> tuple[tuple[Request, ...], tuple[Setting, ...]]:
    """One request for each seed, and every effective setting with its origin. `fresh_seed` stands for `random`."""
    settled = _Settled(layers, card, subject.mode)
    try:
        request = _request(settled, card, subject)
        seeds = words.seeds(settled.get("seed")) or (fresh_seed,)
    except UsageRefused as refusal:
        raise settled.located(refusal) from None
    return tuple(replace(request, seed=seed) for seed in seeds), _settings(settled, request, seeds)


def located(refusal: Refusal, origins: Sequence[Setting]) -> Refusal:
    """The refusal of a limit of the plan, with the place where it is written, when it was not typed just now."""
    for setting in origins:
        said = f"{refusal.message} {refusal.remedy if isinstance(refusal, UsageRefused) else ''}"
        if setting.name in LIMITS and setting.origin in WRITTEN and f"--{setting.name}" in said:
            place = WRITTEN[setting.origin].format(setting.name.upper())
            return type(refusal)(f"{place}{refusal.message}", refusal.remedy)
    return refusal


def _request(settled: _Settled, card: ModelCard, subject: Subject) -> Request:
    """The request, all but its seed. Each value is read from its layer only just before it is understood."""
    width, height = _size(settled, card)
    fps = words.rate(settled.get("fps"))
    frames = _frames(settled, fps)
    return Request(
        mode=subject.mode,
        model=card.name,
        prompt=subject.prompt,
        negative=_text("negative", settled.get("negative")),
        keyframes=tuple(_keyframe(at, frames, fps) for at in subject.at),
        width=width,
        height=height,
        frames=frames,
        fps=fps,
        steps=_steps(settled, card),
        guidance_scale=words.number("guidance-scale", settled.get("guidance_scale"), least=0.0, most=100.0),
        true_cfg_scale=words.number("true-cfg-scale", settled.get("true_cfg_scale"), least=1.0, most=100.0),
        seed=0,
        loras=tuple(subject.loras),
        ggufs=words.ggufs(settled.get("gguf")),
        fit=_fit(settled.get("fit")),
        background=_text("background", settled.get("background")),
        sound=words.truth("sound", settled.get("sound")) and card.sound,
        strict=words.truth("strict", settled.get("strict")),
        force=words.truth("force", settled.get("force")),
        precision=_precision(settled.get("precision")),
        offload=_one_of("offload", settled.get("offload"), ("auto", *OFFLOADS)),
        tiling=_one_of("tiling", settled.get("tiling"), ("auto", "off", *map(str, TILES))),
        vram_gib=_vram(settled.get("vram")),
        crf=_crf(settled.get("crf")),
        codec=str(settled.get("codec")),
        enhance=_enhance(settled, card),
        enhancer=_enhancer(settled.get("enhancer")),
        output=_output(str(settled.get("output"))),
    )


def _size(settled: _Settled, card: ModelCard) -> tuple[int, int]:
    default = words.size(card.defaults["size"], default=(0, 0), grid=card.grid.size)
    return words.size(settled.get("size"), default=default, grid=card.grid.size)


def _frames(settled: _Settled, fps: Fraction) -> int:
    if settled.rival("frames", "seconds") == "frames":
        return words.whole("frames", settled.get("frames"), least=1, most=100_000)
    return max(1, round(words.duration(settled.get("seconds")) * fps))


def _steps(settled: _Settled, card: ModelCard) -> int:
    """The steps asked for; a part of a distilled model's is the nearest number that it was made for."""
    said, fixed = settled.get("steps"), card.schedule.fixed
    wanted = words.steps(said, default=words.steps(card.defaults["steps"], default=1))
    if fixed and str(said).strip().endswith("%"):
        settled.origins["steps"] = "card"
        return min(fixed, key=lambda number: abs(number - wanted))
    return wanted


def _keyframe(at: words.At | Keyframe, frames: int, fps: Fraction) -> Keyframe:
    if isinstance(at, Keyframe):
        return at
    return Keyframe(picture=at.picture, frame=at.moment.resolve(frames, fps), strength=at.strength)


def _fit(value: object) -> Fit:
    if str(value) not in list(Fit):
        raise UsageRefused(f"fit {str(value)!r} is none of {', '.join(Fit)}", "write --fit crop, pad or stretch")
    return Fit(str(value))


def _precision(value: object) -> str:
    """The format asked for; `int4` is the usual name of what nf4 is one kind of, and the only one here."""
    known, said = ("auto", *Precision), "nf4" if value == "int4" else value
    if said not in known:
        listed = f"{', '.join(known)} (or int4)"
        raise UsageRefused(f"precision {value!r} is none of {listed}", "write --precision auto or int8")
    return str(said)


def _output(text: str) -> Path:
    """A path or template; a name that ends like a folder means the usual name within it."""
    if not text or "\0" in text or not _is_utf8(text):
        raise UsageRefused(f"output {text!r} is not a name", "give --output clip.mp4, a folder or a template")
    if any(len(part.encode("utf-8", "surrogateescape")) > LONGEST for part in Path(text).parts):
        raise UsageRefused(f"output {text[:40]!r}... has a name of more than {LONGEST} bytes", "give a shorter one")
    return Path(text) / words.OUTPUT if text.endswith("/") else Path(text)


def _one_of(name: str, value: object, known: Sequence[str]) -> str:
    if str(value) not in known:
        raise UsageRefused(
            f"{name} {value!r} is none of {', '.join(known)}", f"write --{name} {known[0]} or {known[-1]}"
        )
    return str(value)


def _vram(value: object) -> float:
    """GiB of a card that may be used; 0 for all that is free."""
    return 0.0 if value == "auto" else words.gib("vram", value, least=0.5)


def _is_utf8(text: str) -> bool:
    """Whether a name is UTF-8 on disk, also where Python took the shell's words for ASCII."""
    try:
        text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return False
    return True


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UsageRefused(f"{name} {value!r} is not text", f'write {name} = "..."')
    return value


def _enhancer(value: object) -> Path | None:
    text = str(value) if isinstance(value, Path) else _text("enhancer", value)
    return Path(text) if text else None


def _enhance(settled: _Settled, card: ModelCard) -> bool:
    """Whether to rewrite the prompt; where nobody says, whether somebody names an enhancer.

    One that is named for all clips is none for a model that would not be understood by it.
    """
    value = settled.get("enhance")
    if value != "auto":
        return words.truth("enhance", value)
    named = bool(settled.get("enhancer"))
    settled.origins["enhance"] = settled.origins["enhancer"]
    if named and card.knows and settled.origins["enhancer"] not in ASKED:
        settled.origins["enhance"] = "card"
        return False
    return named


def _crf(value: object) -> int | None:
    return None if value == "auto" else words.whole("crf", value, least=0, most=63)


def _settings(settled: _Settled, request: Request, seeds: Sequence[int]) -> tuple[Setting, ...]:
    shown = {
        "size": f"{request.width}x{request.height}",
        "frames": f"{request.frames}",
        "seconds": f"{request.seconds:.3f}",
        "steps": f"{request.steps}",
        "fps": f"{request.fps}",
        "seed": ",".join(map(str, seeds)),
        "crf": "auto" if request.crf is None else f"{request.crf}",
        "gguf": ", ".join(f"{one.component}={one.path}" for one in request.ggufs),
        "enhancer": str(request.enhancer or ""),
        "vram": f"{request.vram_gib:g} GiB" if request.vram_gib else "auto",
    }
    chosen = "chosen" if settled.origins["seed"] == "built in" else settled.origins["seed"]
    origins = {**settled.origins, "seed": chosen, "sound": settled.origins["sound"] if request.sound else "card"}
    return tuple(
        Setting(name=name, value=shown.get(name, str(getattr(request, name, ""))), origin=origin)
        for name, origin in origins.items()
    )
