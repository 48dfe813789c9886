"""When a denoising is kept: every so often, and always when it is asked to stop."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from vidgen.studio import artefacts
from vidgen.studio.artefacts import CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

EVERY_S = 10.0
"""Unless a number of steps is given. A step that takes longer is kept as soon as it is done."""

State: TypeAlias = "Callable[[], Mapping[str, Tensor]]"


class Checkpoints:
    """The checkpoints of one clip: the latest stands in its folder. `every` counts steps; 0 means by the clock."""

    def __init__(self, folder: "Path", every: int) -> None:
        self._folder, self._every, self._kept = folder, every, time.monotonic()

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
            if done < total and self._due(done):
                self._keep(state)

        return step

    def _due(self, done: int) -> bool:
        return done % self._every == 0 if self._every else time.monotonic() - self._kept >= EVERY_S

    def _keep(self, state: "State | None") -> None:
        if state:
            artefacts.save(self._folder, CHECKPOINT, state())
            self._kept = time.monotonic()
