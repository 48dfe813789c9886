"""Frames go into real files by the real ffmpeg, and are read back; faults are real ones."""

import os
import re
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.media.drawn import moving, plain, shape, write
from vidgen.core.errors import ChecksFailed, OutputRefused, TryLater, UsageRefused
from vidgen.media import clip, inspect, sound

FILM = Fraction(24000, 1001)
EVERY = [
    ("mp4", "h264"),
    ("mp4", "h265"),
    ("mp4", "av1"),
    ("mov", "h264"),
    ("mkv", "ffv1"),
    ("mkv", "vp9"),
    ("webm", "vp9"),
    ("webm", "av1"),
    ("gif", "gif"),
    ("webp", "webp"),
    ("png", "png"),
]


def silent(done: int) -> None:
    pass


@pytest.mark.parametrize(("suffix", "codec"), EVERY)
@pytest.mark.parametrize(("size", "fps"), [((64, 48), FILM), ((65, 49), Fraction(25))])
def test_every_container_keeps_frames_size_rate_and_pictures(
    folder: Path, suffix: str, codec: str, size: tuple[int, int], fps: Fraction
) -> None:
    asked = shape(*size, frames=9, fps=fps)
    path = write(folder / f"x.{suffix}", asked, codec)
    facts = inspect.inspect(path)
    assert (facts.frames, facts.width, facts.height, facts.codec) == (9, *size, codec)
    assert facts.plays(9, fps)
    assert facts.tick or facts.fps in (fps, 0)
    clip.check(path, asked, clip.Style(codec=codec))
    found = np.stack(list(inspect.frames(path))).astype(float)
    assert np.abs(found - np.stack(list(moving(*size, 9)))).mean() < (0.01 if codec in ("ffv1", "png") else 5)


