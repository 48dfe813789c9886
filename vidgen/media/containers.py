"""What each kind of file can hold, and the words that ask ffmpeg for it. Runs nothing and touches no disk."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vidgen.core.errors import UsageRefused
from vidgen.media import ffmpeg


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The clip to be written: sides in pixels, its number of frames, and frames a second (exact)."""

    width: int
    height: int
    frames: int
    fps: Fraction


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How it is encoded: `auto` takes the container's usual codec; `crf` None takes the codec's usual quality."""

    codec: str = "auto"
    crf: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One suffix: the codecs that it can hold (the usual one first), its sound, and the tick of a coarse clock."""

    codecs: tuple[str, ...]
    sound: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    tick: Fraction = Fraction(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Codec:
    """One codec: its ffmpeg options, its usual and its worst crf (0: has none), and whether sides must be even."""

    options: tuple[str, ...]
    crf: int = 0
    worst: int = 0
    even: bool = False
    colours: str = "yuv420p"


_AAC = ("-c:a", "aac", "-b:a", "192k")
_OPUS = ("-c:a", "libopus", "-b:a", "160k")

CONTAINERS = {
    ".mp4": Container(codecs=("h264", "h265", "av1"), sound=_AAC, options=("-movflags", "+faststart")),
    ".mov": Container(codecs=("h264", "h265"), sound=_AAC, options=("-movflags", "+faststart")),
    ".mkv": Container(codecs=("h264", "h265", "av1", "vp9", "ffv1"), sound=_OPUS),
    ".webm": Container(codecs=("vp9", "av1"), sound=_OPUS),
    ".gif": Container(codecs=("gif",), tick=Fraction(1, 100)),
    ".webp": Container(codecs=("webp",), options=("-loop", "0"), tick=Fraction(1, 1000)),
    ".png": Container(codecs=("png",)),
}

CODECS = {
    "h264": Codec(options=("-c:v", "libx264"), crf=18, worst=51, even=True),
    "h265": Codec(options=("-c:v", "libx265", "-x265-params", "log-level=error"), crf=20, worst=51, even=True),
    "av1": Codec(options=("-c:v", "libsvtav1", "-preset", "6"), crf=24, worst=63),
    "vp9": Codec(options=("-c:v", "libvpx-vp9", "-b:v", "0", "-row-mt", "1", "-cpu-used", "3"), crf=24, worst=63),
    "ffv1": Codec(options=("-c:v", "ffv1", "-level", "3", "-slicecrc", "1"), colours="gbrp"),
    "gif": Codec(options=("-c:v", "gif"), colours=""),
    "webp": Codec(options=("-c:v", "libwebp_anim", "-quality", "80"), colours="bgra"),
    "png": Codec(options=("-c:v", "png"), colours="rgb24"),
}

# A palette for each frame, made from a quarter of its pixels: nothing waits in memory for the whole clip, and it takes
# a fifth of the time of one palette for all (2.8 s against 14 s for 49 frames of 320x192).
_PALETTE = (
    "split[all][some];[some]scale=ceil(iw/2):ceil(ih/2):flags=area,palettegen=stats_mode=single:reserve_transparent=0[p];"
    "[all][p]paletteuse=new=1:dither=bayer:bayer_scale=4"
)

# Players take BT.709 for granted above a few hundred lines, and ffmpeg would convert with BT.601: convert and say so.
_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_inp,format={},setsar=1,"
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"
)


def refuse(path: Path, shape: Shape, style: Style) -> None:
    """Refuse (exit 2) a suffix that no container has, a codec, rate or side that it cannot hold, a crf out of range."""
    suffix = path.suffix.lower()
    if suffix not in CONTAINERS:
        raise UsageRefused(f"{path.name} does not say what to write", f"end its name in {_list(CONTAINERS)}")
    codecs = CONTAINERS[suffix].codecs
    if style.codec not in ("auto", *codecs):
        raise UsageRefused(f"a {suffix} file cannot hold {style.codec}", f"take --codec {_list(codecs)}")
    name = codec(path, style)
    if shape.fps * CONTAINERS[suffix].tick > 1:
        raise UsageRefused(f"a {suffix} file cannot show {shape.fps} frames a second", "write a .mp4, or lower --fps")
    if name == "h265" and 32 < shape.width < 64 and shape.height < 32:  # libx265 4.1 writes past its memory there
        raise UsageRefused(f"the encoder of h265 crashes at {shape.width}x{shape.height}", "take --codec h264")
    _refuse_crf(name, style)


