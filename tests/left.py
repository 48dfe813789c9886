"""What a clip leaves behind that was stopped with its latents done."""

from pathlib import Path

from vidgen.core.errors import Stopped
from vidgen.core.result import Event
from vidgen.generate import prepare, run


def leave(folder: Path) -> None:
    """Make `clip.mp4.part` or `clip.mp4.latents` at `folder`."""

    def listen(event: Event) -> None:
        if event.phase == "decode":
            raise Stopped("stopped", "")

    try:
        list(run(prepare("t2v", prompt="a red circle", model="pocket", steps=1, output=folder.with_suffix("")), listen))
    except Stopped:
        folder.with_suffix(".part").rename(folder)