@pytest.mark.parametrize("fps", [Fraction(8), Fraction(13, 3), Fraction(47, 2), Fraction(30000, 1001), Fraction(60)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_rates_are_exact(folder: Path, suffix: str, fps: Fraction) -> None:
    assert inspect.inspect(write(folder / f"x.{suffix}", shape(fps=fps))).fps == fps


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm", "gif", "webp", "png"])
@pytest.mark.parametrize("colour", [(230, 30, 20), (20, 160, 40), (30, 60, 220), (128, 128, 128)])
def test_colours_are_right(folder: Path, suffix: str, colour: tuple[int, int, int]) -> None:
    path = folder / f"x.{suffix}"
    clip.write(plain(colour, 64, 48, 2), path, shape=shape(frames=2), style=clip.Style(), progress=silent)
    middle = next(inspect.frames(path))[24, 32].astype(int)
    assert np.abs(middle - colour).max() <= 4


def test_the_file_says_bt709_and_starts_with_its_index(folder: Path) -> None:
    data = write(folder / "x.mp4", shape()).read_bytes()
    assert b"colrnclx\x00\x01\x00\x01\x00\x01\x00" in data
    assert data.index(b"moov") < data.index(b"mdat")


def test_progress_counts_every_frame(folder: Path) -> None:
    told: list[int] = []
    clip.write(moving(64, 48, 5), folder / "x.mp4", shape=shape(frames=5), style=clip.Style(), progress=told.append)
    assert told == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
def test_sound_is_as_long_as_the_clip(folder: Path, suffix: str) -> None:
    track = folder / "sound.wav"
    tone = np.sin(np.arange(40000) / 20, dtype=np.float32)
    sound.write(np.stack([tone, -tone]), 24000, track, seconds=1.0)
    asked = shape(frames=24)
    path = write(folder / f"x.{suffix}", asked, sound=track, comment='{"a": 1}')
    facts = inspect.inspect(path)
    assert facts.sound == ("aac" if suffix in ("mp4", "mov") else "opus")
    assert facts.sound_seconds == pytest.approx(1.0, abs=0.03)
    clip.check(path, asked, clip.Style(), sound=True)


def test_a_missing_sound_is_found_out(folder: Path) -> None:
    path = write(folder / "x.mp4", shape())
    with pytest.raises(ChecksFailed, match=r"0 s of sound"):
        clip.check(path, shape(), clip.Style(), sound=True)


@pytest.mark.parametrize("suffix", ["mp4", "png", "gif"])
def test_what_is_there_is_left_alone(folder: Path, suffix: str) -> None:
    path = folder / f"x.{suffix}"
    path.write_text("mine")
    with pytest.raises(OutputRefused, match="already there"):
        write(path, shape())
    assert path.read_text() == "mine"


def test_names_are_never_options_patterns_or_addresses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for name in ("-y.mp4", "a%d b'\".mp4", "pipe:1.mkv", "http:x.mp4", "50%.png", "猫.webm"):
        path = write(Path(name), shape(frames=2), comment='{"a": 1}')
        assert inspect.inspect(path).frames == 2
    assert len(list(folder.iterdir())) == 6


@pytest.mark.parametrize(("given", "words"), [(8, "only 8 frames"), (10, "more than 9 frames")])
def test_a_wrong_number_of_frames_is_refused(folder: Path, given: int, words: str) -> None:
    with pytest.raises(ChecksFailed, match=words):
        clip.write(moving(64, 48, given), folder / "x.mp4", shape=shape(frames=9), style=clip.Style(), progress=silent)
    assert not list(folder.iterdir())


def test_a_frame_of_another_shape_is_our_bug(folder: Path) -> None:
    with pytest.raises(ValueError, match="frame 0 is uint8"):
        clip.write(moving(64, 50, 9), folder / "x.mp4", shape=shape(), style=clip.Style(), progress=silent)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("suffix", ["mp4", "png"])
def test_a_folder_that_is_not_there(folder: Path, suffix: str) -> None:
    with pytest.raises(OutputRefused, match="No such file or directory"):
        write(folder / "none" / f"x.{suffix}", shape())


def children() -> set[int]:
    found = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return {int(line.split()[0]) for line in found.stdout.splitlines() if "ffmpeg" in line}


def test_a_killed_ffmpeg_is_a_refusal(folder: Path) -> None:
    def kill(done: int) -> None:
        if done == 3:
            for child in children():
                os.kill(child, signal.SIGKILL)

    with pytest.raises(OutputRefused, match="killed by SIGKILL"):
        clip.write(moving(640, 480, 99), folder / "x.mp4", shape=shape(640, 480, 99), style=clip.Style(), progress=kill)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("suffix", ["mp4", "png"])
def test_an_interrupt_leaves_no_child_and_no_file(folder: Path, suffix: str) -> None:
    def interrupt(done: int) -> None:
        assert children()
        if done == 3:
            raise KeyboardInterrupt

    path = folder / f"x.{suffix}"
    with pytest.raises(KeyboardInterrupt):
        clip.write(moving(64, 48, 9), path, shape=shape(), style=clip.Style(), progress=interrupt)
    assert not children()
    assert not list(folder.iterdir())


FULL = """
import resource, sys
from pathlib import Path

from tests.media.drawn import noisy
from vidgen.core.errors import OutputRefused
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    noisy(Path(sys.argv[1]))
except OutputRefused as refused:
    print(refused.message, refused.exit_code)
"""


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "gif", "webp", "png"])
def test_a_file_that_may_not_grow_is_a_refusal(folder: Path, suffix: str) -> None:
    command = [sys.executable, "-c", FULL, str(folder / f"x.{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert re.match(rf"cannot write x\.{suffix}: .*(SIGXFSZ|File too large).* 6\n", done.stdout), done
    assert not list(folder.iterdir())


SMALL_DISK = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
"""A disk of the test's own, which takes no rights: it is gone with the process."""

NO_SPACE = """
import sys
from pathlib import Path

from tests.media.drawn import noisy
from vidgen.core.errors import OutputRefused
try:
    noisy(Path(sys.argv[1]))
except OutputRefused as refused:
    print(refused.message, refused.exit_code, sorted(Path(sys.argv[1]).parent.iterdir()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a mount namespace; the test above stands for this one")
@pytest.mark.parametrize("suffix", ["mp4", "gif", "png"])
def test_a_full_disk_is_a_refusal(folder: Path, suffix: str) -> None:
    script = 'mount -t tmpfs -o size=16k tmpfs "$1" && exec "$2" -c "$3" "$4"'
    words = [*SMALL_DISK, script, "sh", str(folder), sys.executable, NO_SPACE, str(folder / f"x.{suffix}")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert re.fullmatch(rf"cannot write x\.{suffix}: .*No space left on device.* 6 \[\]\n", done.stdout), done


@pytest.mark.parametrize(
    ("asked", "codec", "words"),
    [
        (shape(frames=8), "auto", "number of frames of 9, where 8"),
        (shape(width=66), "auto", "width of 64, where 66"),
        (shape(fps=Fraction(25)), "auto", "plays 24 frames a second, where 25"),
        (shape(), "h265", "codec h264, where h265"),
    ],
)
def test_another_clip_than_was_asked_fails_its_check(folder: Path, asked: clip.Shape, codec: str, words: str) -> None:
    path = write(folder / "x.mp4", shape())
    with pytest.raises(ChecksFailed, match=words):
        clip.check(path, asked, clip.Style(codec=codec))


def test_no_more_processes_is_a_reason_to_try_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", fail)
    with pytest.raises(TryLater, match="Resource temporarily unavailable"):
        write(folder / "x.mp4", shape())
    assert not list(folder.iterdir())


def test_an_ffmpeg_that_is_not_there_is_a_matter_of_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(folder / "none"))
    with pytest.raises(UsageRefused, match=r"none: No such file.*"):
        write(folder / "x.mp4", shape())
