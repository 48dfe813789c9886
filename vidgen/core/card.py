"""What is true of a model: the frozen form of one TOML card."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from vidgen.core.gguf import Stored
from vidgen.core.request import Mode

NAMED = "_vidgen_card"
"""In a model_index.json: the card that serves these weights, where the pipeline's class does not tell."""


SOURCED: Mapping[str, str] = {
    "parameters": "numbers of parameters",
    "schedule": "steps, guidance, settings",
    "clip": "size, length, rate",
    "negative": "negative prompt",
    "limits": "longest and largest",
    "good_at": "what it is good at",
    "licence": "licence",
}
"""What of a card names the place that it is from, and what that is in words."""


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
    those; `layers` is how many there are. `decoder`: the share that decoding has a use for, 0 is all. `half`: the
    format that its makers compute it in where 16 bits are to do, bf16 or fp16; `wide`: it is held and computed in 32
    bits whatever the rest is. `tokens`: how many of a prompt's a tokenizer lets through (0: the card's for `tokenizer`,
    else they are not counted); `marks`: its begin and end are among them. `source`: the repository that it is in, where
    that is not the model's own; `at`: its sub-folder, where that is not called as it is (`.`: it is at the top).
    `file`: the one file that it is, beside the sub-folders, as a LoRA of the makers' is.
    `optional`: clips are made without it too. `stored`: its weights come from that GGUF file.
    """

    name: str
    kind: str
    parameters: int = 0
    blocks: float = 0.0
    stacked: float = 0.0
    decoder: float = 0.0
    block: int = 0
    layers: int = 0
    half: str = "bf16"
    tokens: int = 0
    marks: bool = True
    source: str = ""
    at: str = ""
    file: str = ""
    wide: bool = False
    optional: bool = False
    stored: Stored | None = None

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

    `steps`: the numbers of steps that a distilled model was made for, where its schedule is the usual one.
    `picture_crf`: how coarsely H.264 compressed what the model saw, as a picture that it is given is to be; 0 is not at
    all. `passes`: how often the transformer is asked at a guided step.
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

    def at(self, steps: int) -> tuple[float, ...]:
        """The timesteps of a walk of so many steps; none where the scheduler is to space them."""
        return self.timesteps if steps == len(self.timesteps) else ()

    @property
    def fixed(self) -> tuple[int, ...]:
        """The only numbers of steps that are right; none where any is."""
        return (len(self.timesteps),) if self.timesteps else self.steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Refine:
    """The second stage of a model: what a first one drew at half the sides is doubled by `upscaler` and drawn over.

    It walks the last part of a schedule, as large as `strength`: of `timesteps`, or of `steps` that the pipeline lays
    out itself. `guided`: the request's guidance counts in it too. From 0 to 1, `adain`: how far what was doubled takes
    the statistics of what it was made of; `tone_map`: how far its largest values are pressed together. `lora` is the
    component that the transformer wears in it.
    """

    upscaler: str
    timesteps: tuple[float, ...] = ()
    steps: int = 0
    strength: float = 1.0
    guided: bool = False
    adain: float = 0.0
    tone_map: float = 0.0
    lora: str = ""

    @property
    def walked(self) -> int:
        """How many steps it takes; as the pipelines count them."""
        return int((len(self.timesteps) or self.steps) * self.strength)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one run needs beside its weights, counted by `make costs`: zero where nobody has.

    `token_kib`: activations of one latent token in the transformer, in KiB at bf16; `pictured_kib`: the same with
    pictures among the latents, where each token then has a time of its own; 0: the same. A latent token is a cell of
    the grid. `picture_bytes`: what encoding the pictures takes before that, for each pixel of the canvas. `pair_bytes`:
    what one block holds for each pair of latent tokens, where attention makes a mask of all pairs. `widened`: how many
    times as much a token takes in 32 bits. `turns`: the passes of guidance come one after the other, in the memory of
    one. `pixel_bytes`: the untiled decoder's peak, in bytes for each pixel of each frame; `tile_gib`: its peak in tiles
    of `tile` pixels, the largest that are taken, and `tiles_gib` that in tiles of other sides: one that is not there
    goes by its area. Decoder and encoder have the workspace of a convolution with them, as much as its input and
    output: cuDNN takes it, and on the processor it stands for the copies that oneDNN makes. `frames`: how many are
    drawn at once, where a clip is drawn piece by piece, and `decoded`, how many the decoder takes at once; 0: all.

    Arithmetic: `token_gflop` of one latent token in one forward pass, and `pair_flop` of each pair of tokens, `text`
    tokens among them, as many as the longest prompt and a picture have. `pixel_mflop` of the decoder for each pixel of
    each frame. `encoded_tflop` is that of one prompt. `measured`: the date and the versions that it was counted with.
    """

    token_kib: float = 0.0
    pictured_kib: float = 0.0
    picture_bytes: float = 0.0
    pair_bytes: float = 0.0
    widened: float = 2.0
    turns: bool = False
    pixel_bytes: float = 0.0
    tile_gib: float = 0.0
    tiles_gib: Mapping[int, float] = field(default_factory=dict)
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
    `good_at` are words for what it is praised for. `sources` say where its values are from, by the keys of `SOURCED`.
    `enhances`: its own parts can rewrite a prompt; `wording` is how its makers want prompts written, a name of the
    table in `backends/wording.py`, empty for ours. `several`: its prompt may be several, parted by bars. `times` is the
    component that tells from a prompt how long its clip is to be. `serves` are the pipelines that a model_index.json
    may name, and `index` is what else it must then say. `refine` is the second stage of a model that draws in two; its
    grid is then that of the second, and its schedule that of the first.
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
    sources: Mapping[str, str] = field(default_factory=dict)
    grid: Grid
    components: tuple[Component, ...]
    ways: Mapping[Mode, Way]
    schedule: Schedule
    refine: Refine | None = None
    cost: Cost = Cost()
    tokens: int
    negative: bool
    sound: bool = False
    loras: bool = True
    knows: str = ""
    longest: int = 0
    largest: tuple[int, int] = (0, 0)
    good_at: tuple[str, ...] = ()
    enhances: bool = False
    wording: str = ""
    several: bool = False
    times: str = ""
    serves: tuple[str, ...] = ()
    index: Mapping[str, object] = field(default_factory=dict)
    defaults: Mapping[str, object]
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def repositories(self) -> tuple[str, ...]:
        """Those that its weights are in, its own first."""
        named = (self.repository, *(component.source for component in self.components))
        return tuple(dict.fromkeys(name for name in named if name))

    def share(self, repository: str) -> "ModelCard":
        """What of it is in one of its repositories, as the card of that alone."""
        parts = tuple(part for part in self.components if (part.source or self.repository) == repository)
        own = repository == self.repository
        return replace(self, repository=repository, revision=self.revision if own else "", components=parts)

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
