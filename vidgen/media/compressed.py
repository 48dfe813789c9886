"""A picture as a video would show it: compressed by H.264 and decoded again, as models saw their first frames."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vidgen.core.errors import OutputRefused
from vidgen.media import ffmpeg

if TYPE_CHECKING:
    from PIL.Image import Image


def compressed(image: "Image", crf: int) -> "Image":
    """The RGB picture, of even sides, compressed at `crf` (0 to 51, higher is coarser); the same bytes each time."""
    from PIL import Image

    size = ("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{image.width}x{image.height}")
    encoder = ("-c:v", "libx264", "-threads", "1", "-preset", "veryfast", "-crf", str(crf), "-pix_fmt", "yuv420p")
    with tempfile.TemporaryDirectory(prefix="vidgen-picture-") as folder:
        film = ffmpeg.name(Path(folder) / "one.mkv")
        with ffmpeg.running([*size, *ffmpeg.SAFE, "-i", "pipe:0", *encoder, film], feeding=True) as child:
            child.feed(image.tobytes())
            _ended(child)
        plain = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-frames:v", "1", "pipe:1")
        with ffmpeg.running([*ffmpeg.SAFE, "-i", film, *plain], reading=True) as child:
            data = child.output.read()
            _ended(child)
    return Image.frombytes("RGB", image.size, data)


def _ended(child: ffmpeg.Child) -> None:
    if child.finish() != 0:
        raise OutputRefused(
            f"a picture could not be compressed: {child.last_words}", "look at the space for temporary files"
        )
