"""Clips are read back whole, or refused; a playlist leads nowhere."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media.drawn import moving, plain, shape, write
from vidgen.core.errors import InputRefused
from vidgen.media import clip, inspect


def silent(done: int) -> None:
    pass


def test_the_name_does_not_matter(folder: Path) -> None:
    for suffix in ("webm", "gif", "webp"):
        path = write(folder / f"x.{suffix}", shape()).rename(folder / f"{suffix}.mp4")
        assert inspect.inspect(path).frames == 9


def test_a_digest_is_of_the_pictures(folder: Path) -> None:
    one = inspect.digest(write(folder / "one.mkv", shape(), "ffv1"))
    assert inspect.digest(write(folder / "two.png", shape())) == one
    assert inspect.digest(write(folder / "short.mkv", shape(frames=8), "ffv1")) != one


def test_equal_frames_of_a_webp_are_counted(folder: Path) -> None:
    frames = [*moving(64, 48, 5), *plain((9, 99, 9), 64, 48, 7), *plain((99, 9, 9), 64, 48, 1)]
    path = folder / "x.webp"
    clip.write(frames, path, shape=shape(frames=13), style=clip.Style(), progress=silent)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 0) == 7
    assert inspect.inspect(path).frames == 13
    assert np.abs(np.stack(list(inspect.frames(path))) - np.stack(frames).astype(float)).mean() < 5


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "gif", "webp"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.9])
def test_a_cut_clip_is_refused(folder: Path, suffix: str, kept: float) -> None:
    path = write(folder / f"x.{suffix}", shape(128, 96, 24))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputRefused):
        assert inspect.inspect(path).frames == 24


def test_what_is_no_clip_is_refused(folder: Path) -> None:
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("hello")
    (folder / "inner").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "photo.jpg")
    for name in ("empty.mp4", "text.mp4", "inner", "photo.jpg", "missing.mp4"):
        with pytest.raises(InputRefused):
            inspect.inspect(folder / name)


@pytest.mark.parametrize(
    "playlist", ["ffconcat version 1.0\nfile x.mp4\n", "#EXTM3U\n#EXTINF:1,\nx.mp4\n#EXT-X-ENDLIST\n"]
)
def test_a_playlist_is_not_followed(folder: Path, playlist: str) -> None:
    write(folder / "x.mp4", shape())
    (folder / "list.mp4").write_text(playlist)
    with pytest.raises(InputRefused):
        inspect.inspect(folder / "list.mp4")
