"""A picture is compressed as a frame of a video is: the same each time, coarser where more is asked."""

import numpy as np
import pytest
from PIL import Image

from tests.twins import picture
from vidgen.core.errors import OutputRefused
from vidgen.media.compressed import compressed


def error(image: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(image, np.int16) - np.asarray(other, np.int16)).mean())


def test_it_keeps_its_size_and_most_of_its_look() -> None:
    image = picture(96, 64, 3)
    found = compressed(image, 33)
    assert (found.size, found.mode) == (image.size, "RGB")
    assert 0.5 < error(image, found) < 20


def test_the_same_bytes_each_time_and_coarser_at_a_higher_crf() -> None:
    image = picture(96, 64, 4)
    assert compressed(image, 33).tobytes() == compressed(image, 33).tobytes()
    assert error(image, compressed(image, 18)) < error(image, compressed(image, 45))


def test_what_ffmpeg_cannot_do_is_refused() -> None:
    with pytest.raises(OutputRefused, match="could not be compressed"):
        compressed(picture(97, 63), 33)
