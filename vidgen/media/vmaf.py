"""VMAF, by the ffmpeg that is here, where it was built with libvmaf. The model is libvmaf's own, vmaf_v0.6.1."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from vidgen.core.errors import InputRefused, UsageRefused
from vidgen.media import ffmpeg

if TYPE_CHECKING:
    import numpy as np

Pairs: TypeAlias = "Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]"
"""A frame of each clip, at a time: uint8, height x width x 3."""

SMALLEST = 32
"""libvmaf crashes on frames of 16 pixels and means nothing on frames of a few more."""

# A pair goes in as one picture, the reference above the other, for want of a second pipe. The model sees luma only.
_YUV = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd,format=yuv444p"
_GRAPH = (
    f"split[pair][same];[pair]crop=iw:ih/2:0:0,{_YUV}[reference];[same]crop=iw:ih/2:0:ih/2,{_YUV}[other];"
    "[other][reference]libvmaf=model=version=vmaf_v0.6.1:n_threads=4:log_fmt=json:log_path=/dev/stdout"
)


def refuse() -> None:
    """Refuse (exit 2) where this ffmpeg has no VMAF."""
    with ffmpeg.running(["-filters"], reading=True) as child:
        known = any(line.split()[1:2] == [b"libvmaf"] for line in child.output)
    if not known:
        raise UsageRefused("the ffmpeg that is here was built without VMAF", "leave out --vmaf")


def judged(pairs: Pairs, width: int, height: int, scores: list[float]) -> Pairs:
    """Pass on the pairs (reference, other) as they come, and when the last has gone by, add a score for each.

    Refuses (exit 3) frames that are too small, and whatever libvmaf could not judge.
    """
    if min(width, height) < SMALLEST:
        raise InputRefused(f"VMAF needs sides of {SMALLEST} pixels, and these are {width}x{height}", "leave out --vmaf")
    raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{2 * height}", *ffmpeg.SAFE]
    arguments = [*raw, "-i", "pipe:0", "-filter_complex", _GRAPH, "-f", "null", "-"]
    with ffmpeg.running(arguments, feeding=True, reading=True) as child:
        for pair in pairs:
            for frame in pair:
                child.feed(frame.tobytes())
            yield pair
        child.close()
        log = child.output.read()
        if child.finish() != 0:
            raise InputRefused(f"VMAF failed: {child.last_words}", "leave out --vmaf")
    scores += [frame["metrics"]["vmaf"] for frame in json.loads(log)["frames"]]
