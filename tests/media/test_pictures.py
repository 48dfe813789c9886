"""Every kind of picture comes in with its colours right, or is refused with a sentence."""

import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vidgen.core.errors import InputRefused, UsageRefused
from vidgen.core.plan import Canvas
from vidgen.core.request import Fit
from vidgen.media import pictures


def fitted(path: Path, fit: Fit = Fit.STRETCH, background: str = "black") -> np.ndarray[Any, Any]:
    """The picture as it comes, at its own size."""
    facts = pictures.look(path, background=background)
    canvas = Canvas(width=facts.width, height=facts.height, frames=1)
    return np.asarray(
        pictures.fitted(path, width=facts.width, height=facts.height, canvas=canvas, fit=fit, background=background)
    )


def quadrants() -> Image.Image:
    """Red, green, blue and white quarters: 40 x 20, so that no turn looks like another."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:10, :20], pixels[:10, 20:] = (255, 0, 0), (0, 255, 0)
    pixels[10:, :20], pixels[10:, 20:] = (0, 0, 255), (255, 255, 255)
    return Image.fromarray(pixels)


TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_a_picture_is_turned_as_its_camera_was(folder: Path, orientation: int) -> None:
    turn = TURNS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = quadrants() if turn is None else quadrants().transpose(turn)
    stored.save(folder / "x.png", exif=exif)
    assert pictures.look(folder / "x.png", background="black") == pictures.PictureFacts(width=40, height=20, notes=())
    assert (fitted(folder / "x.png") == np.asarray(quadrants())).all()


def deep(path: Path) -> None:
    Image.fromarray(np.array([[0, 0x4000, 0x8000, 0xFFFF]], np.uint16)).save(path, format="PNG")


def deep_tiff(path: Path) -> None:
    Image.fromarray(np.array([[0, 0x4000, 0x8000, 0xFFFF]], np.uint16)).save(path, format="TIFF")


def deep_pgm(path: Path) -> None:
    path.write_bytes(b"P5 4 1 65535\n" + struct.pack(">4H", 0, 0x4000, 0x8000, 0xFFFF))


def deep_colour(path: Path) -> None:
    row = b"\x00" + b"".join(struct.pack(">3H", value, value, value) for value in (0, 0x4000, 0x8000, 0xFFFF))
    path.write_bytes(png(4, 1, zlib.compress(row), depth=16))


def floats(path: Path) -> None:
    Image.fromarray(np.array([[0, 0.25, 0.5, 1]], np.float32)).save(path, format="TIFF")


def bright_floats(path: Path) -> None:
    Image.fromarray(np.array([[-1, 1, 2, 4]], np.float32)).save(path, format="TIFF")


def wide(path: Path) -> None:
    Image.fromarray(np.array([[0, 250_000, 500_000, 1_000_000]], np.int32)).save(path, format="TIFF")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (deep, ()),
        (deep_tiff, ()),
        (deep_pgm, ()),
        (deep_colour, ()),
        (floats, ("x holds floating-point values: 0 to 1 taken as black to white",)),
        (bright_floats, ("x holds floating-point values: its brightest, 4, taken as white",)),
        (wide, ("x holds 32-bit values: its brightest, 1e+06, taken as white",)),
    ],
)
def test_deep_pictures_are_scaled_not_clipped(
    folder: Path, make: Callable[[Path], None], said: tuple[str, ...]
) -> None:
    make(folder / "x")
    assert pictures.look(folder / "x", background="black").notes == said
    assert fitted(folder / "x")[0, :, 0].tolist() == [0, 64, 128, 255]
    assert fitted(folder / "x")[0, :, 2].tolist() == [0, 64, 128, 255]


def glass(path: Path) -> None:
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")


def glass_palette(path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([200, 100, 50] * 3)
    image.putdata([0, 1, 2])
    image.save(path, format="PNG", transparency=bytes([255, 0, 51]))


@pytest.mark.parametrize("make", [glass, glass_palette])
@pytest.mark.parametrize("background", ["lime", "#00ff00"])
def test_transparency_is_laid_on_the_background(folder: Path, make: Callable[[Path], None], background: str) -> None:
    path = folder / "x.png"
    make(path)
    said = f"x.png has transparency: laid on {background}"
    assert pictures.look(path, background=background).notes == (said,)
    assert fitted(path, background=background)[0].tolist() == [[200, 100, 50], [0, 255, 0], [40, 224, 10]]


def test_one_transparent_colour(folder: Path) -> None:
    path = folder / "x.png"
    Image.fromarray(np.array([[[9, 9, 9], [7, 7, 7]]], np.uint8)).save(path, transparency=(9, 9, 9))
    assert fitted(path, background="white")[0].tolist() == [[255, 255, 255], [7, 7, 7]]


def test_cmyk_and_others_become_rgb(folder: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(folder / "x.jpg", quality=100)
    assert np.abs(fitted(folder / "x.jpg").astype(int) - (255, 0, 0)).max() <= 3
    Image.new("1", (2, 2), 1).save(folder / "x.png")
    assert (fitted(folder / "x.png") == 255).all()
    Image.new("LA", (2, 2), (200, 255)).save(folder / "y.png")
    assert (fitted(folder / "y.png") == 200).all()


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif"])
def test_an_animation_gives_its_first_picture(folder: Path, kind: str) -> None:
    path = folder / f"x.{kind}"
    Image.new("RGB", (16, 16), (250, 0, 0)).save(
        path, save_all=True, append_images=[Image.new("RGB", (16, 16), (0, 0, 250))]
    )
    assert pictures.look(path, background="black").notes == (f"x.{kind} holds several pictures: the first is taken",)
    assert np.abs(fitted(path)[8, 8].astype(int) - (250, 0, 0)).max() <= 6


def test_a_wrong_suffix_does_not_matter(folder: Path) -> None:
    quadrants().save(folder / "x.jpg", format="PNG")
    assert (fitted(folder / "x.jpg") == np.asarray(quadrants())).all()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp", "tiff", "avif"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_cut_picture_is_refused(folder: Path, kind: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = folder / f"x.{kind}"
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(InputRefused):
        pictures.look(path, background="black")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "is a web page"),
        (b"<?xml version='1.0'?><svg width='9'/>", "is an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
        (b"a cat", "is text"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "is a HEIC picture"),
        (b"\x00\x01\x02\xff" * 99, "is no picture of a known kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is text"),
    ],
)
def test_what_is_no_picture_is_named(folder: Path, content: bytes, words: str) -> None:
    (folder / "x.png").write_bytes(content)
    with pytest.raises(InputRefused, match=words) as refused:
        pictures.look(folder / "x.png", background="black")
    assert refused.value.exit_code == 3
    assert refused.value.remedy


def test_a_folder_a_missing_file_an_address_and_a_device_are_refused(folder: Path) -> None:
    for path, words in (
        (folder, "is a folder"),
        (folder / "x.png", "there is no picture"),
        (Path("https://example.org/x.png"), "is an address"),
        (Path("/dev/zero"), "there is no picture"),
    ):
        with pytest.raises(InputRefused, match=words):
            pictures.look(path, background="black")


def png(width: int, height: int, data: bytes, depth: int = 8) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">2I5B", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8001, 12_000, 30_000])
def test_a_bomb_is_refused_before_it_is_decoded(folder: Path, side: int) -> None:
    deflate = zlib.compressobj(9)
    row = b"\x00" * (1 + 3 * side)
    data = b"".join(deflate.compress(row) for _ in range(side)) if side == 8001 else b""
    (folder / "x.png").write_bytes(png(side, side, data + deflate.flush()))
    began = time.perf_counter()
    with pytest.raises(InputRefused, match="more than 64 million pixels"):
        pictures.look(folder / "x.png", background="black")
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("colour", ["nonsense", "#12", ""])
def test_a_bad_colour_is_refused(folder: Path, colour: str) -> None:
    quadrants().save(folder / "x.png")
    with pytest.raises(UsageRefused, match="is not a colour"):
        pictures.look(folder / "x.png", background=colour)


def placed(path: Path, size: tuple[int, int], fit: Fit, canvas: Canvas) -> np.ndarray[Any, Any]:
    width, height = size
    return np.asarray(pictures.fitted(path, width=width, height=height, canvas=canvas, fit=fit, background="#102030"))


def test_crop_keeps_the_middle(folder: Path) -> None:
    quadrants().save(folder / "x.png")
    found = placed(folder / "x.png", (20, 20), Fit.CROP, Canvas(width=20, height=20, frames=1))
    assert (found == np.asarray(quadrants())[:, 10:30]).all()


def test_pad_lays_the_whole_on_the_background(folder: Path) -> None:
    quadrants().save(folder / "x.png")
    found = placed(folder / "x.png", (40, 30), Fit.PAD, Canvas(width=40, height=30, frames=1))
    assert (found[5:25] == np.asarray(quadrants())).all()
    assert (np.delete(found, range(5, 25), axis=0) == (0x10, 0x20, 0x30)).all()


def test_stretch_fills(folder: Path) -> None:
    quadrants().save(folder / "x.png")
    found = placed(folder / "x.png", (80, 80), Fit.STRETCH, Canvas(width=80, height=80, frames=1))
    assert [found[y, x].tolist() for y in (10, 70) for x in (10, 70)] == [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 255],
    ]


def test_the_canvas_repeats_the_edges(folder: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (20, 40, 3), np.uint8)
    Image.fromarray(noise).save(folder / "x.png")
    canvas = Canvas(width=64, height=32, frames=1, left=10, top=3)
    found = placed(folder / "x.png", (40, 20), Fit.CROP, canvas)
    assert found.shape == (32, 64, 3)
    assert (found[3:23, 10:50] == noise).all()
    assert (found[3:23, :10] == noise[:, :1]).all()
    assert (found[3:23, 50:] == noise[:, -1:]).all()
    assert (found[:3] == found[3]).all()
    assert (found[23:] == found[22]).all()


def test_a_needle_can_be_padded(folder: Path) -> None:
    Image.new("RGB", (4000, 1), "red").save(folder / "x.png")
    found = placed(folder / "x.png", (64, 64), Fit.PAD, Canvas(width=64, height=64, frames=1))
    assert (found == (255, 0, 0)).all(-1).any(1).sum() == 1
