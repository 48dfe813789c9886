"""The record that a clip carries: how it was made, as one JSON object, inside the file and beside it.

Where it lies: the `comment` of .mp4, .mov, .mkv and .webm; a comment extension of .gif; the XMP chunk of .webp; a
`record.json` in a folder of .png pictures. Reading runs nothing and takes at most 1 MiB.
"""

import html
import json
import os
import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from secrets import token_hex

from vidgen.core.errors import InputRefused, OutputRefused
from vidgen.media import ffmpeg

MOST = 1 << 20

_PAIR = re.compile(r"((?:\\.|[^\\=\n])+)=((?:\\.|[^\\\n])*)", re.DOTALL)
_XMP_HEAD = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
    '<rdf:li xml:lang="x-default">'
)
_XMP_TAIL = "</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"


def read(path: Path) -> dict[str, object]:
    """The record of a clip: its own, else that of the sidecar; refuses (exit 3) a clip that has neither."""
    if path.suffix.lower() == ".json":
        found = _object(_text(path))
    else:
        found = _object(_own(path)) or _object(_text(sidecar(path)))
    if not found:
        raise InputRefused(
            f"{path} has no record of how it was made",
            f"a record comes with every clip that vidgen writes, in the file and in {sidecar(path).name} beside it",
        )
    return found


def sidecar(path: Path) -> Path:
    """Where the record beside a clip lies: x.mp4.json for x.mp4."""
    if not path.name:
        raise InputRefused(f"{path} is a folder, not a clip", "give the file of a clip")
    return path.with_name(f"{path.name}.json")


def write_sidecar(path: Path, text: str) -> None:
    """Put the record `text` beside the clip `path`, whole or not at all."""
    _replace(sidecar(path), text.encode())


def embed(path: Path, text: str) -> None:
    """Put the record `text` into a finished clip, whose frames and sound stay bit for bit what they are."""
    suffix = path.suffix.lower()
    if path.is_dir():
        _replace(path / "record.json", text.encode())
    elif suffix == ".gif":
        _replace(path, _with_comment(path.read_bytes(), text.encode()))
    elif suffix == ".webp":
        _replace(path, _with_xmp(path.read_bytes(), f"{_XMP_HEAD}{html.escape(text, quote=False)}{_XMP_TAIL}".encode()))
    else:
        _with_metadata(path, text)


def _with_metadata(path: Path, text: str) -> None:
    """The same streams in a new file, with the record as its comment; from a file, as no argument is so long."""
    label, copy = path.with_name(f".{token_hex(8)}.part"), path.with_name(f".{token_hex(8)}.part{path.suffix}")
    inputs = [*ffmpeg.CLIPS, "-i", ffmpeg.name(path), "-f", "ffmetadata", *ffmpeg.SAFE, "-i", ffmpeg.name(label)]
    options = ["-map", "0", "-c", "copy", "-map_metadata", "1", *_flags(path, text)]
    try:
        _write(label, _metadata(text).encode())
        with ffmpeg.running([*inputs, *options, "-n", ffmpeg.name(copy)]) as child:
            if child.finish() != 0:
                raise _refusal(path, child.last_words)
        copy.replace(path)
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from error
    finally:
        for temporary in (label, copy):
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _metadata(text: str) -> str:
    """The record as an ffmetadata file, with its escapes: a newline is a backslash and the newline itself."""
    escaped = re.sub(r"([=;#\\\n])", r"\\\1", text)
    return f";FFMETADATA1\ncomment={escaped}\n"


def _flags(path: Path, text: str) -> tuple[str, ...]:
    if path.suffix.lower() not in (".mp4", ".mov"):
        return ()
    # QuickTime's own comment holds 64 KiB and would be cut in silence; its newer tags hold any length.
    long = path.suffix.lower() == ".mov" and len(text.encode()) > 60_000
    return ("-movflags", "+faststart+use_metadata_tags" if long else "+faststart")


def _with_comment(data: bytes, text: bytes) -> bytes:
    """A GIF with a comment extension (21 FE, then blocks of at most 255 bytes) after its header and global palette."""
    flags = data[10]
    start = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    blocks = b"".join(bytes([len(part)]) + part for part in (text[i : i + 255] for i in range(0, len(text), 255)))
    return data[:start] + b"\x21\xfe" + blocks + b"\x00" + data[start:]


def _with_xmp(data: bytes, packet: bytes) -> bytes:
    """A WebP with an XMP chunk at its end: a VP8X flag says so; chunks have even length."""
    if data[12:16] != b"VP8X":
        data = _extended(data)
    chunk = b"XMP " + len(packet).to_bytes(4, "little") + packet + b"\x00" * (len(packet) % 2)
    size = (len(data) + len(chunk) - 8).to_bytes(4, "little")
    return data[:4] + size + data[8:20] + bytes([data[20] | 4]) + data[21:] + chunk


def _extended(data: bytes) -> bytes:
    """A plain WebP, as one of a single frame is, with the VP8X chunk that an XMP chunk needs before it."""
    from PIL import Image

    with Image.open(BytesIO(data), formats=["WEBP"]) as image:
        alpha = 0x10 if image.mode == "RGBA" else 0
        width, height = ((side - 1).to_bytes(3, "little") for side in image.size)
    return data[:12] + b"VP8X" + (10).to_bytes(4, "little") + bytes([alpha, 0, 0, 0]) + width + height + data[12:]


def _own(path: Path) -> str:
    if path.is_dir():
        return _text(path / "record.json")
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:3] == b"GIF" or head[8:] == b"WEBP":
        return _from_picture(path)
    return _from_clip(path)


def _from_picture(path: Path) -> str:
    from PIL import Image

    try:
        with Image.open(path, formats=["GIF", "WEBP"]) as image:
            info = image.info
    except Exception:  # a decoder may raise anything on a hostile file, which then has no record that we can read
        return ""
    if "comment" in info:
        return _capped(info["comment"])
    found = re.search(r"<rdf:li[^>]*>(.*?)</rdf:li>", _capped(info.get("xmp", b"")), re.DOTALL)
    return html.unescape(found[1]) if found else ""


def _from_clip(path: Path) -> str:
    arguments = [*ffmpeg.CLIPS, "-i", ffmpeg.name(path), "-f", "ffmetadata", "pipe:1"]
    with ffmpeg.running(arguments, reading=True) as child:
        text = _capped(child.output.read(MOST + 1))
        if child.finish() != 0:
            return ""
    for key, value in _PAIR.findall(text):
        if key.lower() == "comment":
            return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
    return ""


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return _capped(file.read(MOST + 1))


def _capped(data: bytes) -> str:
    if len(data) > MOST:
        raise InputRefused("the record is larger than 1 MiB", "vidgen writes no such record: name another file")
    return data.decode("utf-8", "replace")


def _object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{token_hex(8)}.part")
    try:
        _write(temporary, data)
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise _refusal(path, error.strerror or str(error)) from error


def _write(path: Path, data: bytes) -> None:
    """A new file, which is on the disk when this returns."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _refusal(path: Path, reason: str) -> OutputRefused:
    return OutputRefused(
        f"cannot write the record into {path.name}: {reason}",
        f"look at the space and the rights of {path.absolute().parent}",
    )
