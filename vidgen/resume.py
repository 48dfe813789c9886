"""A .part folder into a job: the request comes from the folder alone, everything else is decided as ever."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from vidgen import probe
from vidgen.catalog import cards, gpus
from vidgen.core.card import ModelCard, Phase, Way
from vidgen.core.errors import InputRefused, UsageRefused
from vidgen.core.machine import Machine
from vidgen.core.plan import Job
from vidgen.core.request import Mode
from vidgen.planning.settle import Subject
from vidgen.prepare import Brief, decided, layered, noted, placed, taught
from vidgen.studio import artefacts, asked
from vidgen.studio.fingerprint import model_of


def resume(
    folder: str | Path,
    *,
    decode: bool = False,
    model: str = "",
    output: str | Path = "",
    overwrite: bool = False,
    machine: Machine | None = None,
    **manners: Any,
) -> Job:
    """The job that goes on from a `.part` or `.latents` folder, wherever that was begun.

    `model` is where its weights are here, `output` the clip, `manners` more fields of the job. To `decode` asks for no
    other weights than the decoder's, and for finished latents. Refuses (exit 3) a folder with nothing to go on from.
    """
    found = asked.read(_home(Path(folder)))
    _ready(found, decode=decode)
    asked.same_loras(found)
    card = _card(found, model)
    brief = Brief(
        subject=Subject(mode=found.mode, prompt=found.prompt, at=found.keyframes, loras=found.loras),
        layers=layered({**found.settings, "model": card.name, "output": str(output or _literal(found.output))}),
        machine=gpus.rated(machine or probe.machine()),
        fresh_seed=0,
    )
    jobs = list(decided(brief, _decoder(card, found.mode) if decode else card))
    [job] = placed(jobs, chosen=True, overwrite=overwrite, skip_existing=False)
    now = asked.began(job)
    said = () if now == found.began else (f"begun with {found.began}, finished with {now}",)
    settings = tuple(replace(one, origin=found.origins.get(one.name, one.origin)) for one in job.settings)
    job = replace(job, settings=settings, adjustments=(*job.adjustments, *said), source=found.folder, **manners)
    return noted(taught(job), found.folder)


def _home(path: Path) -> Path:
    """The folder that is meant, also by the name of an artefact in it."""
    folder = path.parent if path.suffix == ".safetensors" else path
    return folder if folder.name else folder.resolve()


def _literal(path: Path) -> str:
    """A path as a template that stands for itself."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _ready(found: asked.Asked, *, decode: bool) -> None:
    if decode and not artefacts.has(found.folder, artefacts.LATENTS):
        raise InputRefused(f"{found.folder} holds no finished latents", "go on with it first: vidgen resume")
    if decode and not artefacts.sound(found.folder, artefacts.LATENTS):
        said = f"the latents in {found.folder} are damaged"
        raise InputRefused(said, f"make them again: vidgen resume {found.folder}")
    if not artefacts.standing(found.folder, 0):
        raise InputRefused(f"{found.folder} holds nothing to go on from", "give the first command again")


def _card(found: asked.Asked, model: str) -> ModelCard:
    """The card of the folder's model, by name or by where its weights are; refused (exit 2) when it is another's."""
    named = found.settings.get("model", "")
    card = cards.card(model or (named if named in cards.cards() else found.weights))
    if model_of(card) != found.model:
        raise UsageRefused(
            f"{found.folder} was begun with another {named}", "give the folder of its weights by --model"
        )
    return card


def _decoder(card: ModelCard, mode: Mode) -> ModelCard:
    """`card` as far as decoding needs it: the other phases hold nothing and weigh nothing."""
    held = card.ways[mode].phases[Phase.DECODE]
    way = Way(
        pipeline=card.ways[mode].pipeline,
        phases={**dict.fromkeys(Phase, ()), Phase.DECODE: held},
        keyframes=card.ways[mode].keyframes,
    )
    components = tuple(part for part in card.components if part.name in held)
    return replace(card, ways={mode: way}, components=components, cost=replace(card.cost, token_kib=0.0))
