"""What was decided: the canvas, the rung, the plan and the job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from vidgen.core.card import Component, ModelCard, Phase
from vidgen.core.machine import Machine
from vidgen.core.request import Request


class Precision(StrEnum):
    """The number format of weights. INT8 and FP8 are formats to hold them in; they are computed with in BF16."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"
    FP8 = "fp8"

    @property
    def bytes(self) -> int:
        """Bytes of one parameter."""
        return {Precision.FP32: 4, Precision.BF16: 2, Precision.INT8: 1, Precision.FP8: 1}[self]

    @property
    def computed(self) -> "Precision":
        """What is computed in, and what all that quantization leaves alone is held in."""
        return Precision.FP32 if self is Precision.FP32 else Precision.BF16

    @property
    def quantized(self) -> bool:
        """Whether weights are held in less than they are computed in."""
        return self is not self.computed


class Placement(StrEnum):
    """Where weights are while others work: all of them resident, or only those of the phase at work."""

    RESIDENT = "resident"
    PHASE = "phase"


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

    `host`: phases that work on the processor although there is a card.
    """

    precision: Precision
    placement: Placement
    tiling: int = 0
    host: tuple[Phase, ...] = ()

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Rung":
        """The rung that `asdict` made `facts` of; KeyError, TypeError or ValueError where they are none."""
        return cls(
            precision=Precision(facts["precision"]),
            placement=Placement(facts["placement"]),
            tiling=int(facts["tiling"]),
            host=tuple(Phase(name) for name in facts["host"]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PhasePlan:
    """One phase: its components, what their weights weigh, and the work beside them where that was measured."""

    phase: Phase
    components: tuple[str, ...]
    weights_gib: float
    work_gib: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A rung, what each phase weighs on it, and one sentence with numbers for each rung passed over.

    `first` is the rung that arithmetic chose, where another is taken because that one failed.
    """

    machine: Machine
    rung: Rung
    first: Rung | None = None
    phases: tuple[PhasePlan, ...]
    passed_over: tuple[str, ...] = ()

    @property
    def chosen(self) -> Rung:
        """The rung that arithmetic chose: a clip is known by it, whatever rung it is made on in the end."""
        return self.first or self.rung

    @property
    def peak_gib(self) -> float:
        """The predicted peak of the whole run: that of its heaviest phase."""
        return max(phase.weights_gib + phase.work_gib for phase in self.phases)


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
class Job:
    """A request with every decision taken.

    `adjustments` are sentences that the user is told and the record keeps; `notes` are told and not kept. `overwrite`:
    the output may be replaced; `skip`: it is there already, and stays; `skip_existing`: it stays if it appears later;
    `wait`: for another process at the same output.
    A denoising is kept `checkpoint_every` steps (0: by the clock), and `keep_latents` for good. `source` is the folder
    that the job goes on from, where that was named. `fallback`: a phase that fails may go on on another rung, and
    `detours` are sentences that say where one did. `whole`: this is the draft of that clip, by the first of its model's
    two stages alone. `draft`: the folder of the draft that the job begins with.
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

    @property
    def steps(self) -> int:
        """Denoising steps of all stages; the request's are those of the first."""
        return self.request.steps + (self.card.refine.walked if self.card.refine else 0)
