"""PSNR and SSIM are what their definitions say, held against ffmpeg's filters and against sums done the slow way."""

import math
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.media.drawn import moving, shape, write
from vidgen.core.errors import ChecksFailed, InputRefused, UsageRefused
from vidgen.media import clip, compare, ffmpeg, vmaf
from vidgen.media.measures import psnr, ssim

Frame = np.ndarray[Any, Any]


def drawn(height: int, width: int, noise: int, seed: int = 0) -> tuple[Frame, Frame]:
    """Blocks of colour, and the same with noise."""
    rng = np.random.default_rng(seed)
    one = np.kron(rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3)), np.ones((4, 4, 1)))[:height, :width]
    other = np.clip(one + rng.integers(-noise, noise + 1, one.shape), 0, 255)
    return one.astype(np.uint8), other.astype(np.uint8)


def noisy(path: Path, frames: int, size: tuple[int, int] = (64, 48), noise: int = 9) -> Path:
    """The pictures of `moving`, with noise, kept exactly."""
    rng = np.random.default_rng(1)

    def pictures() -> Iterator[Frame]:
        for frame in moving(*size, frames):
            yield np.clip(frame + rng.integers(-noise, noise + 1, frame.shape), 0, 255).astype(np.uint8)

    style = clip.Style(codec="ffv1" if path.suffix == ".mkv" else "auto")
    clip.write(pictures(), path, shape=shape(*size, frames), style=style, progress=lambda done: None)
    return path


def held(a: Path, b: Path, *, with_vmaf: bool = False) -> compare.Comparison:
    return compare.compare(a, b, with_vmaf=with_vmaf, progress=lambda done, total: None)


def by_ffmpeg(measure: str, key: str, one: Frame, other: Frame) -> float:
    """What ffmpeg's own filter says of two frames, plane by plane in RGB."""
    height, width, _ = one.shape
    graph = (
        "format=gbrp,split[a][b];[a]crop=iw:ih/2:0:0[c];[b]crop=iw:ih/2:0:ih/2[d];"
        f"[d][c]{measure},metadata=print:file=/dev/stdout"
    )
    raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{2 * height}", "-i", "pipe:0"]
    arguments = [*raw, "-filter_complex", graph, "-f", "null", "-"]
    with ffmpeg.running(arguments, feeding=True, reading=True) as child:
        assert child.feed(one.tobytes())
        assert child.feed(other.tobytes())
        assert child.finish() == 0, child.last_words
        said = child.output.read().decode()
    return float(said.partition(f"lavfi.{measure}.{key}=")[2].split()[0])