def _refuse_crf(name: str, style: Style) -> None:
    usual, worst = CODECS[name].crf, CODECS[name].worst
    if style.crf is None:
        return
    if not worst:
        raise UsageRefused(f"{name} has no crf, and {style.crf} was asked for", "leave out --crf, or write a .mp4")
    if not 0 <= style.crf <= worst:
        raise UsageRefused(
            f"crf {style.crf} is out of range for {name}",
            f"take one from 0 (best) to {worst} (smallest); {usual} is usual",
        )


def notes(path: Path, shape: Shape, style: Style, *, sound: bool = False) -> tuple[str, ...]:
    """What this file will not keep exactly as it was asked: a sentence each, known before anything runs."""
    suffix = path.suffix.lower()
    container = CONTAINERS[suffix]
    said = []
    if _odd(path, shape, style):
        said.append(
            f"{shape.width}x{shape.height} has an odd side: written as 4:4:4, which some players cannot show; "
            "even sides play everywhere"
        )
    if container.tick and (1 / shape.fps) % container.tick:
        said.append(f"a {suffix} file counts in {_ticks(container.tick)}: its frames last {_lasting(shape, container)}")
    if suffix == ".gif" and shape.fps > 50:
        said.append("most players slow down a .gif file of more than 50 frames a second")
    if sound and not container.sound:
        said.append(f"a {suffix} file has no sound: written without it")
    return tuple(said)


def words(path: Path, shape: Shape, style: Style) -> list[str]:
    """The arguments of ffmpeg that follow its inputs, the output's name among them."""
    suffix, encoder = path.suffix.lower(), CODECS[codec(path, style)]
    crf = [] if not encoder.worst else ["-crf", str(encoder.crf if style.crf is None else style.crf)]
    words = ["-vf", _filter(path, shape, style), *encoder.options, *crf, *CONTAINERS[suffix].options]
    if suffix in (".mp4", ".mov"):
        # A whole number of ticks a frame, and fine enough that players do not round it.
        ticks = shape.fps.numerator * -(-10000 // shape.fps.numerator)
        words += ["-video_track_timescale", str(ticks), *_apple(path, style)]
    return [*words, "-n", *_target(path)]


def codec(path: Path, style: Style) -> str:
    """The codec that is used in the end."""
    return CONTAINERS[path.suffix.lower()].codecs[0] if style.codec == "auto" else style.codec


def _odd(path: Path, shape: Shape, style: Style) -> bool:
    return CODECS[codec(path, style)].even and bool(shape.width % 2 or shape.height % 2)


def _filter(path: Path, shape: Shape, style: Style) -> str:
    colours = "yuv444p" if _odd(path, shape, style) else CODECS[codec(path, style)].colours
    if colours.startswith("yuv"):
        return _BT709.format(colours)
    return f"format={colours}" if colours else _PALETTE


def _apple(path: Path, style: Style) -> tuple[str, ...]:
    return ("-tag:v", "hvc1") if codec(path, style) == "h265" else ()


def _target(path: Path) -> list[str]:
    if path.suffix.lower() == ".png":
        return ["-f", "image2", ffmpeg.name(path).replace("%", "%%") + "/%04d.png"]
    return [ffmpeg.name(path)]


def _ticks(tick: Fraction) -> str:
    return {100: "hundredths of a second", 1000: "milliseconds"}[tick.denominator]


def _lasting(shape: Shape, container: Container) -> str:
    ticks = int(1 / shape.fps / container.tick)
    return f"{ticks} or {ticks + 1} of them, {float(shape.fps):.6g} a second on average"


def _list(names: "dict[str, Container] | tuple[str, ...]") -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
