"""Samples into a WAV file of exactly the clip's length."""

import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidgen.core.errors import ChecksFailed, OutputRefused

if TYPE_CHECKING:
    import numpy as np

SILENCE = 1e-3
"""Of the loudest possible: 60 dB below it."""


def write(samples: "np.ndarray[Any, Any]", rate: int, path: Path, *, seconds: float) -> None:
    """Write `samples` (channels x n, floats between -1 and 1, at `rate` Hz) as a new 16-bit WAV file.

    Trimmed, or padded with silence, to `seconds`; louder samples are clipped. Refuses samples that are not numbers
    (exit 7) and a file that cannot be written (exit 6).
    """
    import numpy as np

    if not np.isfinite(samples).all():
        raise ChecksFailed("the sound holds values that are not numbers", "try another seed")
    channels, given = samples.shape
    length = round(seconds * rate)
    exact = np.zeros((length, channels), dtype="<i2")
    kept = min(length, given)
    exact[:kept] = np.round(np.clip(samples[:, :kept], -1, 1) * 32767).T
    try:
        _write(exact.tobytes(), rate, channels, path)
    except OSError as error:
        raise OutputRefused(
            f"cannot write {path.name}: {error.strerror}",
            f"look at the space and the rights of {path.absolute().parent}",
        ) from error


def remarks(samples: "np.ndarray[Any, Any]") -> list[str]:
    """What there is to say of sound that may not have been meant so."""
    return ["the sound is silent"] if samples.size and float(abs(samples).max()) < SILENCE else []


def _write(data: bytes, rate: int, channels: int, path: Path) -> None:
    with path.open("xb") as file, wave.open(file, "wb") as track:
        track.setnchannels(channels)
        track.setsampwidth(2)
        track.setframerate(rate)
        track.writeframes(data)
