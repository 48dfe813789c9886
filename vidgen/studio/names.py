"""What a clip is called: a template filled in, and nothing that leaves its folder or breaks a file system."""

import os
import re
import string
import sys
import unicodedata
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from vidgen.core.errors import UsageRefused
from vidgen.core.request import Request

LONGEST = 230
"""Bytes of one segment of a path: the 255 of a file system, less what a counter and the working folder add."""
LONGEST_FIELD = 60
FIELDS = ("date", "fps", "frames", "mode", "model", "seed", "size", "slug", "steps")
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))})


def name(template: Path, request: Request, today: date) -> Path:
    """`template` filled in for `request`. Fields are plain names: `{model}`, `{seed}`, `{slug}` ..."""
    fields = fields_of(request, today)
    return Path(*(part if part == template.anchor else fill(part, fields) for part in template.parts))


def has_field(template: Path, field: str) -> bool:
    """Whether `template` mentions `{field}`."""
    return f"{{{field}}}" in str(template)


def fields_of(request: Request, today: date) -> Mapping[str, str]:
    """What each field stands for."""
    return {
        "date": today.strftime("%Y%m%d"),
        "fps": f"{float(request.fps):g}",
        "frames": f"{request.frames}",
        "mode": request.mode.value,
        "model": clean(request.model),
        "seed": f"{request.seed}",
        "size": f"{request.width}x{request.height}",
        "slug": slug(request.prompt),
        "steps": f"{request.steps}",
    }


def fill(part: str, fields: Mapping[str, str]) -> str:
    """One segment of a path, filled in."""
    try:
        pieces = list(string.Formatter().parse(part))
    except ValueError as error:
        raise UsageRefused(f"output template {part!r}: {error}", "write a brace itself as {{ or }}") from error
    text = ""
    for literal, field, spec, conversion in pieces:
        text += literal
        if field is None:
            continue
        if field not in fields or spec or conversion:
            unknown = repr(f"{{{field}}}")[1:-1]
            raise UsageRefused(
                f"output template {part!r}: no field is called {unknown}", f"use {{{'}, {'.join(FIELDS)}}}"
            )
        text += fields[field]
    if len(os.fsencode(text)) > LONGEST:
        raise UsageRefused(f"the name {text[:40]}... is longer than {LONGEST} bytes", "give a shorter --output")
    return text


def slug(prompt: str) -> str:
    """The first words of a prompt, fit for a file name."""
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", prompt).lower())
    text = ""
    for word in words:
        if len(text) + len(word) > 40:
            break
        text = f"{text}-{word}" if text else word
    return clean(text or (words[0][:40] if words else "") or "clip")


def clean(text: str) -> str:
    """`text` without anything that a file system minds, and short enough for several of its kind in one name."""
    sayable = text.encode(sys.getfilesystemencoding(), "ignore").decode(sys.getfilesystemencoding())
    kept = re.sub(r"[^\w.+-]+", "-", sayable).encode()[:LONGEST_FIELD].decode(errors="ignore").strip("-. ")
    return f"_{kept}" if kept.partition(".")[0].lower() in RESERVED else kept or "clip"
