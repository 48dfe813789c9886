"""What was decided: the canvas, the rung, the plan and the job."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from vidgen.core.card import Component, ModelCard, Phase
from vidgen.core.enhancer import Enhancer
from vidgen.core.machine import Machine
from vidgen.core.request import Request


class Precision(StrEnum):
    """The number format of weights. INT8, FP8 and NF4 are formats to hold them in; they are computed with in BF16."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"
    NF4 = "nf4"

    @property
    def bytes(self) -> float:
        """Bytes of one parameter; NF4 keeps a 32-bit scale for every 64."""
        return {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "fp8": 1.0, "nf4": 0.5625}[self.value]

    @property
    def computed(self) -> "Precision":
        """What is computed in, and what all that quantization leaves alone is held in."""
        return Precision.FP32 if self is Precision.FP32 else Precision.BF16

    @property
    def quantized(self) -> bool:
        """Whether weights are held in less than they are computed in."""
        return self is not self.computed


class Placement(StrEnum):
    """Where weights are: all resident, only those of the phase at work, or of these block after block.

    STREAM takes the repeated blocks of transformers and text encoders from the host's memory as they are needed, DISK
    from their files.
    """

    RESIDENT = "resident"
    PHASE = "phase"
    STREAM = "stream"
    DISK = "disk"


