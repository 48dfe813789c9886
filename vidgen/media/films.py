"""Reads .mp4, .mov, .mkv and .webm back, by ffmpeg, which may open no other file and stops at the first error."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from vidgen.core.errors import InputRefused
from vidgen.media import ffmpeg
from vidgen.media.facts import ClipFacts

if TYPE_CHECKING:
    import numpy as np

Rows: TypeAlias = "tuple[list[tuple[int, int]], list[tuple[int, int]]]"
"""For video and for sound: the time and the length, in ticks, of each decoded frame."""

_STRICT = ("-xerror", "-err_detect", "explode", *ffmpeg.CLIPS)
_EXACT = ("-vf", "scale=flags=accurate_rnd+full_chroma_int", "-pix_fmt", "rgb24", "-f", "image2pipe", "-c:v", "ppm")


def facts(path: Path) -> ClipFacts:
    """What the film holds, every frame and sample of it decoded."""
    codecs, _ = _hashed(path, "-c", "copy", "-frames:v", "1", "-frames:a", "1")
    header, (pictures, sounds) = _hashed(path, "-fps_mode", "passthrough")
    if not pictures:
        raise _damaged(path, "it holds no frames")
    width, height = header["dimensions 0"].split("x")
    tick, first, last = Fraction(header["tb 0"]), pictures[0][0], pictures[-1][0]
    fps = Fraction(len(pictures) - 1, last - first) / tick if last > first else 1 / tick
    return ClipFacts(
        frames=len(pictures),
        width=int(width),
        height=int(height),
        fps=fps,
        seconds=float(len(pictures) / fps),
        codec=codecs["codec_id 0"].replace("hevc", "h265"),
        sound=codecs.get("codec_id 1", ""),
        sound_seconds=float(sum(length for _, length in sounds) * Fraction(header.get("tb 1", "0"))),
    )


def frames(path: Path) -> "Iterator[np.ndarray[Any, Any]]":
    """The film's frames: uint8, height x width x 3, sRGB."""
    import numpy as np

    # As PPM, because each of its pictures says its own size: a film turned by its metadata comes out turned.
    arguments = [*_STRICT, "-i", ffmpeg.name(path), "-map", "0:v:0", "-fps_mode", "passthrough", *_EXACT, "pipe:1"]
    with ffmpeg.running(arguments, reading=True) as child:
        while child.output.readline(16) == b"P6\n":
            width, height = map(int, child.output.readline(32).split())
            child.output.readline(16)
            data = child.output.read(width * height * 3)
            if len(data) == width * height * 3:
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
        if child.finish() != 0:
            raise _damaged(path, child.last_words)


def _hashed(path: Path, *options: str) -> tuple[dict[str, str], Rows]:
    """ffmpeg's hashes of the frames: what their header says, and when each frame comes."""
    streams = ["-map", "0:v:0", "-map", "0:a:0?"]
    arguments = [*_STRICT, "-i", ffmpeg.name(path), *streams, *options, "-f", "framemd5", "pipe:1"]
    header: dict[str, str] = {}
    rows: Rows = ([], [])
    with ffmpeg.running(arguments, reading=True) as child:
        for line in child.output:
            if line.startswith(b"#"):
                key, _, value = line[1:].decode().strip().partition(": ")
                header[key] = value
            else:
                stream, _, time, length, *_ = line.split(b",")
                rows[int(stream)].append((int(time), int(length)))
        if child.finish() != 0 or child.said:
            raise _damaged(path, child.last_words)
    return header, rows


def _damaged(path: Path, reason: str) -> InputRefused:
    return InputRefused(
        f"{path} cannot be decoded: {reason}",
        "name a whole .mp4, .mov, .mkv, .webm, .gif or .webp, or a folder of .png",
    )
