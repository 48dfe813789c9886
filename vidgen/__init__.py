"""vidgen makes videos from words and pictures on your own machine.

    from vidgen import prepare, run

    for result in run(prepare("t2v", prompt="a red circle moving right", output="circle.mp4")):
        print(result.path)

`prepare` decides everything and touches no weights; `run` does the work. See `vidgen.generate`.
"""

from vidgen.core.request import Keyframe, Mode, Request
from vidgen.generate import prepare, run

__all__ = ["Keyframe", "Mode", "Request", "prepare", "run"]
__version__ = "0.1.0"
