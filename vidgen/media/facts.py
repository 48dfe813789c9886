"""What a clip was found to hold."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipFacts:
    """A clip as it decodes. `sound` is a codec, empty for none. A folder of pictures has no clock: fps and seconds 0.

    `tick` is the clock of .gif (1/100 s) and .webp (1/1000 s), which cannot keep every rate; 0 where time is exact.
    """

    frames: int
    width: int
    height: int
    fps: Fraction
    seconds: float
    codec: str
    sound: str = ""
    sound_seconds: float = 0.0
    tick: Fraction = Fraction(0)

    def plays(self, frames: int, fps: Fraction) -> bool:
        """Whether the clip shows `frames` at `fps`, as exactly as its kind of file can."""
        if self.frames != frames or not self.fps:
            return self.frames == frames
        return abs(self.frames / self.fps - frames / fps) <= 2 * self.tick
