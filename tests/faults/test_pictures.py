"""Pictures of every wrong kind: refused before weights load, or taken with their colours right. None is fetched."""

import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ANSWER
from tests.faults import refused
from tests.faults.score import Scorecard, fault, rounds, some
from tests.loopback import Hub
from tests.media import test_pictures as drawn
from tests.media.test_pictures import TURNS, fitted, png, quadrants

KINDS = ("png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "ppm")
REFUSED = "exit code 3 before weights are loaded, nothing is written"
CUT = {
    kind: fault("pictures", 23, f"a {kind} cut off anywhere", f"{REFUSED}; or every pixel is there") for kind in KINDS
}
FLIPPED = {
    kind: fault("pictures", 23, f"a byte changed in a {kind}", "exit code 0 or 3, never a traceback") for kind in KINDS
}
NONE = fault("pictures", 23, "a file that is no picture", REFUSED)
ODD = fault("pictures", 23, "a folder, a device, a missing or forbidden file", REFUSED)
BOMB = fault("pictures", 25, "a picture that would fill the memory", f"{REFUSED}, within a second")
TURNED = fault("pictures", 24, "EXIF orientation 1 to 8", "the picture stands as it was taken")
DEEP = fault("pictures", 24, "16 bits, 32 bits and floating point", "scaled, not clipped")
COLOURS = fault("pictures", 24, "CMYK, gray, one bit, a palette", "the colours are right")
GLASS = fault("pictures", 24, "transparency of every kind", "laid on the background, and said")
ANIMATED = fault("pictures", 24, "several pictures in one file", "the first is taken, and it is said")
SUFFIX = fault("pictures", 24, "a wrong extension", "the content counts")
FETCHED = fault("pictures", 39, "an address in place of a picture", "exit code 2 or 3, no request is made")

FIRST = ("plan", "i2v", "x.png", "a red circle")
LAST = ("plan", "keyframe", "--at", "-1:x.png", "a red circle")


def noise(side: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8))


