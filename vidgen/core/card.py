"""What is true of a model: the frozen form of one TOML card."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vidgen.core.request import Mode

NAMED = "_vidgen_card"
"""In a model_index.json: the card that serves these weights, where the pipeline's class does not tell."""


class Phase(StrEnum):
    """The three phases that hold weights, in their order."""

    ENCODE = "encode"
    DENOISE = "denoise"
    DECODE = "decode"


class Guidance(StrEnum):
    """What the guidance scale of a model is."""

    CLASSIFIER_FREE = "classifier-free"
    DISTILLED = "distilled"
    EMBEDDED = "embedded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The canvases that a model can draw: sides in multiples of `size`, frames of the form `frames` * k + 1."""

    size: int
    frames: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One part of the pipeline: its sub-folder, its class in Diffusers or Transformers, its exact parameter count.

    `parameters` is 0 where the count is not publicly known; the size on disk is then used. `blocks`: the share of them
    in the linear layers of repeated blocks, which quantization shrinks; 0 for what is never quantized. `stacked`: the
    share of them in repeated blocks as a whole, which can be streamed, and `block`, the parameters of the largest of
    those; `layers` is how many there are. `half`: the
    format that its makers compute it in where 16 bits are to do, bf16 or fp16; `wide`: it is held and computed in 32
    bits whatever the rest is. `tokens`: how many of a prompt's a tokenizer lets through (0: the card's for `tokenizer`,
    else they are not counted); `marks`: its begin and end are among them. `source`: the repository that it is in, where
    no single one holds the model.
    """

    name: str
    kind: str
    parameters: int = 0
    blocks: float = 0.0
    stacked: float = 0.0
    block: int = 0
    layers: int = 0
    half: str = "bf16"
    tokens: int = 0
    marks: bool = True
    source: str = ""
    wide: bool = False

    @property
    def streams(self) -> bool:
        """Whether its blocks can be streamed, as it is known how many there are and how large."""
        return bool(self.stacked and self.block and self.layers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How a model serves one mode: the Diffusers pipeline, and the components that each phase holds.

    `guidance_scale` is this mode's own default, where it has one. `ends`: its pictures are those of the first frame and
    of the last, both and no others.
    """

    pipeline: str
    phases: Mapping[Phase, tuple[str, ...]]
    keyframes: int = 0
    guidance_scale: float | None = None
    ends: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How a model is sampled. `timesteps` (0 to 1000, falling) fix the steps of a distilled model; empty means free.

    Those of a family's second stage follow those of its first. `steps`: the numbers of steps that a distilled model was
    made for, where its schedule is the usual one. `picture_crf`: how coarsely H.264 compressed what the model saw, as a
    picture that it is given is to be; 0 is not at all. `passes`: how often the transformer is asked at a guided step.
    """

    guidance: Guidance
    timesteps: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()
    guidance_rescale: float = 0.0
    decode_timestep: float = 0.0
    decode_noise_scale: float | None = None
    image_cond_noise_scale: float = 0.0
    picture_crf: int = 0
    passes: int = 2

    @property
    def fixed(self) -> tuple[int, ...]:
        """The only numbers of steps that are right; none where any is."""
        return (len(self.timesteps),) if self.timesteps else self.steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one run needs beside its weights, measured: zero where nobody has measured it.

    `token_kib`: activations of one latent token in the transformer, in KiB at bf16; `pictured_kib`: the same with
    pictures among the latents; 0: the same. `picture_bytes`: what encoding the pictures takes before that, for each
    pixel of the canvas. `pair_bytes`: what one block holds
    for each pair of latent tokens, where attention makes a mask of all pairs. `turns`: the passes of guidance come one
    after the other, in the memory of one. `pixel_bytes`: the untiled decoder's peak, in bytes for each pixel of each
    frame; `tile_gib`: its peak in tiles of `tile` pixels, the largest that are taken. `frames`: how many are drawn at
    once, where a clip is drawn piece by piece, and `decoded`, how many the decoder takes at once; 0: all.

    Arithmetic: `token_gflop` of one latent token in one forward pass, `pair_flop` of each pair of tokens that attend to
    each other, `text` tokens of the prompt among them; `pixel_mflop` of the decoder for each pixel of each frame.
    `encoded_tflop` is that of one prompt. `measured`: the date and the versions that the numbers were measured with.
    """

    token_kib: float = 0.0
    pictured_kib: float = 0.0
    picture_bytes: float = 0.0
    pair_bytes: float = 0.0
    turns: bool = False
    pixel_bytes: float = 0.0
    tile_gib: float = 0.0
    tile: int = 512
    frames: int = 0
    decoded: int = 0
    token_gflop: float = 0.0
    pair_flop: float = 0.0
    text: int = 0
    pixel_mflop: float = 0.0
    encoded_tflop: float = 0.0
    measured: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What is true of one model. `settings` holds what only its family reads; `defaults` what nobody needs to type.

    `knows` says what a model draws that knows only the words of its tokenizer; empty for one that reads any word.
    `longest` (frames) and `largest` (width, height) are the most that its makers recommend or show; 0 where unsaid.
    `good_at` are words for what it is praised for. `serves` are the pipelines that a model_index.json may name, and
    `index` is what else it must then say.
    """

    name: str
    family: str
    title: str
    summary: str
    aliases: tuple[str, ...] = ()
    rank: int
    repository: str = ""
    revision: str = ""
    folder: Path | None = None
    licence: str = ""
    sources: tuple[str, ...] = ()
    grid: Grid
    components: tuple[Component, ...]
    ways: Mapping[Mode, Way]
    schedule: Schedule
    cost: Cost = Cost()
    tokens: int
    negative: bool
    sound: bool = False
    loras: bool = True
    knows: str = ""
    longest: int = 0
    largest: tuple[int, int] = (0, 0)
    good_at: tuple[str, ...] = ()
    serves: tuple[str, ...] = ()
    index: Mapping[str, object] = field(default_factory=dict)
    defaults: Mapping[str, object]
    settings: Mapping[str, object] = field(default_factory=dict)

    def component(self, name: str) -> Component:
        """The component called `name`; KeyError when the card has none."""
        for component in self.components:
            if component.name == name:
                return component
        raise KeyError(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class TwinPart:
    """One component of a twin: its class, and the arguments that make it tiny."""

    kind: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    """A family in miniature: real classes at tiny size, by the name of the component. Its weights will be random.

    `parts` are those of every model; `own` says what a pipeline or a card has beside them or in their place.
    """

    family: str
    parts: Mapping[str, TwinPart]
    own: Mapping[str, Mapping[str, TwinPart]] = field(default_factory=dict)

    def of(self, *names: str) -> Mapping[str, TwinPart]:
        """The components of the twin of a pipeline or card, by its `names`: what the later ones say counts more."""
        parts = dict(self.parts)
        for name in names:
            parts |= self.own.get(name, {})
        return parts

    def index(self, card: ModelCard) -> Mapping[str, object]:
        """What the model_index.json of the twin of `card` says beside its pipeline and parts."""
        return {**card.index, **({NAMED: card.name} if card.name in self.own else {})}