def slowly(one: Frame, other: Frame, sides: tuple[int, int] = (11, 11)) -> float:
    """SSIM from the formula of the paper, a window and a pixel at a time."""
    x, y = ((0.2126 * f[..., 0] + 0.7152 * f[..., 1] + 0.0722 * f[..., 2]).tolist() for f in (one, other))
    down, across = (range(-(side // 2), side // 2 + 1) for side in sides)
    weights = {(i, j): math.exp(-(i * i + j * j) / (2 * 1.5**2)) for i, j in product(down, across)}
    total = sum(weights.values())
    found = []
    for row, column in product(
        range(down.stop - 1, len(x) + down.start), range(across.stop - 1, len(x[0]) + across.start)
    ):
        seen = [(weight / total, x[row + i][column + j], y[row + i][column + j]) for (i, j), weight in weights.items()]
        mean_x, mean_y = sum(w * p for w, p, _ in seen), sum(w * q for w, _, q in seen)
        var_x, var_y = sum(w * (p - mean_x) ** 2 for w, p, _ in seen), sum(w * (q - mean_y) ** 2 for w, _, q in seen)
        cov = sum(w * (p - mean_x) * (q - mean_y) for w, p, q in seen)
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        like = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
        found.append(like / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))
    return float(np.mean(found))


@pytest.mark.parametrize("noise", [1, 9, 80, 255])
def test_psnr_is_that_of_ffmpeg_over_all_three_planes(noise: int) -> None:
    one, other = drawn(48, 64, noise)
    error = by_ffmpeg("psnr", "mse_avg", one, other)
    assert psnr(one, other) == pytest.approx(10 * math.log10(255**2 / error), abs=1e-5)


def test_psnr_at_its_ends() -> None:
    black, white = np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)
    nearly = black.copy()
    nearly[3, 4, 1] = 1
    assert psnr(black, black) == math.inf
    assert psnr(black, white) == psnr(white, black) == 0
    assert psnr(black, nearly) == pytest.approx(10 * math.log10(255**2 * 1800), abs=1e-12)


@pytest.mark.parametrize("noise", [3, 30, 200])
def test_ssim_is_the_formula_of_the_paper(noise: int) -> None:
    one, other = drawn(14, 17, noise)
    assert ssim(one, other) == pytest.approx(slowly(one, other), abs=1e-12)
    assert ssim(one, other) == ssim(other, one)


@pytest.mark.parametrize("noise", [3, 20, 60])
def test_ssim_is_near_that_of_ffmpeg_which_has_square_windows(noise: int) -> None:
    one, other = (np.repeat(frame[..., :1], 3, -1) for frame in drawn(96, 128, noise))
    assert ssim(one, other) == pytest.approx(by_ffmpeg("ssim", "All", one, other), abs=0.03)


def test_ssim_of_plain_pictures_is_of_their_light_alone() -> None:
    one, other = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 110, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(one, other) == pytest.approx((2 * 100 * 110 + c1) / (100**2 + 110**2 + c1), abs=1e-9)


def test_ssim_of_equal_luma_is_one_and_not_nearly_one() -> None:
    for seed in range(20):
        one, _ = drawn(40, 40, 0, seed)
        assert ssim(one, one.copy()) == 1.0


@pytest.mark.parametrize(
    ("size", "window"),
    [((8, 30), (7, 11)), ((30, 7), (11, 7)), ((2, 2), (1, 1)), ((1, 1), (1, 1)), ((11, 11), (11, 11))],
)
def test_ssim_of_small_pictures_has_the_longest_odd_window(size: tuple[int, int], window: tuple[int, int]) -> None:
    one, other = drawn(*size, 40)
    assert ssim(one, other) == pytest.approx(slowly(one, other, window), abs=1e-12)


def test_clips_are_compared_frame_by_frame_whatever_holds_them(folder: Path) -> None:
    exact = write(folder / "a.mkv", shape(), "ffv1")
    for suffix, least in {"png": math.inf, "mp4": 25, "mov": 25, "webm": 25, "gif": 20, "webp": 25}.items():
        found = held(exact, write(folder / f"b.{suffix}", shape()))
        assert len(found.frames) == 9
        assert found.mean("psnr") >= found.frames[found.worst("psnr")]["psnr"] >= least, suffix
        assert found.identical == (suffix == "png")


def test_frames_are_paired_by_number_though_clocks_are_coarse(folder: Path) -> None:
    rate = Fraction(24000, 1001)
    one = write(folder / "a.mkv", shape(fps=rate), "ffv1")
    found = held(one, write(folder / "b.png", shape(fps=rate)))
    assert found.identical
    assert found.seconds(8) == pytest.approx(8 * 1001 / 24000, abs=1e-3)


def test_the_mean_is_that_of_the_error_so_an_equal_frame_does_not_make_it_infinite(folder: Path) -> None:
    one = write(folder / "a.png", shape(frames=4))
    other = write(folder / "b.png", shape(frames=4))
    with Image.open(other / "0003.png") as image:
        changed = image.point(lambda value: value ^ 4)
    changed.save(other / "0003.png")
    found = held(one, other)
    assert [scores["psnr"] for scores in found.frames] == [
        math.inf,
        math.inf,
        pytest.approx(36.0896, abs=1e-3),
        math.inf,
    ]
    assert found.mean("psnr") == pytest.approx(10 * math.log10(255**2 / 4), abs=1e-9)
    assert found.mean("ssim") == pytest.approx((3 + found.frames[2]["ssim"]) / 4, abs=1e-12)
    assert (found.worst("psnr"), found.worst("ssim"), found.below("psnr", 40), found.identical) == (2, 2, 1, False)
    assert (found.seconds(2), found.notes) == (None, ())


def test_a_frame_below_a_threshold_is_named(folder: Path) -> None:
    found = held(write(folder / "a.png", shape(frames=3)), noisy(folder / "b.mkv", 3))
    compare.check(found, {"psnr": 20, "ssim": 0.1})
    with pytest.raises(
        ChecksFailed, match=r"b.mkv is too far from .*: PSNR \d\d.\d\d dB at frame \d \(0.\d+ s\), below 70"
    ):
        compare.check(found, {"psnr": 70, "ssim": 0.1})
    with pytest.raises(ChecksFailed, match=r"below inf; SSIM 0.\d{4} at frame \d .*, below 1$"):
        compare.check(found, {"psnr": math.inf, "ssim": 1})


def test_digits_are_cut_and_never_rounded_up() -> None:
    assert compare.shown("ssim", 0.99999999) == "0.9999"
    assert compare.shown("ssim", 1.0) == "1.0000"
    assert compare.shown("psnr", 39.9999) == "39.99 dB"
    assert compare.shown("psnr", math.inf) == "identical"


@pytest.mark.parametrize(
    "wrong", [{"psnr": -1.0}, {"psnr": math.nan}, {"ssim": 1.01}, {"ssim": -0.1}, {"ssim": math.inf}]
)
def test_senseless_thresholds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageRefused, match="makes no sense as a threshold"):
        compare.refuse(wrong)


