"""Writes what every model takes on cards of every size into docs/memory.md and README.md: python -m tools.docs."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vidgen.catalog import gpus
from vidgen.catalog.cards import BUILT_IN, cards
from vidgen.core.amounts import duration
from vidgen.core.card import ModelCard
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Placement, Rung, Weights
from vidgen.core.request import Request
from vidgen.planning.advice import own
from vidgen.planning.check import draw
from vidgen.planning.nearest import serves, smaller
from vidgen.planning.planner import choose

ROOT = Path(__file__).parent.parent
PAGES = {"memory": ROOT / "docs" / "memory.md", "fits": ROOT / "README.md"}
NOTHING = Weights(folder=None, sizes={})

MAIN = (
    "hunyuan-video",
    "hunyuan-video-1.5-480p-t2v",
    "ltx-video-2b-0.9.5",
    "ltx-video-13b-0.9.8-distilled",
    "ltx-2-19b-distilled",
)
"""The models of the short table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tier:
    """A size of card: one of that size, and the host's memory beside it in GiB."""

    size: int
    gpu: str
    ram: int

    @property
    def machine(self) -> Machine:
        """Such a machine, with nothing else at work on it."""
        gpu = gpus.gpu(self.gpu)
        return Machine(
            device=Device.CUDA,
            name=gpu.name,
            vram_gib=gpu.vram_gib,
            total_gib=gpu.vram_gib,
            ram_gib=self.ram,
            cores=8,
            compute_capability=gpu.compute_capability,
            rates=gpu.rates,
        )


TIERS = (
    Tier(size=8, gpu="rtx-4060", ram=32),
    Tier(size=12, gpu="rtx-4070", ram=32),
    Tier(size=16, gpu="rtx-4080", ram=32),
    Tier(size=24, gpu="rtx-4090", ram=64),
    Tier(size=32, gpu="rtx-5090", ram=64),
    Tier(size=48, gpu="rtx-6000-ada", ram=128),
    Tier(size=80, gpu="h100", ram=128),
)

PLACES = {
    Placement.RESIDENT: "resident",
    Placement.PHASE: "by phase",
    Placement.STREAM: "streamed",
    Placement.DISK: "from disk",
}


def memory() -> str:
    """Every model on every size of card."""
    known = [card for name, card in cards().items() if name != BUILT_IN]
    machines = " · ".join(f"{tier.size} GB: {tier.machine.name}, {tier.ram} GB of RAM" for tier in TIERS)
    return "\n".join([f"{machines}.", "", *_table(known)])


def fits() -> str:
    """The main models on every size of card."""
    known = cards()
    return "\n".join(_table([known[name] for name in MAIN]))


def _table(known: Iterable[ModelCard]) -> Iterator[str]:
    yield " | ".join(["| model, its own clip", *(f"{tier.size} GB" for tier in TIERS)]) + " |"
    yield "|---" * (len(TIERS) + 1) + "|"
    for card in known:
        request = own(card, next(iter(card.ways)))
        clip = f"{card.name}<br>{request.width}x{request.height}, {request.frames} frames, {request.steps} steps"
        yield " | ".join([f"| {clip}", *(cell(card, request, tier.machine) for tier in TIERS)]) + " |"


def cell(card: ModelCard, request: Request, machine: Machine) -> str:
    """What is chosen, how much memory it takes and how long; of what was made smaller, how small."""
    wanted = request if serves(request, card, machine, NOTHING) else smaller(request, card, machine, NOTHING)
    if wanted is None:
        return "does not fit"
    plan = choose(wanted, card, draw(wanted, card), machine, NOTHING)
    sides = f"{wanted.width}x{wanted.height}, " if wanted.width != request.width else ""
    shrunk = [] if wanted == request else [f"**{sides}{wanted.frames} frames**"]
    peak = f"{plan.peak_gib:.1f} GiB" if card.cost.token_kib else f"over {plan.peak_gib:.1f} GiB"
    return "<br>".join([*shrunk, short(plan.rung), peak, *([duration(plan.seconds)] if plan.seconds else [])])


def short(rung: Rung) -> str:
    """A rung in as few words as fit into a table."""
    encoder = f" ({rung.encoder} text)" if rung.encoder and rung.encoder is not rung.precision else ""
    stay = f" ({rung.resident})" if rung.resident else ""
    turns = ", turns" if rung.turns else ""
    tiles = f", tiles {rung.tiling}" if rung.tiling else ""
    return f"{rung.precision}{encoder} {PLACES[rung.placement]}{stay}{turns}{tiles}"


def inserted(text: str, name: str, table: str) -> str:
    """The page with its table in place of the one that stands between its marks."""
    begin, end = f"<!-- {name}: written by `make docs` -->", f"<!-- {name}: end -->"
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not found.search(text):
        raise ValueError(f"no place for {name}: {begin} ... {end}")
    return found.sub(lambda _: f"{begin}\n{table}\n{end}", text)


def pages() -> Iterator[tuple[Path, str]]:
    """Each page with its table as it would be written now."""
    for (name, path), make in zip(PAGES.items(), (memory, fits), strict=True):
        yield path, inserted(path.read_text(encoding="utf-8"), name, make())


def main() -> None:
    """Write the tables into their pages."""
    for path, text in pages():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
