"""What the user asks, whole: nothing is left open, nothing is decided yet."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path


class Mode(StrEnum):
    """What a clip is made from."""

    T2V = "t2v"
    I2V = "i2v"
    KEYFRAME = "keyframe"


class Fit(StrEnum):
    """How a picture of another shape is fitted to the clip."""

    CROP = "crop"
    PAD = "pad"
    STRETCH = "stretch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Keyframe:
    """A picture that the clip should show at frame `frame` (0 is the first), as strongly as `strength` (0 to 1)."""

    picture: Path
    frame: int = 0
    strength: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """A LoRA file and the weight with which it is applied."""

    path: Path
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gguf:
    """A GGUF file, and the component of the model that comes from it."""

    path: Path
    component: str = "transformer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One clip, asked for completely.

    Units: `width` and `height` in pixels, `frames` in frames, `fps` in frames a second (exact, so 24000/1001 stays
    what it is). `keyframes` hold the pictures of `i2v` (one, at frame 0) and `keyframe`. An empty `negative`: none.
    `true_cfg_scale` beyond 1 asks a model whose guidance is embedded for true classifier-free guidance too.
    `strict` refuses what would need an adjustment, `force` allows a schedule that the model was not made for.
    `enhance`: the prompt is rewritten before it is read, by the chat model in the folder `enhancer`, or by the model.
    Limits of the plan, `auto` where it is free: `precision`, how weights are held (`core.plan.Precision`); `offload`,
    where (none, phase, stream or disk); `tiling`, the decoder's tiles (off, or a side in pixels); `vram_gib`, how much
    of a card may be used (0: all that is free).
    """

    mode: Mode
    model: str
    prompt: str
    negative: str
    keyframes: tuple[Keyframe, ...] = ()
    width: int
    height: int
    frames: int
    fps: Fraction
    steps: int
    guidance_scale: float
    seed: int
    true_cfg_scale: float = 1.0
    loras: tuple[Lora, ...] = ()
    ggufs: tuple[Gguf, ...] = ()
    fit: Fit = Fit.CROP
    background: str = "black"
    sound: bool = True
    strict: bool = False
    force: bool = False
    precision: str = "auto"
    offload: str = "auto"
    tiling: str = "auto"
    vram_gib: float = 0.0
    crf: int | None = None
    codec: str = "auto"
    enhance: bool = False
    enhancer: Path | None = None
    output: Path

    @property
    def seconds(self) -> float:
        """How long the clip plays."""
        return float(self.frames / self.fps)
