"""What a .part folder was asked for, as JSON beside its artefacts, with its pictures: enough to go on from it alone."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidgen.core.enhancer import Enhancer
from vidgen.core.errors import InputRefused, OutputRefused
from vidgen.core.machine import Device
from vidgen.core.plan import Job, Rung
from vidgen.core.request import Gguf, Keyframe, Lora, Mode
from vidgen.studio import artefacts
from vidgen.studio.fingerprint import fingerprint, hash_of, model_of

REQUEST = "request.json"
ENHANCED = "enhanced.txt"
PICTURES = "pictures"
MOST = 1 << 20
SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a folder holds of a request. `settings` are words as a user would type them; LoRAs stay where they were.

    `seedless` is the fingerprint of the request but for its seed, `model` the hash of its card, `weights` the folder
    that they were in, and `began` the precision and device that the work began with. `hashes` are those of the LoRAs,
    then of the GGUF files. Where a phase had failed, `detours` say so, and the work goes on on `rung` if it is still
    the same `machine`. `draft`: only the first of two stages was asked for; the size in `settings` is the whole's.
    """

    folder: Path
    mark: str
    seedless: str
    model: str
    weights: str
    began: str
    mode: Mode
    prompt: str
    settings: Mapping[str, str]
    origins: Mapping[str, str]
    keyframes: tuple[Keyframe, ...]
    loras: tuple[Lora, ...]
    ggufs: tuple[Gguf, ...]
    hashes: tuple[str, ...]
    output: Path
    machine: str
    rung: Rung
    detours: tuple[str, ...]
    draft: bool
    enhancer: Enhancer | None


def write(job: Job, folder: Path, mark: str) -> None:
    """Put the request of `job` and its pictures into `folder`; OutputRefused (exit 6) when that cannot be."""
    request = job.request
    pictures = [_keep(mark.picture, folder, number) for number, mark in enumerate(request.keyframes)]
    facts = {
        "schema": SCHEMA,
        "fingerprint": mark,
        "seedless": fingerprint(job, seeded=False),
        "model": model_of(job.card),
        "weights": str(job.weights.folder.absolute()) if job.weights.folder else "",
        "began": began(job),
        "mode": request.mode.value,
        "prompt": request.prompt,
        "settings": dict(_words(job)),
        "origins": {setting.name: setting.origin for setting in job.settings},
        "keyframes": [
            {"picture": picture, "sha256": hash_of(folder / picture), "frame": mark.frame, "strength": mark.strength}
            for picture, mark in zip(pictures, request.keyframes, strict=True)
        ],
        "loras": [
            {"path": str(lora.path.absolute()), "sha256": hash_of(lora.path), "weight": lora.weight}
            for lora in request.loras
        ],
        "ggufs": [
            {"path": str(gguf.path.absolute()), "sha256": hash_of(gguf.path), "component": gguf.component}
            for gguf in request.ggufs
        ],
        "output": request.output.name,
        "machine": job.plan.machine.name,
        "rung": asdict(job.plan.rung),
        "detours": list(job.detours),
        "draft": job.whole is not None,
        "enhancer": _enhancer_words(job.enhancer),
    }
    artefacts.write(folder / REQUEST, json.dumps(facts, indent=1).encode("ascii"))


def read(folder: Path) -> Asked:
    """What `folder` was asked for. Refuses (exit 3) what is no such folder, or was tampered with."""
    try:
        facts = _facts(folder)
        return Asked(
            folder=folder,
            mark=str(facts["fingerprint"]),
            seedless=str(facts["seedless"]),
            model=str(facts["model"]),
            weights=str(facts["weights"]),
            began=str(facts["began"]),
            mode=Mode(facts["mode"]),
            prompt=str(facts["prompt"]),
            settings={str(name): str(value) for name, value in facts["settings"].items()},
            origins={str(name): str(value) for name, value in facts["origins"].items()},
            keyframes=tuple(_keyframe(folder, entry) for entry in facts["keyframes"]),
            loras=tuple(_lora(entry) for entry in facts["loras"]),
            ggufs=tuple(_gguf(entry) for entry in facts.get("ggufs", ())),
            hashes=tuple(str(entry["sha256"]) for entry in (*facts["loras"], *facts.get("ggufs", ()))),
            output=folder.parent / _name(facts["output"]),
            machine=str(facts["machine"]),
            rung=Rung.of(facts["rung"]),
            detours=tuple(str(said) for said in facts["detours"]),
            draft=bool(facts["draft"]),
            enhancer=_enhancer(facts["enhancer"]),
        )
    except OSError as error:
        raise InputRefused(f"{folder} is no folder of vidgen's: {error.strerror}", "give a .part folder") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputRefused(f"{folder / REQUEST} is damaged: {error!r}", "give the first command again") from error


def keep_enhanced(folder: Path, prompt: str) -> None:
    """Keep what an enhancer made of the prompt: whole, or not at all (OutputRefused, exit 6)."""
    artefacts.write(folder / ENHANCED, prompt.encode())


def enhanced(folder: Path) -> str:
    """What an enhancer made of the prompt; empty when none has yet, or when the file is damaged."""
    try:
        with (folder / ENHANCED).open("rb") as file:
            return file.read(MOST).decode()
    except (OSError, ValueError):
        return ""


