"""Model cards: TOML files into frozen values. A card's file name is the model's name.

Cards stand in `models/`; folders named in VIDGEN_FAMILIES add to them.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from vidgen.catalog.tables import Table, load
from vidgen.core.card import NAMED, SOURCED, Component, Cost, Grid, Guidance, ModelCard, Phase, Refine, Schedule, Way
from vidgen.core.errors import UsageRefused, WeightsRefused
from vidgen.core.request import Mode
from vidgen.core.words import nearest, size

OWN = Path(__file__).parent / "models"
BUILT_IN = "pocket"

HALVES = ("bf16", "fp16")
FILE = re.compile(r"[^/\\\0]+\.safetensors")


def folders() -> list[Path]:
    """Where cards stand, ours first; UsageRefused when VIDGEN_FAMILIES names what is no folder."""
    added = [Path(name) for name in os.environ.get("VIDGEN_FAMILIES", "").split(os.pathsep) if name]
    for folder in added:
        if not folder.is_dir():
            raise UsageRefused(
                f"VIDGEN_FAMILIES names {folder}, which is no folder", "mend it, or unset VIDGEN_FAMILIES"
            )
    return [OWN, *added]


@cache
def cards() -> Mapping[str, ModelCard]:
    """Every card that is known, by name, best model first."""
    found = {path.stem: read(path) for folder in folders() for path in sorted(folder.glob("*.toml"))}
    return {card.name: card for card in sorted(found.values(), key=lambda card: (-card.rank, card.name))}


def card(name: str) -> ModelCard:
    """The card called `name`, by name or alias, or the one that serves the folder of weights at `name`."""
    if (os.sep in name or name.startswith(".")) and Path(name).is_dir():
        return for_folder(Path(name))
    known = cards()
    aliases = {alias: entry.name for entry in known.values() for alias in entry.aliases}
    if name not in known and name not in aliases:
        if os.sep in name:
            raise WeightsRefused(f"{name} is not a folder", "give --model the folder that holds model_index.json")
        raise UsageRefused(f"unknown model {name!r}{nearest(name, [*known, *aliases])}", "see them all: vidgen models")
    return known[aliases.get(name, name)]


def for_folder(folder: Path) -> ModelCard:
    """A card for a folder of weights: its own `card.toml`, the card its index names, or one that serves its class."""
    if (folder / "card.toml").is_file():
        return replace(read(folder / "card.toml"), name=folder.resolve().name, folder=folder)
    index = folder / "model_index.json"
    try:
        kinds = json.loads(index.read_text(encoding="utf-8"))
        pipeline = kinds["_class_name"]
    except OSError as error:
        raise WeightsRefused(f"{folder} has no model_index.json", "give the folder of a Diffusers pipeline") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsRefused(f"{index} is not a pipeline's index", "fetch that file again") from error
    named = cards().get(str(kinds.get(NAMED, "")))
    if named:
        return _adopted(named, folder, kinds)
    fitting = [card for card in cards().values() if pipeline in card.serves and card.index.items() <= kinds.items()]
    if fitting:
        return _adopted(max(fitting, key=lambda card: len(card.index)), folder, kinds)
    raise WeightsRefused(f"{folder} holds a {pipeline}, which no card serves", "see what is served: vidgen models")


def _adopted(card: ModelCard, folder: Path, kinds: Mapping[str, object]) -> ModelCard:
    """`card` for the weights in `folder`: sizes are read from the files, classes from the pipeline's index."""
    components = []
    for component in card.components:
        entry = kinds.get(component.name)
        kind = str(entry[1]) if isinstance(entry, list) and len(entry) == 2 and entry[1] else component.kind
        components.append(replace(component, kind=kind, parameters=0))
    return replace(card, name=folder.resolve().name, aliases=(), folder=folder, components=tuple(components))


