"""What clips leave behind: one that was stopped with its latents done, and a draft."""

from pathlib import Path

from vidgen.backends.twin import build
from vidgen.catalog import cards
from vidgen.catalog.twins import twin
from vidgen.core.errors import Stopped
from vidgen.core.result import Event
from vidgen.generate import prepare, run

TWO_STAGES = "ltx-video-13b-0.9.8-distilled-x2"


def leave(folder: Path) -> None:
    """Make `clip.mp4.part` or `clip.mp4.latents` at `folder`."""

    def listen(event: Event) -> None:
        if event.phase == "decode":
            raise Stopped("stopped", "")

    try:
        list(run(prepare("t2v", prompt="a red circle", model="pocket", steps=1, output=folder.with_suffix("")), listen))
    except Stopped:
        folder.with_suffix(".part").rename(folder)


def tiny(folder: Path) -> str:
    """The twin of a model of two stages, as --model takes it."""
    card, described = cards.card(TWO_STAGES), twin("ltx")
    build(described, folder, pipeline="LTXConditionPipeline", says=described.index(card))
    return f"./{folder}"


def draft(clip: Path) -> None:
    """Make a draft at `clip`, its latents beside it."""
    model = tiny(Path("tiny"))
    list(run(prepare("t2v", prompt="a red circle", model=model, size="128x128", frames=9, draft=True, output=clip)))
