"""A .part folder into a job, and a draft: the request comes from a folder alone, all else is decided as ever."""

from collections.abc import Mapping
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
from vidgen.media import record
from vidgen.planning.drafts import first_stage
from vidgen.planning.settle import BEGUN, LIMITS, Subject
from vidgen.prepare import Brief, decided, layered, noted, placed, taught
from vidgen.studio import artefacts, asked, part
from vidgen.studio.fingerprint import model_of

OF_MACHINE = ("offload", "vram")
"""Limits of the plan that mean one machine, and say nothing of another."""

AGAIN = "vidgen show --command"
"""Says the command that made a clip."""


def resume(
    folder: str | Path,
    *,
    decode: bool = False,
    model: str = "",
    output: str | Path = "",
    overwrite: bool = False,
    machine: Machine | None = None,
    limits: Mapping[str, Any] | None = None,
    **manners: Any,
) -> Job:
    """The job that goes on from a `.part` or `.latents` folder, wherever that was begun.

    `model` is where its weights are here, `output` the clip, `manners` more fields of the job. `limits` (precision,
    offload, tiling, vram) stand in place of those that it was begun under. To `decode` asks for no other weights than
    the decoder's, and for finished latents. Refuses (exit 3) a folder with nothing to go on from.
    """
    found = asked.read(_home(Path(folder)))
    _ready(found, decode=decode)
    asked.same_loras(found)
    card = _card(found, model)
    brief = _brief(found, {**(limits or {}), "output": str(output or _literal(found.output))}, machine)
    job = _one(replace(brief, draft=found.draft), _decoder(card, found.mode) if decode else card, found, overwrite)
    return noted(taught(replace(job, source=found.folder, **manners)), found.folder)


def finalize(
    clip: str | Path,
    *,
    model: str = "",
    output: str | Path = "",
    overwrite: bool = False,
    machine: Machine | None = None,
    limits: Mapping[str, Any] | None = None,
    **manners: Any,
) -> Job:
    """The job that doubles and refines a draft: begun with the latents that are kept beside it.

    `model`, `output`, `limits` and `manners` as above; without `output` it is called as `clip` is, with `-final`.
    Refuses (exit 3) a clip that is no draft, and one whose latents are not there or damaged.
    """
    found = _draft(Path(clip))
    asked.same_loras(found)
    card = _card(found, model)
    own = found.output if found.folder == Path(clip) else Path(clip)
    name = own.with_name(f"{own.stem}-final{own.suffix}")
    brief = _brief(found, {**(limits or {}), "output": str(output or _literal(name))}, machine)
    job = _one(brief, card, found, overwrite)
    job = replace(job, draft=found.folder, notes=(*job.notes, f"refines the draft {own}"), **manners)
    return noted(taught(job), part.folder_of(job)) if part.begun(job) else taught(job)


def _brief(found: asked.Asked, typed: Mapping[str, Any], machine: Machine | None) -> Brief:
    here = gpus.rated(machine or probe.machine())
    layers = layered(typed)
    return Brief(
        subject=Subject(mode=found.mode, prompt=found.prompt, at=found.keyframes, loras=found.loras),
        layers={"flag": layers["flag"], BEGUN: {**_kept(found, here), "gguf": found.ggufs}, **layers},
        machine=here,
        fresh_seed=0,
        enhancer=found.enhancer,
    )


def _kept(found: asked.Asked, here: Machine) -> Mapping[str, str]:
    """The settings that the work was begun with; of its limits those that were set, and that say something here."""
    free = {name for name in LIMITS if found.settings.get(name) == "auto"} | {*_left(found, here)}
    return {name: value for name, value in found.settings.items() if name not in free}


def _left(found: asked.Asked, here: Machine) -> tuple[str, ...]:
    """The limits that were set for another machine."""
    return tuple(
        name for name in OF_MACHINE if found.settings.get(name, "auto") != "auto" and found.machine != here.name
    )


def _one(brief: Brief, card: ModelCard, found: asked.Asked, overwrite: bool) -> Job:
    """The one job of a folder, with the origins of its settings, and what it is finished with where that is new."""
    instead = "add --overwrite, or give another --output"
    [job] = placed(list(decided(brief, card)), chosen=True, overwrite=overwrite, skip_existing=False, instead=instead)
    now = asked.began(job)
    said = () if now == found.began else (f"begun with {found.began}, finished with {now}",)
    settings = tuple(
        replace(one, origin=found.origins.get(one.name, one.origin)) if one.origin == BEGUN else one
        for one in job.settings
    )
    notes = [f"--{name} {found.settings[name]} was for {found.machine}" for name in _left(found, brief.machine)]
    return replace(job, settings=settings, adjustments=(*job.adjustments, *said), notes=(*job.notes, *notes))


def _draft(clip: Path) -> asked.Asked:
    """What is kept of the draft `clip`, by its name or that of its folder."""
    if not clip.exists():
        raise InputRefused(f"{clip} is not there", "give the clip that --draft has made")
    found = asked.read(clip) if clip.suffix in (part.KEPT, part.PART) else _beside(clip)
    if not found.draft:
        raise _no_draft(clip)
    if not artefacts.has(found.folder, artefacts.LATENTS):
        raise InputRefused(f"the draft in {found.folder} is not finished", f"go on with it first: vidgen resume {clip}")
    if not artefacts.sound(found.folder, artefacts.CHECKPOINT):
        raise InputRefused(
            f"the latents in {found.folder} are damaged", f"make the draft again: {AGAIN} {found.output}"
        )
    return found


def _beside(clip: Path) -> asked.Asked:
    """What is kept beside `clip`, which is to be what was made of it."""
    made = record.read(clip).get("request")
    if not isinstance(made, dict) or "draft" not in made:
        raise _no_draft(clip)
    for end in (part.KEPT, part.PART):
        folder = clip.with_name(f"{clip.name}{end}")
        if asked.mark_of(folder):
            found = asked.read(folder)
            if (made.get("prompt"), str(made.get("seed"))) == (found.prompt, found.settings.get("seed")):
                return found
            raise InputRefused(
                f"the latents in {folder} are those of another clip", f"make the draft again: {AGAIN} {clip}"
            )
    said = f"{clip.name}{part.KEPT}, which holds the latents of the draft, is not beside it"
    raise InputRefused(said, f"put it back there, or make the draft again: {AGAIN} {clip}")


def _no_draft(clip: Path) -> InputRefused:
    return InputRefused(f"{clip} is no draft", "a draft is made with --draft, by a model of two stages: vidgen models")


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
    if model_of(first_stage(card) if found.draft else card) != found.model:
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
