"""Words into jobs: settle, check, look at what is there, plan. Loads nothing, fetches nothing, writes nothing."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidgen import enhancers, exact, fitting, ggufs, history, hub, probe, reading
from vidgen.catalog import cards, gpus, presets, settings
from vidgen.core import words
from vidgen.core.card import ModelCard
from vidgen.core.enhancer import Enhancer
from vidgen.core.errors import DoesNotFit, InputRefused, Refusal, UsageRefused
from vidgen.core.machine import Device, Machine
from vidgen.core.plan import Job, Plan, Precision, Setting, Weights
from vidgen.core.request import Keyframe, Lora, Mode, Request
from vidgen.looking import looked_at
from vidgen.media import containers
from vidgen.planning import detours, drafts, enhancing, ladder, planner
from vidgen.planning.check import check
from vidgen.planning.drafts import Drawn
from vidgen.planning.settle import Subject, located, settle
from vidgen.studio import artefacts, asked, part
from vidgen.studio.outputs import INSTEAD, Place, places


@dataclass(frozen=True, kw_only=True, slots=True)
class Brief:
    """What was typed, parsed, before a model is chosen; and the enhancer of a clip that was begun."""

    subject: Subject
    layers: settings.Layers
    machine: Machine
    fresh_seed: int
    draft: bool = False
    enhancer: Enhancer | None = None
    counting: exact.Listener | None = None


def prepare(
    mode: Mode | str,
    *,
    prompt: str,
    picture: str | Path | None = None,
    at: Sequence[str | words.At | Keyframe] = (),
    lora: Sequence[str | Lora] = (),
    overwrite: bool = False,
    skip_existing: bool = False,
    wait: bool = False,
    checkpoint_every: int = 0,
    keep_latents: bool = False,
    fallback: bool = True,
    draft: bool = False,
    budget: str = "",
    machine: Machine | None = None,
    counting: exact.Listener | None = None,
    **typed: Any,
) -> list[Job]:
    """One job for each seed, with every decision taken. A clip that was left unfinished is gone on with.

    `picture` is the first frame of i2v, `at` the keyframes of keyframe (`"FRAME:IMAGE[:STRENGTH]"`), `lora` files
    (`"PATH[:WEIGHT]"`). `typed` are settings by name, spelt as on the command line: `size="100x60"`, `seed="1..3"`.
    `draft`: the first of two stages alone. `machine`: plan for that one. `budget` ("10m") makes the largest clips that
    end in that time. `counting`: plan by counting the very clip, and tell it how far that is. Raises a `Refusal` for
    whatever could not succeed; weights that are not there are not one: `run` refuses them.
    """
    brief = Brief(
        subject=_subject(Mode(mode), prompt, picture, at, lora),
        layers=layered(typed),
        machine=gpus.rated(machine or probe.machine()),
        fresh_seed=secrets.randbelow(2**32),
        draft=draft,
        counting=counting,
    )
    manners: dict[str, Any] = {"wait": wait, "checkpoint_every": checkpoint_every, "keep_latents": keep_latents}
    manners |= {"fallback": fallback, "skip_existing": skip_existing}
    jobs = [taught(replace(job, **manners)) for job in _timely(brief, budget)]
    chosen = any("output" in layer for layer in brief.layers.values())
    return [_found(job, brief) for job in placed(jobs, chosen=chosen, overwrite=overwrite, skip_existing=skip_existing)]


def layered(typed: Mapping[str, Any]) -> settings.Layers:
    """What was typed over every other place that settings come from; an unknown setting is refused (exit 2)."""
    for key in typed:
        if key not in words.SETTINGS:
            raise UsageRefused(f"unknown setting {key!r}{words.nearest(key, words.SETTINGS)}", "remove it or mend it")
    found = settings.layers(typed)
    name, _ = settings.first(found, "preset", "")
    return settings.with_preset(found, presets.preset(str(name)).values) if name else found


def _subject(
    mode: Mode,
    prompt: str,
    picture: str | Path | None,
    at: Sequence[str | words.At | Keyframe],
    lora: Sequence[str | Lora],
) -> Subject:
    marks = [words.at(mark) if isinstance(mark, str) else mark for mark in at]
    if picture is not None:
        marks.insert(0, Keyframe(picture=Path(picture)))
    if mode is Mode.T2V and marks:
        raise UsageRefused("t2v takes no picture", "use i2v or keyframe")
    loras = [words.lora(file) if isinstance(file, str) else file for file in lora]
    return Subject(mode=mode, prompt=prompt, at=marks, loras=loras)


def _timely(brief: Brief, budget: str) -> list[Job]:
    """The jobs, or the largest that end in time where there is a budget."""
    jobs = modelled(brief)
    if not budget:
        return jobs
    return fitting.within(jobs, fitting.budget(budget), lambda less: modelled(_reduced(brief, less)))


def _reduced(brief: Brief, settings: Mapping[str, Any]) -> Brief:
    """The brief with settings that a budget takes, right under what was typed."""
    flags = {"flag": brief.layers["flag"]}
    return replace(brief, layers={**flags, "budget": settings, **brief.layers})


def modelled(brief: Brief) -> list[Job]:
    """A job for each seed, of the model that is named, or of the best."""
    name, _ = settings.first(brief.layers, "model", "auto")
    if name == "auto" and words.ggufs(settings.first(brief.layers, "gguf", "")[0]):
        raise UsageRefused(
            "nothing says whose transformer the GGUF file is", "name the model: --model NAME --gguf FILE"
        )
    return _auto(brief) if name == "auto" else list(decided(brief, cards.card(str(name))))


def _auto(brief: Brief) -> list[Job]:
    """Jobs for the best model that is here and fits, else for the built-in one, which says so."""
    served = [card for card in cards.cards().values() if card.repository and brief.subject.mode in card.ways]
    real = [card for card in served if card.refine or not brief.draft]
    for card in real:
        if not hub.find(card).missing and _fits(brief, card):
            return list(decided(brief, card))
    fitting = (card for card in real if card.cost.encoded_tflop and _fits(brief, card))
    wanted = next(fitting, min(real, key=lambda card: sum(part.parameters for part in card.components)))
    why = "no model is downloaded" if all(hub.find(card).missing for card in real) else "no downloaded model fits"
    note = f"{why}: using {cards.BUILT_IN}, the built-in toy; for a real one: {hub.command(wanted)}"
    return [replace(job, notes=(note,)) for job in decided(brief, cards.card(cards.BUILT_IN))]


def _fits(brief: Brief, card: ModelCard) -> bool:
    """Whether `card` could serve the brief on its machine."""
    try:
        drawn = _drawn(brief, card)
        planner.choose(drawn.requests[0], drawn.card, drawn.canvas, brief.machine, hub.find(drawn.card))
    except (DoesNotFit, UsageRefused):
        return False
    return True


def _drawn(brief: Brief, card: ModelCard) -> Drawn:
    """What is to be drawn by `card`."""
    requests, origins = settle(brief.layers, card, brief.subject, fresh_seed=brief.fresh_seed)
    try:
        canvas, said = check(requests[0], card)
    except UsageRefused as refusal:
        raise located(refusal, origins) from None
    card = ggufs.carried(card, requests[0].ggufs)
    drawn = Drawn(requests=requests, origins=origins, card=card, canvas=canvas, adjustments=said)
    return drafts.drafted(drawn, cards.cards().values()) if brief.draft else drawn


def decided(brief: Brief, known: ModelCard) -> Iterator[Job]:
    """A job for each seed. Whatever is the same for all of them is looked at once."""
    drawn = _drawn(brief, known)
    requests, canvas, weights = drawn.requests, drawn.canvas, hub.find(drawn.card)
    named = requests[0], drawn.card, weights
    notes = [*drawn.adjustments, *looked_at(*named), *reading.cut(*named), *reading.unknown(*named)]
    try:
        card, plan, counted = exact.planned(requests[0], drawn.card, canvas, brief.machine, weights, brief.counting)
    except Refusal as refusal:
        raise located(refusal, drawn.origins) from None
    enhancer = brief.enhancer or _enhancer(requests[0], card, plan, weights)
    for request in requests:
        yield Job(
            request=request,
            card=card,
            canvas=canvas,
            plan=plan,
            weights=weights,
            settings=tuple(_own(setting, request) for setting in drawn.origins),
            adjustments=tuple(notes),
            whole=drawn.whole,
            notes=(*_unweighed(card, weights), *_slow(plan)),
            enhancer=enhancer,
            counted=counted,
        )


def _unweighed(card: ModelCard, weights: Weights) -> Iterator[str]:
    if parts := hub.unweighed(card, weights):
        named = " and ".join(parts)
        yield f"what nobody has counted is in no plan until it is here: of {card.name} that is {named}"


def _slow(plan: Plan) -> Iterator[str]:
    here, computed = plan.machine, plan.rung.precision.computed
    if here.device is Device.CPU and not here.halves and computed is Precision.BF16:
        yield f"{here.name} does not multiply bf16 itself: it takes many times as long as --precision fp32"


def _found(job: Job, brief: Brief) -> Job:
    """The job, with a note where it goes on from. Where nobody gave a seed, an unfinished clip's is taken up."""
    if job.skip:
        return job
    if job.request.seed == brief.fresh_seed:
        left = next((one for one in asked.unfinished(job) if part.idle(one.folder)), None)
        if left:
            request = replace(job.request, seed=int(left.settings["seed"]), output=left.output)
            own = tuple(_own(setting, request) for setting in job.settings)
            job = replace(job, request=request, settings=own)
    return noted(job, part.folder_of(job)) if part.begun(job) else job