def same_loras(found: Asked) -> None:
    """Refuse (exit 3) when a LoRA or a GGUF file of the folder is not there any more, or is another file by now."""
    named = [(f"LoRA {lora.path}", lora.path) for lora in found.loras]
    named += [(f"GGUF file {gguf.path}", gguf.path) for gguf in found.ggufs]
    for (name, path), known in zip(named, found.hashes, strict=True):
        if not path.is_file():
            said = f"{name}, which {found.folder} was begun with, is not there"
            raise InputRefused(said, "put it back there")
        if hash_of(path) != known:
            said = f"{name} is not the file that {found.folder} was begun with"
            raise InputRefused(said, "put that one back, or give the first command again")


def mark_of(folder: Path) -> str:
    """The fingerprint of the request that `folder` belongs to; empty when it says none."""
    return _fact(folder, "fingerprint")


def began_of(folder: Path) -> str:
    """What the work in `folder` was begun with; empty when it says nothing."""
    return _fact(folder, "began")


def began(job: Job) -> str:
    """What the work is done with, in words."""
    rung = job.plan.rung
    return f"{f'gguf {rung.kind}' if rung.kind else rung.precision} on {job.plan.machine.device}"


def unfinished(job: Job) -> Iterator[Asked]:
    """Folders that something can be gone on from, and that differ from `job` in nothing but the seed."""
    folders = sorted(job.request.output.parent.glob("*.part"))
    wanted = fingerprint(job, seeded=False) if folders else ""
    for folder in folders:
        try:
            found = read(folder)
        except InputRefused:
            continue
        if (
            found.seedless == wanted
            and artefacts.standing(folder, 0)
            and (job.overwrite or not os.path.lexists(found.output))
        ):
            yield found


def _fact(folder: Path, name: str) -> str:
    try:
        return str(_facts(folder)[name])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _facts(folder: Path) -> Any:
    with (folder / REQUEST).open("rb") as file:
        return json.loads(file.read(MOST))


def _words(job: Job) -> Iterator[tuple[str, str]]:
    """Every setting as a user would type it."""
    request, shown = job.request, job.whole or job.request
    yield "size", f"{shown.width}x{shown.height}"
    plain = ("model", "negative", "frames", "fps", "steps", "guidance_scale", "true_cfg_scale")
    for name in (*plain, "seed", "background", "sound"):
        yield name, str(getattr(request, name))
    yield "fit", request.fit.value
    yield "strict", str(request.strict)
    yield "force", str(request.force)
    yield "enhance", str(request.enhance)
    yield "enhancer", "" if request.enhancer is None else str(request.enhancer.absolute())
    yield "crf", "auto" if request.crf is None else str(request.crf)
    yield "codec", request.codec
    for name in ("precision", "offload", "tiling"):
        yield name, str(getattr(request, name))
    yield "vram", f"{request.vram_gib:g}" if request.vram_gib else "auto"


def _enhancer_words(enhancer: Enhancer | None) -> dict[str, Any] | None:
    if enhancer is None:
        return None
    return {**asdict(enhancer), "folder": str(enhancer.folder.absolute()) if enhancer.folder else ""}


def _enhancer(facts: Mapping[str, Any] | None) -> Enhancer | None:
    if facts is None:
        return None
    return Enhancer(
        kind=str(facts["kind"]),
        folder=Path(facts["folder"]) if facts["folder"] else None,
        parameters=int(facts["parameters"]),
        mark=str(facts["mark"]),
        device=Device(facts["device"]),
    )


def _keep(picture: Path, folder: Path, number: int) -> str:
    """A copy of `picture` in `folder`, under its own name; where it lies."""
    place = Path(PICTURES) / str(number) / picture.name
    try:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        content = picture.read_bytes()
    except OSError as error:
        raise OutputRefused(f"cannot keep {picture} in {folder}: {error.strerror}", "look at its rights") from error
    artefacts.write(folder / place, content)
    return place.as_posix()


def _keyframe(folder: Path, entry: Mapping[str, Any]) -> Keyframe:
    parts = Path(entry["picture"]).parts
    if len(parts) != 3 or parts[0] != PICTURES or ".." in parts:
        raise ValueError(f"{entry['picture']!r} lies elsewhere")
    picture = folder.joinpath(*parts)
    _same(picture, entry)
    return Keyframe(picture=picture, frame=int(entry["frame"]), strength=float(entry["strength"]))


def _lora(entry: Mapping[str, Any]) -> Lora:
    return Lora(path=Path(entry["path"]), weight=float(entry["weight"]))


def _gguf(entry: Mapping[str, Any]) -> Gguf:
    return Gguf(path=Path(entry["path"]), component=str(entry["component"]))


def _same(file: Path, entry: Mapping[str, Any]) -> None:
    if hash_of(file) != entry["sha256"]:
        raise ValueError(f"{file.name} is not what it was")


def _name(name: str) -> str:
    if Path(name).name != name or name in {"", ".", ".."}:
        raise ValueError(f"{name!r} is no name")
    return name
