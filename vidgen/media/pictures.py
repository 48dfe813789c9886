"""Pictures in: looked at before any work, then fitted to clip and canvas. Nothing is lost without a sentence."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vidgen.core.errors import InputRefused, UsageRefused
from vidgen.core.plan import Canvas
from vidgen.core.request import Fit
from vidgen.media.compressed import compressed

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "QOI", "TGA", "ICO")
MOST_PIXELS = 64_000_000

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFacts:
    """A picture's size as it will be seen (turned as its EXIF says), and what had to be done to its colours."""

    width: int
    height: int
    notes: tuple[str, ...]


def look(path: Path, *, background: str) -> PictureFacts:
    """Read a picture whole and say what it is. Refuses what cannot be used (exit 3) and an unknown colour (exit 2)."""
    image, notes = _read(path, background)
    return PictureFacts(width=image.width, height=image.height, notes=notes)


def fitted(path: Path, *, width: int, height: int, canvas: Canvas, fit: Fit, background: str, crf: int = 0) -> "Image":
    """The picture in RGB, `width` x `height` by `fit`, set into the canvas; its edges repeated to the canvas's own.

    With a `crf` it is compressed as a frame of a video is.
    """
    image, _ = _read(path, background)
    match fit:
        case Fit.CROP:
            image = _cropped(image, width, height)
        case Fit.PAD:
            image = _padded(image, width, height, colour(background))
        case Fit.STRETCH:
            image = _resized(image, width, height)
    image = _extended(image, canvas)
    return compressed(image, crf) if crf else image


def _read(path: Path, background: str) -> "tuple[Image, tuple[str, ...]]":
    from PIL import ImageOps

    ground = colour(background)
    with _opened(path) as image:
        notes = []
        if getattr(image, "is_animated", False) and image.format != "MPO":
            notes.append(f"{path.name} holds several pictures: the first is taken")
        whole, note = _plain(ImageOps.exif_transpose(image))
        if note:
            notes.append(f"{path.name} {note}")
        if whole.has_transparency_data:
            notes.append(f"{path.name} has transparency: laid on {background}")
            whole = _laid(whole, ground)
        return whole.convert("RGB"), tuple(notes)


@contextmanager
def _opened(path: Path) -> "Iterator[Image]":
    """The picture, decoded; whatever its decoder makes of a damaged file becomes a refusal."""
    from PIL import Image, UnidentifiedImageError

    _check_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=KINDS) as image:
                _check_size(path, image.width, image.height)
                image.load()
                yield image
        except InputRefused:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise _too_large(path, "far more than") from error
        except UnidentifiedImageError as error:
            raise InputRefused(f"{path} {_guess(path)}", "give a PNG, JPEG, WebP, AVIF or TIFF picture") from error
        except Exception as error:  # decoders raise all sorts of things on damaged or hostile files
            raise InputRefused(f"{path} is damaged: {error}", "open it in a viewer and save it again") from error


def _check_file(path: Path) -> None:
    if not path.exists() and _ADDRESS.match(str(path)):
        raise InputRefused(
            f"{path} is an address, and vidgen fetches none", "download the picture first, then name the file"
        )
    if path.is_dir():
        raise InputRefused(f"{path} is a folder, not a picture", "name one picture in it")
    if not path.is_file():
        raise InputRefused(f"there is no picture {path}", "look at the spelling, and at the folder you are in")
    try:
        empty = not _head(path)
    except OSError as error:
        raise InputRefused(f"{path} cannot be read: {error.strerror}", "look at its rights: ls -l") from error
    if empty:
        raise InputRefused(f"{path} is empty", "fetch or save the picture again")


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise _too_large(path, f"{width}x{height}, more than")


def _too_large(path: Path, size: str) -> InputRefused:
    return InputRefused(
        f"{path} is {size} {MOST_PIXELS // 1_000_000} million pixels", "make it smaller first: no clip is that large"
    )


def _guess(path: Path) -> str:
    head = _head(path)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "is an SVG drawing, not a picture of pixels"
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not a picture"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer: the picture itself was not fetched"
    if head[4:8] == b"ftyp":
        return "is a HEIC picture or a video, which vidgen does not read"
    if b"\x00" not in head and text.isascii():
        return "is text, not a picture"
    return "is no picture of a known kind, or its beginning is damaged"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _plain(image: "Image") -> "tuple[Image, str]":
    """A picture of 8 bits a channel. Pillow's own conversion would clip deeper ones to white."""
    import numpy as np
    from PIL import Image

    if image.mode[0] not in "IF":
        return image, ""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    brightest, note = float(values.max()), ""
    if image.mode == "F":
        white = max(brightest, 1.0)
        note = "holds floating-point values: " + (
            "0 to 1 taken as black to white" if white == 1.0 else _normalised(white)
        )
    else:
        white = max(brightest, 65535.0)
        note = "" if white == 65535.0 else f"holds 32-bit values: {_normalised(white)}"
    return Image.fromarray(np.round(np.clip(values / white, 0, 1) * 255).astype(np.uint8)), note


def _normalised(white: float) -> str:
    return f"its brightest, {white:g}, taken as white"


def _laid(image: "Image", colour: tuple[int, int, int]) -> "Image":
    from PIL import Image

    return Image.alpha_composite(Image.new("RGBA", image.size, colour), image.convert("RGBA"))


def colour(background: str) -> tuple[int, int, int]:
    """Red, green and blue (0..255) of a colour in words or #rrggbb; UsageRefused for what is none."""
    from PIL import ImageColor

    try:
        red, green, blue, *_ = ImageColor.getrgb(background)
    except ValueError as error:
        raise UsageRefused(f"{background!r} is not a colour", "take a name such as white, or #rrggbb") from error
    return red, green, blue


def _cropped(image: "Image", width: int, height: int) -> "Image":
    from PIL import ImageOps
    from PIL.Image import Resampling

    return ImageOps.fit(image, (width, height), Resampling.LANCZOS)


def _padded(image: "Image", width: int, height: int, colour: tuple[int, int, int]) -> "Image":
    from PIL import Image

    scale = min(width / image.width, height / image.height)
    inner = _resized(image, max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    whole = Image.new("RGB", (width, height), colour)
    whole.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return whole


def _resized(image: "Image", width: int, height: int) -> "Image":
    from PIL.Image import Resampling

    return image.resize((width, height), Resampling.LANCZOS)


def _extended(image: "Image", canvas: Canvas) -> "Image":
    import numpy as np
    from PIL import Image

    right, bottom = canvas.width - image.width - canvas.left, canvas.height - image.height - canvas.top
    edges = ((canvas.top, bottom), (canvas.left, right), (0, 0))
    return Image.fromarray(np.pad(np.asarray(image), edges, mode="edge"))
