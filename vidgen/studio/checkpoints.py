"""When a denoising is kept: every so often, and when it is asked to stop; and how one begins where a draft ended."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from vidgen.core.plan import Job
from vidgen.studio import artefacts, asked
from vidgen.studio.artefacts import CHECKPOINT, CONDITIONING, LATENTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

EVERY_S = 10.0
"""Unless a number of steps is given. A step that takes longer is kept as soon as it is done."""

State: TypeAlias = "Callable[[], Mapping[str, Tensor]]"


def begin(job: Job, folder: "Path") -> None:
    """Begin in `folder` where the job's draft ended; with its embeddings too, unless they are of another precision."""
    if job.draft is None or any(artefacts.has(folder, phase) for phase in (CHECKPOINT, LATENTS)):
        return
    artefacts.copy(job.draft, folder, CHECKPOINT)
    if asked.began_of(job.draft) == asked.began(job):
        artefacts.copy(job.draft, folder, CONDITIONING)


class Checkpoints:
    """The checkpoints of one clip: the latest stands in its folder.

    `every` counts steps; 0 means by the clock. `last`: that of the last step is kept too.
    """

    def __init__(self, folder: "Path", every: int, *, last: bool = False) -> None:
        self._folder, self._every, self._last, self._kept = folder, every, last, time.monotonic()

    def latest(self) -> "Mapping[str, Tensor] | None":
        """What was kept last, to go on from."""
        return artefacts.load(self._folder, CHECKPOINT) if artefacts.has(self._folder, CHECKPOINT) else None

    def stepping(self, tell: Callable[[int, int], None]) -> Callable[..., None]:
        """What a backend calls after each step: tells `tell`, and keeps the state when it is due or `tell` raises."""

        def step(done: int, total: int, state: "State | None" = None) -> None:
            try:
                tell(done, total)
            except BaseException:
                self._keep(state)
                raise
            if self._last if done == total else self._due(done):
                self._keep(state)

        return step

    def _due(self, done: int) -> bool:
        return done % self._every == 0 if self._every else time.monotonic() - self._kept >= EVERY_S

    def _keep(self, state: "State | None") -> None:
        if state:
            artefacts.save(self._folder, CHECKPOINT, state())
            self._kept = time.monotonic()