def read(path: Path) -> ModelCard:
    """One card; UsageRefused with the file and the key when something is wrong with it."""
    table = Table(load(path), str(path))
    components = tuple(_component(name, entry) for name, entry in table.tables("components").items())
    result = ModelCard(
        name=path.stem,
        family=_family(table),
        title=table.take("title", str),
        summary=table.take("summary", str),
        aliases=table.texts("aliases"),
        rank=table.take("rank", int),
        sources=_sources(table.table("sources")),
        **_of_weights(table.table("weights"), path.parent),
        grid=_grid(table.table("grid")),
        components=components,
        ways={_mode(name, entry): _way(entry) for name, entry in table.tables("ways").items()},
        schedule=_schedule(table.table("schedule")),
        refine=_refine(table.table("refine"), components) if "refine" in table else None,
        cost=_cost(table.table("cost")),
        tokens=table.take("tokens", int),
        negative=table.take("negative", bool),
        sound=table.take("sound", bool, False),
        loras=table.take("loras", bool, True),
        knows=table.take("knows", str, ""),
        longest=table.take("longest", int, 0),
        largest=_largest(table),
        good_at=table.texts("good_at"),
        **_of_prompts(table),
        defaults=_defaults(table.table("defaults")),
        settings=table.table("settings").rest(),
    )
    table.finish()
    return result


def _of_weights(table: Table, beside: Path) -> dict[str, Any]:
    """Where a model's weights are, under which licence, and which pipelines they are of."""
    folder = table.take("folder", str, "")
    found = {
        "repository": table.take("repository", str, ""),
        "revision": table.take("revision", str, ""),
        "folder": (beside / folder).resolve() if folder else None,
        "licence": table.take("licence", str, ""),
        "serves": table.texts("serves"),
        "index": table.table("index").rest(),
    }
    table.finish()
    return found


def _of_prompts(table: Table) -> dict[str, Any]:
    """What a model does with a prompt beside drawing it."""
    return {
        "enhances": table.take("enhances", bool, False),
        "wording": table.take("wording", str, ""),
        "several": table.take("several", bool, False),
        "times": table.take("times", str, ""),
    }


def _family(table: Table) -> str:
    """The family's name, which is that of a module: a card may come with downloaded weights, and names no other."""
    family = table.take("family", str)
    if not family.isidentifier():
        raise UsageRefused(f"{table.where}: {family!r} is no name of a family", "give family a name such as ltx")
    return family


def _sources(table: Table) -> dict[str, str]:
    found = {key: table.take(key, str, "") for key in SOURCED}
    table.finish()
    return {key: place for key, place in found.items() if place}


def _grid(table: Table) -> Grid:
    grid = Grid(size=table.take("size", int), frames=table.take("frames", int))
    table.finish()
    return grid


def _largest(table: Table) -> tuple[int, int]:
    text = table.take("largest", str, "")
    return size(text, default=(0, 0), grid=1) if text else (0, 0)


def _component(name: str, table: Table) -> Component:
    blocks = table.take("blocks", float, 0.0)
    if not 0 <= blocks <= 1:
        raise UsageRefused(f"{table.where}: blocks = {blocks:g} is no share", "give blocks a number from 0 to 1")
    half = table.take("half", str, "bf16")
    if half not in HALVES:
        raise UsageRefused(f"{table.where}: no format of 16 bits is called {half}", f"use {' or '.join(HALVES)}")
    at = table.take("at", str, "")
    if "/" in at or at == "..":
        raise UsageRefused(f"{table.where}: at = {at!r} is no sub-folder", "name one, or . for the top")
    file = table.take("file", str, "")
    if file and not FILE.fullmatch(file):
        raise UsageRefused(f"{table.where}: file = {file!r} is none of weights", "name a .safetensors without folders")
    component = Component(
        name=name,
        kind=table.take("kind", str),
        parameters=table.take("parameters", int, 0),
        blocks=blocks,
        stacked=table.take("stacked", float, 0.0),
        decoder=table.take("decoder", float, 0.0),
        block=table.take("block", int, 0),
        layers=table.take("layers", int, 0),
        half=half,
        tokens=table.take("tokens", int, 0),
        marks=table.take("marks", bool, True),
        source=table.take("source", str, ""),
        at=at,
        file=file,
        wide=table.take("wide", bool, False),
        optional=table.take("optional", bool, False),
    )
    table.finish()
    return component