def noted(job: Job, folder: Path) -> Job:
    """The job, with a note that says where in `folder` it goes on from, if it does, and on the rung that it was on."""
    standing = artefacts.standing(folder, job.steps)
    if not standing:
        return job
    note = f"going on with seed {job.request.seed} from {standing}"
    try:
        left = asked.read(folder)
    except InputRefused:
        if folder.exists():
            raise
        return job  # whoever was at work there has finished just now
    job = replace(job, notes=(*job.notes, note), detours=left.detours)
    here = left.machine == job.plan.machine.name and job.request.precision in ("auto", left.rung.precision)
    return detours.moved(job, left.rung) if left.detours and here and job.fallback else job


def taught(job: Job) -> Job:
    """The job, on the rung that worked the last time that the one which is planned did not, if that is known."""
    known = history.lesson(job) if job.fallback else None
    if known is None:
        return job
    said = f"{ladder.describe(known.failed)}: failed here on {known.when}"
    plan = detours.moved(job, known.worked).plan
    return replace(job, plan=replace(plan, passed_over=(*plan.passed_over, said)))


def _own(setting: Setting, request: Request) -> Setting:
    return replace(setting, value=str(request.seed)) if setting.name == "seed" else setting


def _enhancer(request: Request, card: ModelCard, plan: Plan, weights: Weights) -> Enhancer | None:
    """Who rewrites the prompt, and where; none when that was not asked for."""
    if not request.enhance:
        return None
    if request.enhancer is None:
        return enhancers.own(card, weights)
    return enhancing.placed(enhancers.chat(request.enhancer), plan)


def placed(
    jobs: Sequence[Job], *, chosen: bool, overwrite: bool, skip_existing: bool, instead: str = INSTEAD
) -> list[Job]:
    """The jobs with a place each, proved writable; `chosen`: the user said where. `instead` of a file that is there."""
    if overwrite and skip_existing:
        raise UsageRefused("both overwrite and skip-existing are given", "give one of them")
    found = places(
        [job.request for job in jobs],
        chosen=chosen,
        overwrite=overwrite,
        skip_existing=skip_existing,
        today=datetime.now(UTC).date(),
        instead=instead,
    )
    return [_housed(replace(job, overwrite=overwrite), place) for job, place in zip(jobs, found, strict=True)]


def _housed(job: Job, place: Place) -> Job:
    """The job at its place, with what its kind of file cannot keep; refused when that kind of file is impossible."""
    request = replace(job.request, output=place.path)
    shape = containers.Shape(width=request.width, height=request.height, frames=request.frames, fps=request.fps)
    style = containers.Style(codec=request.codec, crf=request.crf)
    containers.refuse(place.path, shape, style)
    notes = containers.notes(place.path, shape, style, sound=request.sound)
    return replace(job, request=request, skip=place.skip, adjustments=(*job.adjustments, *notes))