def encoded(kind: str) -> bytes:
    to = BytesIO()
    noise().save(to, format=kind)
    return to.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_cut_off_anywhere(kind: str, card: Scorecard, vidgen: ANSWER) -> None:
    data, path = encoded(kind), Path("x.png")
    path.write_bytes(data)
    whole = fitted(path)
    cuts = sorted(
        {1, 2, 4, 8, 12, 20, *(len(data) * part // 24 for part in range(1, 24)), len(data) - 9, len(data) - 1}
    )
    for end in some(2, cuts):
        path.write_bytes(data[:end])
        with card.round(CUT[kind]) as trial, refused.nothing_written():
            answer = vidgen(*FIRST)
            if answer.code:
                refused.check(trial, answer, 3, "x.png")
            elif not np.array_equal(fitted(path), whole):
                trial.silent("half a picture")


@pytest.mark.parametrize("kind", KINDS)
def test_a_byte_changed_in_a_picture(kind: str, card: Scorecard, vidgen: ANSWER) -> None:
    data, chance = encoded(kind), random.Random(kind)
    for number in rounds(1, 8):
        spoiled = bytearray(data)
        for _ in range(1 + number % 3):
            spoiled[chance.randrange(min(len(data), 400) if number % 2 else len(data))] = chance.randrange(256)
        Path("x.png").write_bytes(spoiled)
        with card.round(FLIPPED[kind]) as trial, refused.nothing_written():
            answer = vidgen(*FIRST)
            if answer.code:
                refused.check(trial, answer, 3, "x.png")


NO_PICTURES = (
    b"",
    b"\n",
    b"<!DOCTYPE html><html>not found</html>",
    b"<?xml version='1.0'?><svg width='9'/>",
    b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://127.0.0.1:1/x'/></svg>",
    b"version https://git-lfs.github.com/spec/v1\noid",
    b"a cat",
    b"%PDF-1.7\n",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(rm) run\n",
    b"\x00\x00\x00\x18ftypheic\x00\x00",
    b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41",
    b"\x1aE\xdf\xa3\x9fB\x86\x81\x01",
    b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n",
    b"PK\x03\x04" + b"\0" * 50,
    b"\x80\x04cos\nsystem\n",
    b"\x00\x01\x02\xff" * 99,
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    b"II*\x00" + b"\xff" * 40,
    b"BM" + b"\xff" * 60,
    b"P6 99999999 99999999 255\n",
    b"P6 -1 -1 255\n",
    b"\xff\xd8\xff\xe0" + b"\0" * 40,
    b"8BPS\x00\x01" + b"\0" * 30,
    b"SIMPLE  =                    T",
)


def test_a_file_that_is_no_picture(card: Scorecard, vidgen: ANSWER) -> None:
    for content in some(3, NO_PICTURES):
        Path("x.png").write_bytes(content)
        for words in some(1, (FIRST, LAST)):
            with card.round(NONE) as trial, refused.nothing_written():
                refused.check(trial, vidgen(*words), 3, "x.png")


def test_a_folder_a_device_and_a_missing_file(card: Scorecard, vidgen: ANSWER) -> None:
    Path("folder.png").mkdir()
    Path("loop.png").symlink_to("loop.png")
    Path("gone.png").symlink_to("nowhere")
    names = (
        "folder.png",
        "loop.png",
        "gone.png",
        "x.png",
        "/dev/zero",
        "/dev/null",
        "/proc/self/mem",
        "/",
        ".",
        "x\0.png",
    )
    for name in some(4, names):
        with card.round(ODD) as trial, refused.nothing_written():
            refused.check(trial, vidgen("plan", "i2v", name, "a red circle"), 3)


@pytest.mark.parametrize("words", [FIRST, LAST], ids=["first", "last"])
def test_a_bomb(words: tuple[str, ...], card: Scorecard, vidgen: ANSWER) -> None:
    bombs: list[Callable[[], bytes]] = [
        lambda: png(8001, 8001, b""),
        lambda: png(30_000, 30_000, b""),
        lambda: png(2**31 - 1, 2**31 - 1, b""),
        lambda: b"P6 60000 60000 255\n",
        lambda: b"BM" + (54).to_bytes(4, "little") + b"\0" * 4 + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
        + (50_000).to_bytes(4, "little") * 2 + (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + b"\0" * 24,
        lambda: b"GIF89a\xff\xff\xff\xff\xf0\0\0" + b"\0" * 6 + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02L\x01\0;",
    ]  # fmt: skip
    for make in some(2, bombs):
        Path("x.png").write_bytes(make())
        with card.round(BOMB) as trial, refused.nothing_written():
            refused.check(trial, vidgen(*words), 3, "x.png")


def test_every_orientation(card: Scorecard, tmp_path: Path) -> None:
    for orientation, turn in TURNS.items():
        for kind in some(1, ("png", "jpeg", "webp", "tiff")):
            with card.round(TURNED) as trial:
                exif = Image.Exif()
                exif[0x0112] = orientation
                stored = quadrants() if turn is None else quadrants().transpose(turn)
                stored.save(tmp_path / f"x.{kind}", exif=exif, quality=100)
                found = fitted(tmp_path / f"x.{kind}").astype(int)
                if found.shape != (20, 40, 3) or np.abs(found - np.asarray(quadrants())).mean() > 12:
                    trial.silent(f"orientation {orientation} of a {kind}")


@pytest.mark.parametrize("make", ["deep", "deep_tiff", "deep_pgm", "deep_colour", "floats", "bright_floats", "wide"])
def test_deep_colours(make: str, card: Scorecard, tmp_path: Path) -> None:
    with card.round(DEEP) as trial:
        getattr(drawn, make)(tmp_path / "x")
        if fitted(tmp_path / "x")[0, :, 0].tolist() != [0, 64, 128, 255]:
            trial.silent("other brightness")


RED = (255, 0, 0)
PAINTED: dict[str, Callable[[Path], object]] = {
    "cmyk": lambda path: Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path, format="TIFF"),
    "palette": lambda path: Image.new("RGB", (8, 8), RED).quantize(4).save(path, format="PNG"),
    "palette of gif": lambda path: Image.new("RGB", (8, 8), RED).quantize(4).save(path, format="GIF"),
    "ycbcr": lambda path: Image.new("YCbCr", (8, 8), (76, 85, 255)).save(path, format="TIFF"),
    "lab": lambda path: Image.new("RGB", (8, 8), RED).save(path, format="QOI"),
    "bmp of 8 bits": lambda path: Image.new("RGB", (8, 8), RED).quantize(4).save(path, format="BMP"),
    "rgba": lambda path: Image.new("RGBA", (8, 8), (*RED, 255)).save(path, format="PNG"),
    "16 bits": lambda path: Image.new("RGB", (8, 8), RED).save(path, format="JPEG2000"),
}


@pytest.mark.parametrize("name", PAINTED)
def test_colours_of_every_kind(name: str, card: Scorecard, tmp_path: Path) -> None:
    with card.round(COLOURS) as trial:
        PAINTED[name](tmp_path / "x")
        if np.abs(fitted(tmp_path / "x").astype(int) - RED).max() > 6:
            trial.silent(f"not red: {fitted(tmp_path / 'x')[0, 0]}")


@pytest.mark.parametrize("make", ["glass", "glass_palette"])
def test_transparency(make: str, card: Scorecard, vidgen: ANSWER) -> None:
    for background in some(1, ("lime", "#00ff00", "#0f0", "rgb(0,255,0)")):
        getattr(drawn, make)(Path("x.png"))
        with card.round(GLASS) as trial:
            answer = vidgen(*FIRST, "--background", background)
            assert answer.code == 0, answer.err
            found = fitted(Path("x.png"), background=background)[0].tolist()
            if found != [[200, 100, 50], [0, 255, 0], [40, 224, 10]]:
                trial.silent(str(found))
            assert "transparency" in answer.out


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif", "tiff"])
def test_several_pictures_in_one_file(kind: str, card: Scorecard, vidgen: ANSWER) -> None:
    others = [Image.new("RGB", (16, 16), (0, 0, 250)), Image.new("RGB", (16, 16), (0, 250, 0))]
    Image.new("RGB", (16, 16), (250, 0, 0)).save(f"x.{kind}", save_all=True, append_images=others)
    with card.round(ANIMATED) as trial:
        answer = vidgen("plan", "i2v", f"x.{kind}", "a red circle")
        assert answer.code == 0, answer.err
        assert "the first is taken" in answer.out
        if np.abs(fitted(Path(f"x.{kind}"))[8, 8].astype(int) - (250, 0, 0)).max() > 6:
            trial.silent("not the first")


def test_a_wrong_extension(card: Scorecard, tmp_path: Path) -> None:
    for kind in some(2, KINDS):
        for suffix in some(2, (".jpg", ".png", ".mp4", ".txt", "", ".PNG ", ".html")):
            path = tmp_path / f"x{suffix}"
            quadrants().save(path, format=kind)
            with card.round(SUFFIX) as trial:
                if np.abs(fitted(path).astype(int) - np.asarray(quadrants())).mean() > 12:
                    trial.silent(f"a {kind} called {path.name}")


def test_an_address_is_never_fetched(card: Scorecard, hub: Hub, vidgen: ANSWER) -> None:
    host = hub.endpoint.removeprefix("http://")
    addresses = [
        f"http://{host}/x.png",
        f"https://{host}/x.png",
        f"HTTP://{host}/x.png",
        f"ftp://{host}/x.png",
        f"file://{Path.cwd()}/x.png",
        f"data:image/png;base64,http://{host}",
        f"//{host}/x.png",
        f"\\\\{host}\\x.png",
        f"hf://{host}/x.png",
        f"s3://{host}/x.png",
        f"concat:http://{host}/x.png|http://{host}/y.png",
        f"subfile,,start,0,end,9,,:http://{host}/x.png",
    ]
    for address in some(4, addresses):
        for words in some(1, (["i2v", address], ["keyframe", "--at", f"0:{address}"])):
            with card.round(FETCHED) as trial, refused.nothing_written():
                refused.check(trial, vidgen("plan", *words, "a red circle"), (2, 3))
                if hub.asked:
                    trial.ran(f"asked for {hub.asked[-1].path}")
