"""Frames into a file: streamed into ffmpeg, which is never believed before its exit code is seen."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from vidgen.core.errors import ChecksFailed, InputRefused, OutputRefused
from vidgen.media import ffmpeg, inspect, looks, record
from vidgen.media.containers import CONTAINERS, codec, refuse, words
from vidgen.media.containers import Shape as Shape
from vidgen.media.containers import Style as Style

if TYPE_CHECKING:
    import numpy as np

_AGAIN = "give the same command again: the latents are kept"


def write(
    frames: "Iterable[np.ndarray[Any, Any]]",
    path: Path,
    *,
    shape: Shape,
    style: Style,
    comment: str = "",
    sound: Path | None = None,
    progress: Callable[[int], None],
) -> None:
    """Write `frames` (uint8, height x width x 3, sRGB) to a new file, or for `.png` into a new folder.

    `comment` is the record that the file carries (empty: none yet), `sound` a WAV file, and `progress` hears the number
    of frames written. Refuses a path that exists and whatever ffmpeg could not write (exit 6), and a wrong number of
    frames (exit 7). Nothing is left behind when it fails or is interrupted.
    """
    refuse(path, shape, style)
    with _fresh(path):
        with ffmpeg.running([*_inputs(shape, sound, path), *words(path, shape, style)], feeding=True) as child:
            whole = _stream(child, frames, shape, progress)
            if child.finish() != 0 or not whole:
                raise _refusal(path, child.last_words)
        if comment:
            record.embed(path, comment)


def check(path: Path, shape: Shape, style: Style, *, sound: bool = False) -> list[str]:
    """Read a written clip back, and refuse it (exit 7) if it is not what was asked, or all black.

    Gives what there is to say of a clip that may have been meant so: black frames, one colour, no movement.
    """
    try:
        _agrees(inspect.inspect(path), path, shape, style, sound=sound)
        return looks.remarks(path)
    except InputRefused as error:
        raise ChecksFailed(error.message, _AGAIN) from error


def _agrees(facts: inspect.ClipFacts, path: Path, shape: Shape, style: Style, *, sound: bool) -> None:
    for name, found, asked in _compared(facts, shape, codec(path, style)):
        if found != asked:
            raise ChecksFailed(f"{path.name} has {name} {found}, where {asked} was asked for", _AGAIN)
    if not facts.plays(shape.frames, shape.fps):
        raise ChecksFailed(f"{path.name} plays {facts.fps} frames a second, where {shape.fps} was asked for", _AGAIN)
    if sound and CONTAINERS[path.suffix.lower()].sound and abs(facts.sound_seconds - facts.seconds) * shape.fps > 1:
        raise ChecksFailed(f"{path.name} has {facts.sound_seconds:g} s of sound for {facts.seconds:g} s", _AGAIN)


@contextmanager
def _fresh(path: Path) -> Iterator[None]:
    if path.exists() or path.is_symlink():
        raise OutputRefused(f"{path} is already there", "give a name that is free")
    try:
        if path.suffix.lower() == ".png":
            path.mkdir()
        yield
    except BaseException as error:
        _discard(path)
        if isinstance(error, OSError):
            raise _refusal(path, error.strerror or str(error)) from error
        raise


def _inputs(shape: Shape, sound: Path | None, path: Path) -> list[str]:
    size = f"{shape.width}x{shape.height}"
    raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", size, "-framerate", str(shape.fps)]
    inputs = [*raw, *ffmpeg.SAFE, "-i", "pipe:0"]
    encoder = CONTAINERS[path.suffix.lower()].sound
    if sound is None or not encoder:
        return [*inputs, "-map", "0:v"]
    return [*inputs, "-f", "wav", *ffmpeg.SAFE, "-i", ffmpeg.name(sound), "-map", "0:v", "-map", "1:a", *encoder]


def _compared(facts: inspect.ClipFacts, shape: Shape, codec: str) -> list[tuple[str, object, object]]:
    return [
        ("a number of frames of", facts.frames, shape.frames),
        ("a width of", facts.width, shape.width),
        ("a height of", facts.height, shape.height),
        ("the codec", facts.codec, codec),
    ]


def _stream(
    child: ffmpeg.Child, frames: "Iterable[np.ndarray[Any, Any]]", shape: Shape, progress: Callable[[int], None]
) -> bool:
    """Feed every frame; False as soon as ffmpeg no longer listens."""
    done = 0
    for frame in frames:
        if frame.shape != (shape.height, shape.width, 3) or frame.dtype.name != "uint8":
            raise ValueError(f"frame {done} is {frame.dtype.name} {frame.shape}, not uint8 of {shape}")
        done += 1
        if done > shape.frames:
            break
        if not child.feed(frame.tobytes()):
            return False
        progress(done)
    if done != shape.frames:
        count = f"more than {shape.frames}" if done > shape.frames else f"only {done}"
        raise ChecksFailed(
            f"{count} frames came, where {shape.frames} were asked for",
            "report this: it is a fault of the model's family",
        )
    return True


def _refusal(path: Path, reason: str) -> OutputRefused:
    return OutputRefused(
        f"cannot write {path.name}: {reason}",
        f"look at the free space and the rights of {path.absolute().parent}, then give the same command again",
    )


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
