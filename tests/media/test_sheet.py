"""A contact sheet shows the first frame, the last, and what lies evenly between."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media.drawn import moving, shape, write
from vidgen.core.errors import OutputRefused, UsageRefused
from vidgen.media import sheet


def cells(path: Path, columns: int, width: int, gap: int) -> list[list[int]]:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    return [pixels[gap + 5, gap + column * (width + gap) + 5].tolist() for column in range(columns)]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_first_last_and_between(folder: Path, suffix: str) -> None:
    path = write(folder / "x.png", shape(frames=9))
    sheet.draw(path, folder / f"s.{suffix}", columns=3, width=320)
    frames = [frame[1, 1].astype(int) for frame in moving(64, 48, 9)]
    found = cells(folder / f"s.{suffix}", 3, 320, 10)
    for cell, frame in zip(found, (frames[0], frames[4], frames[8]), strict=True):
        assert np.abs(np.array(cell) - frame).max() <= (0 if suffix == "png" else 8)


def test_small_frames_stay_sharp(folder: Path) -> None:
    sheet.draw(write(folder / "x.png", shape(32, 24, 2)), folder / "s.png", columns=2, width=320)
    with Image.open(folder / "s.png") as image:
        cell = np.asarray(image)[10 : 10 + 240, 10 : 10 + 320]
    first = next(moving(32, 24, 2))
    assert (cell == first.repeat(10, 0).repeat(10, 1)).all()


@pytest.mark.parametrize(("frames", "columns", "rows", "size"), [(9, 4, 2, (1330, 552)), (3, 5, 1, (1000, 281))])
def test_rows_and_short_clips(folder: Path, frames: int, columns: int, rows: int, size: tuple[int, int]) -> None:
    path = write(folder / "x.mp4", shape(640, 480, frames))
    sheet.draw(path, folder / "s.png", columns=columns, rows=rows)
    with Image.open(folder / "s.png") as image:
        assert image.size == size


def test_refusals(folder: Path) -> None:
    path = write(folder / "x.png", shape(frames=2))
    with pytest.raises(UsageRefused, match=r"cannot be a \.bmp"):
        sheet.draw(path, folder / "s.bmp")
    (folder / "s.png").write_text("mine")
    with pytest.raises(OutputRefused, match=r"s\.png exists"):
        sheet.draw(path, folder / "s.png")
    assert (folder / "s.png").read_text() == "mine"
    with pytest.raises(OutputRefused, match="cannot write"):
        sheet.draw(path, folder / "gone" / "s.png")


def test_an_older_sheet_is_replaced_when_it_may_be(folder: Path) -> None:
    path = write(folder / "x.png", shape(frames=2))
    (folder / "s.png").write_text("old")
    sheet.draw(path, folder / "s.png", overwrite=True)
    with Image.open(folder / "s.png") as image:
        assert image.format == "PNG"
    assert sorted(each.name for each in folder.iterdir()) == ["s.png", "x.png"]