def test_thresholds_at_their_ends_are_not() -> None:
    compare.refuse({"psnr": 0, "ssim": 0})
    compare.refuse({"psnr": math.inf, "ssim": 1})


def test_clips_of_different_sizes_or_lengths_are_refused_with_both_facts(folder: Path) -> None:
    a, b = write(folder / "a.mp4", shape()), write(folder / "b.gif", shape(width=80, frames=8))
    with pytest.raises(InputRefused, match=r"a.mp4 has 9 frames of 64x48, and .*b.gif has 8 frames of 80x48"):
        held(a, b)


def test_a_folder_of_pictures_of_several_sizes_is_refused(folder: Path) -> None:
    mixed = write(folder / "a.png", shape(frames=3))
    Image.new("RGB", (10, 10)).save(mixed / "0002.png")
    with pytest.raises(InputRefused, match=r"frame 1 of .*a.png is 10x10, and its first is 64x48"):
        held(mixed, mixed)


def test_frames_are_never_all_in_memory(folder: Path) -> None:
    size, frames = (160, 120), 60
    a, b = noisy(folder / "a.mkv", frames, size), noisy(folder / "b.mkv", frames, size, noise=5)
    tracemalloc.start()
    found = held(a, b)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.frames) == frames
    assert peak < frames * 160 * 120 * 3


def test_progress_hears_every_frame(folder: Path) -> None:
    path, heard = write(folder / "a.png", shape(frames=3)), []
    compare.compare(path, path, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 3), (2, 3), (3, 3)]


@pytest.fixture
def judge() -> None:
    """The ffmpeg that is shipped has VMAF; should it lose it, these tests say so."""
    vmaf.refuse()


@pytest.mark.usefixtures("judge")
def test_vmaf_sees_noise_and_judges_a_clip_longer_than_a_pipe(folder: Path) -> None:
    a, b = write(folder / "a.mkv", shape(frames=200), "ffv1"), noisy(folder / "b.mkv", 200, noise=40)
    near, far = held(a, a, with_vmaf=True), held(a, b, with_vmaf=True)
    assert near.measures == ("psnr", "ssim", "vmaf")
    assert len(far.frames) == 200
    assert near.mean("vmaf") > 90 > 80 > far.mean("vmaf")


@pytest.mark.usefixtures("judge")
def test_vmaf_of_tiny_pictures_is_refused_before_it_crashes(folder: Path) -> None:
    path = write(folder / "a.png", shape(16, 64, 2))
    with pytest.raises(InputRefused, match="VMAF needs sides of 32 pixels, and these are 16x64"):
        held(path, path, with_vmaf=True)


def test_vmaf_without_libvmaf_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poor = folder / "ffmpeg"
    poor.write_text("#!/bin/sh\necho ' TS psnr              VV->V      Calculate the PSNR between two streams.'\n")
    poor.chmod(0o755)
    monkeypatch.setattr(ffmpeg, "_binary", lambda: str(poor))
    with pytest.raises(UsageRefused, match="built without VMAF"):
        vmaf.refuse()


def test_vmaf_that_fails_is_a_refusal_with_a_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vmaf, "_GRAPH", vmaf._GRAPH.replace("vmaf_v0.6.1", "none"))
    path = write(folder / "a.png", shape(frames=2))
    with pytest.raises(InputRefused, match="VMAF failed: "):
        held(path, path, with_vmaf=True)