@dataclass(frozen=True, kw_only=True, slots=True)
class Canvas:
    """What the model draws to serve the request: sides and frames on its grid, from which the clip is cut.

    The clip is the part of each picture that begins at `left` and `top`, and the first frames.
    """

    width: int
    height: int
    frames: int
    left: int = 0
    top: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One way to fit: precision, placement, and the side in pixels of the decoder's tiles (0: the whole picture).

    `encoder` is the precision of text encoders, where it is another one than the rest's. `resident`: how many blocks of
    the transformer stay on the device where the others are streamed. `turns`: the passes of guidance come one after the
    other, in the memory of one. `host`: phases that work on the processor although there is a card. `kind`: the type of
    a GGUF file that says itself how its transformer is held; all else, and what is computed in, is as `precision` says.
    """

    precision: Precision
    placement: Placement
    encoder: Precision | None = None
    resident: int = 0
    turns: bool = False
    tiling: int = 0
    host: tuple[Phase, ...] = ()
    kind: str = ""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Rung":
        """The rung that `asdict` made `facts` of; KeyError, TypeError or ValueError where they are none."""
        return cls(
            precision=Precision(facts["precision"]),
            placement=Placement(facts["placement"]),
            encoder=Precision(facts["encoder"]) if facts.get("encoder") else None,
            resident=int(facts.get("resident", 0)),
            turns=bool(facts.get("turns", False)),
            tiling=int(facts["tiling"]),
            host=tuple(Phase(name) for name in facts["host"]),
            kind=str(facts.get("kind", "")),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PhasePlan:
    """One phase: its components, what their weights weigh, and the work beside them where that was measured.

    `host_gib` is what the phase keeps in the host's memory beside a device of its own. `seconds` is 0 where nobody
    knows how long it takes on this machine.
    """

    phase: Phase
    components: tuple[str, ...]
    weights_gib: float
    work_gib: float = 0.0
    host_gib: float = 0.0
    seconds: float = 0.0

    @property
    def gib(self) -> float:
        """The predicted peak of the phase on its device."""
        return self.weights_gib + self.work_gib


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A rung, what each phase weighs on it, and one sentence with numbers for each rung passed over.

    `first` is the rung that arithmetic chose, where another is taken because that one failed. `pace`: how many times as
    long as arithmetic says each phase has taken on this machine, where that was measured.
    """

    machine: Machine
    rung: Rung
    first: Rung | None = None
    phases: tuple[PhasePlan, ...]
    passed_over: tuple[str, ...] = ()
    pace: Mapping[Phase, float] = field(default_factory=dict)

    @property
    def chosen(self) -> Rung:
        """The rung that arithmetic chose: a clip is known by it, whatever rung it is made on in the end."""
        return self.first or self.rung

    @property
    def peak_gib(self) -> float:
        """The predicted peak of the whole run: that of its heaviest phase."""
        return max(phase.gib for phase in self.phases)

    @property
    def host_gib(self) -> float:
        """The predicted peak of the host's memory beside a device of its own."""
        return max(phase.host_gib for phase in self.phases)

    @property
    def seconds(self) -> float:
        """How long the clip will take; 0 where that is not known of every phase."""
        seconds = [phase.seconds for phase in self.phases if phase.components]
        return sum(seconds) if all(seconds) else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Where a model's files are. `missing` names what is not there; `folder` is None when nothing is.

    `sizes` are bytes on disk by component. `apart`: components that lie elsewhere than in a sub-folder of their name.
    """

    folder: Path | None
    missing: tuple[str, ...] = ()
    sizes: Mapping[str, int]
    apart: Mapping[str, Path] = field(default_factory=dict)

    def of(self, name: str) -> Path:
        """The folder of the component called `name`, whether or not it is there."""
        return self.apart.get(name) or (self.folder or Path()) / name

    def file(self, component: Component) -> Path:
        """The file that `component` is, whether or not it is there."""
        return self.apart.get(component.name) or (self.folder or Path()) / component.file


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One effective setting and where it came from: flag, preset, environment, project, user, card, chosen."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """The clip that a draft is of: its sides, and the canvas that its pictures are fitted to."""

    width: int
    height: int
    canvas: Canvas


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """What a plan was counted by, for the very request, in place of the numbers of the model's card.

    `card` still has those, and `usual` is the rung that they choose; None where by them nothing fits. `parameters` are
    those of each component that was counted. `configuration` is a sentence that says by which they were; `prompt` the
    tokens that were counted for it, where `read` says so, else the most that it may have. `seconds`: how long it took.
    """

    card: ModelCard
    usual: Rung | None
    parameters: Mapping[str, int]
    configuration: str
    prompt: int
    read: bool
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A request with every decision taken.

    `adjustments` are sentences that the user is told and the record keeps; `notes` are told and not kept. `overwrite`:
    the output may be replaced; `skip`: it is there already, and stays; `skip_existing`: it stays if it appears later;
    `wait`: for another process at the same output.
    A denoising is kept `checkpoint_every` steps (0: by the clock), and `keep_latents` for good. `source` is the folder
    that the job goes on from, where that was named. `fallback`: a phase that fails may go on on another rung, and
    `detours` are sentences that say where one did. `whole`: this is the draft of that clip, by the first of its model's
    two stages alone. `draft`: the folder of the draft that the job begins with. `enhancer` rewrites the prompt, and
    `enhanced` is what it made of it, empty until then. `counted`: its plan is by that, and its card has the numbers.
    """

    request: Request
    card: ModelCard
    canvas: Canvas
    plan: Plan
    weights: Weights
    settings: tuple[Setting, ...]
    adjustments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    overwrite: bool = False
    skip: bool = False
    skip_existing: bool = False
    wait: bool = False
    checkpoint_every: int = 0
    keep_latents: bool = False
    source: Path | None = None
    fallback: bool = True
    detours: tuple[str, ...] = ()
    whole: Whole | None = None
    draft: Path | None = None
    enhancer: Enhancer | None = None
    enhanced: str = ""
    counted: Counted | None = None

    @property
    def steps(self) -> int:
        """Denoising steps of all stages; the request's are those of the first."""
        return self.request.steps + (self.card.refine.walked if self.card.refine else 0)

    @property
    def read(self) -> "Job":
        """The job as its text encoder reads it: with the enhanced prompt in place of the one that was typed."""
        return replace(self, request=replace(self.request, prompt=self.enhanced)) if self.enhanced else self