def _mode(name: str, table: Table) -> Mode:
    if name not in list(Mode):
        raise UsageRefused(f"{table.where}: no mode is called {name}", f"use one of {', '.join(Mode)}")
    return Mode(name)


def _way(table: Table) -> Way:
    way = Way(
        pipeline=table.take("pipeline", str),
        keyframes=table.take("keyframes", int, 0),
        guidance_scale=table.take("guidance_scale", float) if "guidance_scale" in table else None,
        ends=table.take("ends", bool, False),
        phases={phase: table.texts(phase) for phase in Phase},
    )
    table.finish()
    return way


def _schedule(table: Table) -> Schedule:
    guidance = table.take("guidance", str)
    if guidance not in list(Guidance):
        raise UsageRefused(f"{table.where}: no guidance is called {guidance}", f"use one of {', '.join(Guidance)}")
    noise = table.take("decode_noise_scale", float, -1.0)
    schedule = Schedule(
        guidance=Guidance(guidance),
        timesteps=tuple(float(step) for step in table.take("timesteps", list, [])),
        steps=tuple(int(number) for number in table.take("steps", list, [])),
        guidance_rescale=table.take("guidance_rescale", float, 0.0),
        decode_timestep=table.take("decode_timestep", float, 0.0),
        decode_noise_scale=None if noise < 0 else noise,
        image_cond_noise_scale=table.take("image_cond_noise_scale", float, 0.0),
        picture_crf=table.take("picture_crf", int, 0),
        passes=table.take("passes", int, 2),
    )
    table.finish()
    return schedule


def _refine(table: Table, components: Sequence[Component]) -> Refine:
    refine = Refine(
        upscaler=table.take("upscaler", str),
        timesteps=tuple(float(step) for step in table.take("timesteps", list, [])),
        steps=table.take("steps", int, 0),
        strength=table.take("strength", float, 1.0),
        guided=table.take("guided", bool, False),
        adain=table.take("adain", float, 0.0),
        tone_map=table.take("tone_map", float, 0.0),
        lora=table.take("lora", str, ""),
    )
    if bool(refine.timesteps) == bool(refine.steps) or refine.walked < 1:
        raise UsageRefused(f"{table.where}: no step is walked", "give timesteps, or steps and a strength")
    for name in {refine.upscaler, refine.lora} - {"", *(component.name for component in components)}:
        raise UsageRefused(f"{table.where}: no component is called {name!r}", "name one of the card's components")
    table.finish()
    return refine


def _cost(table: Table) -> Cost:
    cost = Cost(
        token_kib=table.take("token_kib", float, 0.0),
        pictured_kib=table.take("pictured_kib", float, 0.0),
        picture_bytes=table.take("picture_bytes", float, 0.0),
        pair_bytes=table.take("pair_bytes", float, 0.0),
        turns=table.take("turns", bool, False),
        pixel_bytes=table.take("pixel_bytes", float, 0.0),
        tile_gib=table.take("tile_gib", float, 0.0),
        tile=table.take("tile", int, 512),
        frames=table.take("frames", int, 0),
        decoded=table.take("decoded", int, 0),
        token_gflop=table.take("token_gflop", float, 0.0),
        pair_flop=table.take("pair_flop", float, 0.0),
        text=table.take("text", int, 0),
        pixel_mflop=table.take("pixel_mflop", float, 0.0),
        encoded_tflop=table.take("encoded_tflop", float, 0.0),
        measured=table.take("measured", str, ""),
    )
    table.finish()
    return cost


def _defaults(table: Table) -> dict[str, object]:
    defaults: dict[str, object] = {
        "size": table.take("size", str),
        "frames": table.take("frames", int),
        "fps": table.take("fps", str),
        "steps": table.take("steps", int),
        "guidance_scale": table.take("guidance_scale", float),
        "negative": table.take("negative", str, ""),
    }
    table.finish()
    return defaults
