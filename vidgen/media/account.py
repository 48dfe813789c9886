"""The account of one clip: what was asked, decided and measured, as the JSON text that becomes its record.

It names files by their last part and their sha256: no folder, host or token of the machine is in it.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidgen.core.plan import Job
from vidgen.core.request import Request
from vidgen.media import containers

SCHEMA = 1
LIBRARIES = ("vidgen", "torch", "diffusers", "transformers", "torchao", "bitsandbytes", "gguf", "imageio-ffmpeg")


def account(
    job: Job,
    *,
    seconds: Mapping[str, float],
    peak_gib: Mapping[str, float],
    standing_gib: float = 0.0,
    sound_rate: int = 0,
    hashed: Callable[[Path], str],
) -> str:
    """One line of JSON, in ASCII. `sound_rate` is that of the samples in Hz, 0 for a silent clip.

    `standing_gib` is what `peak_gib` held before any weights: on a processor the interpreter and its libraries.
    `hashed` gives the sha256 of a file, which may be large.
    """
    from importlib.metadata import version

    draft = {"draft": f"{job.whole.width}x{job.whole.height}"} if job.whole else {}
    facts = {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": "vidgen (trained algorithmic media)",
        "request": {**_request(job, hashed), **draft},
        "model": _model(job),
        "settings": {setting.name: setting.origin for setting in job.settings},
        "canvas": {name: getattr(job.canvas, name) for name in ("width", "height", "frames", "left", "top")},
        "plan": _plan(job),
        "streams": _streams(job.request, sound_rate),
        "adjustments": [*job.adjustments, *job.detours],
        "seconds": dict(seconds),
        "peak_gib": dict(peak_gib),
        "standing_gib": standing_gib,
        "versions": {name: version(name) for name in LIBRARIES},
    }
    return json.dumps(facts)


def _request(job: Job, hashed: Callable[[Path], str]) -> dict[str, Any]:
    request = job.request
    names = ("model", "prompt", "negative", "width", "height", "frames", "steps", "guidance_scale", "true_cfg_scale")
    plain = {name: getattr(request, name) for name in (*names, "seed")}
    return {
        "mode": request.mode.value,
        **plain,
        "enhanced": job.enhanced,
        "enhancer": _enhancer(job),
        "fps": str(request.fps),
        "keyframes": [
            {
                "picture": keyframe.picture.name,
                "sha256": hashed(keyframe.picture),
                "frame": keyframe.frame,
                "strength": keyframe.strength,
            }
            for keyframe in request.keyframes
        ],
        "loras": [
            {"path": lora.path.name, "sha256": hashed(lora.path), "weight": lora.weight} for lora in request.loras
        ],
        "ggufs": [
            {"path": gguf.path.name, "sha256": hashed(gguf.path), "component": gguf.component} for gguf in request.ggufs
        ],
        "fit": request.fit.value,
        "background": request.background,
        "sound": request.sound,
        "force": request.force,
        **{name: getattr(request, name) for name in ("precision", "offload", "tiling", "vram_gib")},
        "crf": request.crf,
        "codec": request.codec,
        "output": request.output.name,
    }


def _enhancer(job: Job) -> dict[str, str] | None:
    if job.enhancer is None:
        return None
    folder = job.enhancer.folder
    return {"name": folder.name if folder else "", "kind": job.enhancer.kind, "mark": job.enhancer.mark}


def _streams(request: Request, sound_rate: int) -> dict[str, str]:
    """What the finished file was checked to hold; the sound as long as the video, within a frame."""
    codec = containers.codec(request.output, containers.Style(codec=request.codec))
    shown = f"{request.width}x{request.height}, {request.frames} frames, {request.fps} a second"
    encoder = containers.CONTAINERS[request.output.suffix.lower()].sound
    heard = {"sound": f"{encoder[1].removeprefix('lib')}, {sound_rate} Hz"} if sound_rate and encoder else {}
    return {"video": f"{codec}, {shown}, {request.seconds:.3f} s", **heard}


def _model(job: Job) -> dict[str, Any]:
    """Which weights: the repository and its commit, where the folder says so."""
    card, weights = job.card, job.weights
    commit = _commit(weights.folder) if weights.folder else ""
    parts = {
        name: {"repository": card.component(name).source or card.repository, "revision": _commit(place)}
        for name, place in weights.apart.items()
    }
    found = {"name": card.name, "family": card.family, "repository": card.repository}
    return {**found, "revision": commit or card.revision, **({"parts": parts} if parts else {})}


def _commit(place: Path) -> str:
    """The commit that a folder of the cache is of: it is called so, or the one above it."""
    return next((name for name in (place.name, place.parent.name) if re.fullmatch("[0-9a-f]{40}", name)), "")


def _plan(job: Job) -> dict[str, Any]:
    plan = job.plan
    return {
        "machine": plan.machine.name,
        "device": plan.machine.device.value,
        "precision": plan.rung.precision.value,
        "gguf": plan.rung.kind,
        "encoder": (plan.rung.encoder or plan.rung.precision).value,
        "placement": plan.rung.placement.value,
        "resident": plan.rung.resident,
        "turns": plan.rung.turns,
        "tiling": plan.rung.tiling,
        "host": [phase.value for phase in plan.rung.host],
        "predicted_gib": {phase.phase.value: round(phase.gib, 3) for phase in plan.phases},
        "predicted_host_gib": {phase.phase.value: round(phase.host_gib, 3) for phase in plan.phases},
        "predicted_seconds": {phase.phase.value: round(phase.seconds, 3) for phase in plan.phases},
    }
