"""A contact sheet: a clip at a glance, its first and last frame included."""

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vidgen.core.errors import OutputRefused, UsageRefused
from vidgen.media.inspect import frames, inspect

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

KINDS = (".png", ".jpg", ".jpeg", ".webp")

_PAPER, _INK = (17, 18, 20), (150, 154, 160)


def draw(path: Path, to: Path, *, columns: int = 5, rows: int = 1, width: int = 320, overwrite: bool = False) -> None:
    """Draw `columns` x `rows` evenly spaced frames of the clip, each `width` pixels wide, into the picture `to`.

    Frames of less than half that width keep their pixels sharp. Under each stands its time (its number where the clip
    has no clock). Refuses a suffix that it cannot write (exit 2), a clip that it cannot read (3), and a `to` that is
    there, unless it may `overwrite` (6).
    """
    if to.suffix.lower() not in KINDS:
        raise UsageRefused(
            f"a contact sheet cannot be a {to.suffix or 'file without a suffix'}", f"end {to.name} in .png"
        )
    facts = inspect(path)
    wanted = _spread(facts.frames, columns * rows)
    cells = _cells(path, wanted, width)
    columns = min(columns, len(cells))
    _save(_sheet(cells, [_label(index, facts.fps) for index in wanted], columns), to, overwrite=overwrite)


def _spread(frames: int, cells: int) -> list[int]:
    """The indices of up to `cells` frames, evenly spaced, the first and the last among them."""
    cells = min(frames, cells)
    return [round(cell * (frames - 1) / max(1, cells - 1)) for cell in range(cells)]


def _cells(path: Path, wanted: list[int], width: int) -> "list[Image]":
    from PIL import Image

    chosen = set(wanted)
    return [_sized(Image.fromarray(frame), width) for index, frame in enumerate(frames(path)) if index in chosen]


def _sized(image: "Image", width: int) -> "Image":
    from PIL.Image import Resampling

    times = width // image.width
    if times >= 2:
        return image.resize((image.width * times, image.height * times), Resampling.NEAREST)
    return image.resize((width, max(1, round(image.height * width / image.width))), Resampling.LANCZOS)


def _label(index: int, fps: Fraction) -> str:
    return f"{float(index / fps):.2f} s" if fps else f"{index + 1}"


def _sheet(cells: "list[Image]", labels: list[str], columns: int) -> "Image":
    from PIL import Image, ImageDraw, ImageFont

    width, height = cells[0].size
    gap, size = max(6, width // 32), max(10, width // 20)
    line = size + gap
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (gap + columns * (width + gap), gap + rows * (height + line + gap // 2)), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    for number, (cell, label) in enumerate(zip(cells, labels, strict=True)):
        left = gap + number % columns * (width + gap)
        top = gap + number // columns * (height + line + gap // 2)
        sheet.paste(cell, (left, top))
        _write(pen, (left + width // 2, top + height + line // 2), label, font)
    return sheet


def _write(pen: "ImageDraw", at: tuple[int, int], label: str, font: "FreeTypeFont | ImageFont") -> None:
    pen.text(at, label, fill=_INK, font=font, anchor="mm")


def _save(sheet: "Image", to: Path, *, overwrite: bool) -> None:
    """Written whole under another name first: neither half a picture nor the loss of an older one."""
    if to.exists() and not overwrite:
        raise OutputRefused(f"{to} exists", "give another name, or --overwrite")
    fresh = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        with fresh.open("xb") as file:
            sheet.save(file, format={".png": "PNG", ".webp": "WEBP"}.get(to.suffix.lower(), "JPEG"), quality=92)
        fresh.replace(to)
    except OSError as error:
        raise OutputRefused(
            f"cannot write {to.name}: {error.strerror or error}", "give a name in a folder that you may write to"
        ) from error
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
