"""Full-size models on the meta device: as their configurations have them, without a byte of weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from vidgen.backends import blame, pipes, quiet
from vidgen.backends.fit import UNREADABLE
from vidgen.backends.pipes import Kind
from vidgen.core.card import ModelCard
from vidgen.core.errors import WeightsRefused


@dataclass(frozen=True, kw_only=True, slots=True)
class Blueprint:
    """A model by the configurations of its components: those in `folders`, and what is `said` of the others.

    `said`: what the configuration of a component says beside the defaults of its class; None where that is not known.
    """

    card: ModelCard
    said: Mapping[str, Mapping[str, Any]] | None
    folders: Mapping[str, Path] = field(default_factory=dict)

    def known_by(self, name: str) -> str:
        """What a component is known by: its class, and what its configuration says or where it is."""
        return f"{self.card.component(name).kind} {self.folders.get(name) or (self.said or {}).get(name)}"

    def kind(self, name: str) -> Kind:
        """How the class of a component is read. Refuses (exit 4) one that its family does not load."""
        wanted, family = self.card.component(name).kind, import_module(f"vidgen.backends.{self.card.family}")
        kinds: Mapping[str, Kind] = {**pipes.KINDS, **family.KINDS}
        if wanted not in kinds:
            raise WeightsRefused(
                f"{name} of {self.card.name} is a {wanted}, which family {self.card.family} does not load",
                f"use one of {', '.join(sorted(kinds))} in the model's card",
            )
        return kinds[wanted]

    def full(self, name: str, dtype: torch.dtype = torch.bfloat16) -> Any:
        """One component at full size, as Diffusers loads it in `dtype`, without weights.

        What Diffusers keeps in 32 bits stays in 32. Refuses (exit 4) a configuration that cannot be read.
        """
        key = f"{self.known_by(name)} in {dtype}"
        if key not in BUILT:
            BUILT[key] = _cast(self._read(name) if name in self.folders else self._made(name), dtype)
        return BUILT[key]

    def _made(self, name: str) -> Any:
        """A model of Diffusers by its words, one of Transformers by a configuration of them."""
        if self.said is None:
            said = f"the configuration of the {name} of {self.card.name} is not here, and counting goes by it"
            raise WeightsRefused(said, "put its config.json into its folder: vidgen download brings it where it can")
        known, words = quiet.found(self.kind(name).module, self.card.component(name).kind), self.said.get(name, {})
        config = getattr(known, "config_class", None)
        with torch.device("meta"):
            return known(config(**words)) if config else known(**words)

    def _read(self, name: str) -> Any:
        kind, folder, wanted = self.kind(name), self.folders[name], self.card.component(name).kind
        blame.same_class(name, folder / kind.card, wanted)
        known = quiet.found(kind.module, wanted)
        try:
            with quiet.hushed(), torch.device("meta"):
                return kind.bare(known, folder)
        except UNREADABLE as error:
            raise blame.refused(name, folder, kind.card, error, weights=False) from error


BUILT: dict[str, Any] = {}
"""Models by their class and configuration: many cards have the same."""


def _cast(model: Any, dtype: torch.dtype) -> Any:
    model.eval().requires_grad_(False)
    kept = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for path, weight in [*model.named_parameters(), *model.named_buffers()]:
        if weight.is_floating_point() and not kept & set(path.split(".")):
            weight.data = weight.data.to(dtype)
    return model
