"""What a request is known by: a hash of everything that changes the pixels, and of nothing else."""

import hashlib
import json
from dataclasses import asdict
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from vidgen.core.card import ModelCard
from vidgen.core.errors import InputRefused
from vidgen.core.plan import Job, Rung
from vidgen.core.request import Request

LIMITS = frozenset({"precision", "offload", "tiling", "vram_gib"})
"""Limits of the plan: what came of them counts, in its rung."""

NOT_PIXELS = LIMITS | {"output", "crf", "codec", "force", "enhance", "enhancer"}


def fingerprint(job: Job, *, seeded: bool = True) -> str:
    """A hash of everything that changes the pixels of `job`: settings, model, precision, pictures, LoRAs and enhancer.

    Files count with their bytes, not their names. Not `seeded`: in place of the seed counts where the clip was asked
    to go, as the user gave it, so that the same command without --seed has the same hash.
    """
    card, request = job.card, {key: value for key, value in asdict(job.request).items() if key not in NOT_PIXELS}
    request["keyframes"] = [[hash_of(mark.picture), mark.frame, mark.strength] for mark in job.request.keyframes]
    request["loras"] = [[hash_of(lora.path), lora.weight] for lora in job.request.loras]
    if ggufs := request.pop("ggufs"):
        request["ggufs"] = [[hash_of(gguf["path"]), gguf["component"]] for gguf in ggufs]
    if not seeded:
        request["seed"] = [setting.value for setting in job.settings if setting.name == "output"]
    facts = {
        "request": request,
        "card": [card.name, model_of(card)],
        "canvas": asdict(job.canvas),
        "weights": [str(job.weights.folder), dict(job.weights.sizes), sorted(map(str, job.weights.apart.items()))],
        **({"draft": asdict(job.whole)} if job.whole else {}),
        "enhancer": job.enhancer.mark if job.enhancer else "",
        "rung": [*_coarse(job.plan.chosen), job.plan.machine.device],
    }
    return _hashed(facts)


def _coarse(rung: Rung) -> list[Any]:
    """What of a rung changes pixels: where weights are does not, how they are held does."""
    return [rung.precision, rung.encoder or rung.precision, rung.turns, rung.tiling]


def model_of(card: ModelCard) -> str:
    """A hash of what makes a model what it is, wherever its files lie."""
    facts = [card.family, card.repository, card.revision, card.tokens, card.settings, asdict(card.schedule)]
    return _hashed([*facts, *([asdict(card.refine)] if card.refine else [])])


def hashes(request: Request) -> dict[Path, str]:
    """The sha256 of each file that a request names."""
    paths = [mark.picture for mark in request.keyframes]
    paths += [lora.path for lora in request.loras]
    paths += [gguf.path for gguf in request.ggufs]
    return {path: hash_of(path) for path in paths}


def hash_of(path: Path) -> str:
    """The sha256 of a file's bytes; InputRefused (exit 3) when it cannot be read."""
    try:
        found = path.stat()
        return _hash_of(path, found.st_ino, found.st_size, found.st_ctime_ns)
    except OSError as error:
        raise InputRefused(f"{path} cannot be read: {error.strerror}", "check the path") from error


@lru_cache(64)
def _hash_of(path: Path, *_: int) -> str:
    """Reads a file once, as LoRAs are large: again only when it has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashed(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> str:
    match value:
        case Enum():
            return str(value.value)
        case Path() | Fraction():
            return str(value)
        case _:
            return repr(value)
