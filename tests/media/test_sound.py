"""Samples become a WAV file of exactly the clip's length."""

import wave
from pathlib import Path

import numpy as np
import pytest

from vidgen.core.errors import ChecksFailed, OutputRefused
from vidgen.media import sound


@pytest.mark.parametrize("given", [1000, 24000, 50000])
def test_the_length_is_exact(folder: Path, given: int) -> None:
    path = folder / "x.wav"
    sound.write(np.full((2, given), 0.5, np.float32), 24000, path, seconds=1.001)
    with wave.open(str(path)) as track:
        assert (track.getnchannels(), track.getsampwidth(), track.getframerate()) == (2, 2, 24000)
        assert track.getnframes() == 24024
        samples = np.frombuffer(track.readframes(24024), "<i2").reshape(-1, 2)
    assert (samples[: min(given, 24024)] == 16384).all()
    assert not samples[given:].any()


def test_channels_stay_apart_and_loud_samples_are_clipped(folder: Path) -> None:
    sound.write(np.array([[2.0, 0], [-2.0, 0]], np.float32), 2, folder / "x.wav", seconds=1)
    with wave.open(str(folder / "x.wav")) as track:
        assert np.frombuffer(track.readframes(2), "<i2").tolist() == [32767, -32767, 0, 0]


def test_refusals(folder: Path) -> None:
    with pytest.raises(ChecksFailed, match="not numbers"):
        sound.write(np.array([[np.nan]], np.float32), 10, folder / "x.wav", seconds=1)
    assert not list(folder.iterdir())
    with pytest.raises(OutputRefused, match="No such file"):
        sound.write(np.zeros((1, 1), np.float32), 10, folder / "none" / "x.wav", seconds=1)


def test_silence_is_noticed_and_quiet_sound_is_not() -> None:
    assert sound.remarks(np.full((2, 100), 0.0005, np.float32)) == ["the sound is silent"]
    assert sound.remarks(np.full((2, 100), 0.01, np.float32)) == []
