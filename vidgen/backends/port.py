"""What the story asks of every family: three verbs and a lifetime. Imports a family only when it is opened."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from vidgen.backends.quiet import quickly
from vidgen.core.errors import UsageRefused
from vidgen.core.plan import Job

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image
    from torch import Tensor

Tensors: TypeAlias = Mapping[str, "Tensor"]
"""An artefact: named tensors, written to disk between two phases."""

EXHAUSTED = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
"""What the messages of torch's allocators and of the system say, whatever class they come in."""

State: TypeAlias = Callable[[], Tensors]
"""Gives, when it is called, all that `denoise` needs to go on from the step just done; the `step` is its number."""


Look: TypeAlias = "Callable[[Job], Sequence[Image]]"
"""Gives the pictures of a job as `denoise` gets them, to an encoder that sees them; they are read when it is called."""


class Step(Protocol):
    """Called after each step with (done, total, state); it may raise to stop the work. No state: no going on."""

    def __call__(self, done: int, total: int, state: State | None = None, /) -> None:
        """One step is done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Film:
    """What a decoder gives: frames as uint8 arrays (height, width, 3), cropped and trimmed to the request.

    `samples` is float32 (channels, samples) between -1 and 1 at `rate` Hz, or None when the model makes no sound.
    """

    frames: "Iterator[np.ndarray[Any, Any]]"
    samples: "np.ndarray[Any, Any] | None" = None
    rate: int = 0


class Backend(Protocol):
    """One family at work. Each verb loads what its phase needs, by the plan, and nothing is decided here."""

    def encode(self, jobs: Sequence[Job], look: Look) -> list[Tensors]:
        """Embeddings for each job's prompt and negative prompt. An encoder that sees pictures gets them by `look`."""

    def denoise(
        self, job: Job, conditioning: Tensors, pictures: "Sequence[Image]", step: Step, since: Tensors | None = None
    ) -> Tensors:
        """Final latents, with the state of the generator that drew the noise.

        `pictures` are RGB, of the canvas's size, one for each keyframe of the request and in its order. `since` is a
        state that `step` was given once: the latents are, bit for bit, those of a run that was never stopped.
        """

    def decode(self, job: Job, latents: Tensors) -> Film:
        """The clip, of exactly the request's size and length."""

    def close(self) -> None:
        """Let go of every weight."""


class Enhancing(Backend, Protocol):
    """A family that rewrites prompts with its model's own parts, where the card says that it does."""

    def enhance(self, jobs: Sequence[Job]) -> list[str]:
        """What is to be read in place of the prompt of each job."""


class Timing(Backend, Protocol):
    """A family that tells how long a clip is to be, where the card says with what."""

    def seconds(self, job: Job) -> float:
        """How long the clip of the job's prompt would naturally be, in seconds."""


def exhausted(error: BaseException) -> bool:
    """Whether an exception of a library means that memory ran out, on the card or beside it."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"OutOfMemoryError", "MemoryError"}:
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(sign in said for sign in EXHAUSTED)


@contextmanager
def opened(job: Job) -> Iterator[Backend]:
    """The backend of the job's family, let go of at the end. Refuses a family that has no module (exit 2)."""
    name = f"vidgen.backends.{job.card.family}"
    try:
        with quickly():
            family = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UsageRefused(
            f"model {job.card.name} is of family {job.card.family}, which has no module",
            "put the family's .py file beside its card, in a folder named in VIDGEN_FAMILIES",
        ) from error
    try:
        open_family = family.open
    except AttributeError as error:
        said = f"model {job.card.name} is of family {job.card.family}, which is a module of another kind"
        raise UsageRefused(said, "name a family in its card, such as ltx") from error
    backend: Backend = open_family(job)
    try:
        yield backend
    finally:
        backend.close()
