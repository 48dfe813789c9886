"""Many ways of saying what a clip shows, and a few that say nothing."""

from __future__ import annotations

import numpy as np

from tools.pocket.scene import Scene
from vidgen.media.world import COLOURS, MOTIONS, SHAPES, Subject

Words = tuple[str, ...]

UNSAID = "unsaid"
LABELS: dict[str, Words] = {
    "shape": (*SHAPES, UNSAID),
    "colour": (*COLOURS, UNSAID),
    "background": ("black", "white", "gray", "pink", "cyan", "brown", "blue", "green", UNSAID),
    "motion": (*MOTIONS, UNSAID),
    "size": ("small", "large", UNSAID),
}
"""What a caption can say, attribute by attribute."""

SHAPE_WORDS: dict[str, Words] = {
    "circle": ("circle", "circle", "disc", "disk", "ball", "dot"),
    "square": ("square", "square", "box", "block", "square shape"),
    "triangle": ("triangle", "triangle", "triangular shape", "pyramid"),
}
COLOUR_WORDS: dict[str, Words] = {
    "red": ("red", "red", "crimson", "scarlet"), "green": ("green", "green", "emerald"),
    "blue": ("blue", "blue", "navy"), "yellow": ("yellow", "yellow", "golden"),
    "purple": ("purple", "purple", "violet"), "orange": ("orange", "orange"),
}  # fmt: skip
GROUND_WORDS: dict[str, Words] = {
    "black": ("black", "black", "dark"), "white": ("white", "white", "bright white"), "gray": ("gray", "grey"),
    "pink": ("pink", "pink", "rose"), "cyan": ("cyan", "cyan", "turquoise"), "brown": ("brown", "brown", "chocolate"),
    "blue": ("blue", "blue", "navy"), "green": ("green", "green", "emerald"),
}  # fmt: skip
SIZE_WORDS: dict[str, Words] = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}

VERBS: dict[str, Words] = {"s": ("moves", "slides", "travels", "goes", "drifts", "glides", "flies", "floats", "runs"),
    "ing": ("moving", "sliding", "travelling", "going", "drifting", "gliding", "flying", "floating", "traveling"),
}  # fmt: skip
# Twice what differs by the order of its words alone: that is learnt last.
WAYS: dict[str, Words] = {
    "right": ("right", "to the right", "rightward", "from left to right", "from left to right",
              "towards the right", "rightwards"),
    "left": ("left", "to the left", "leftward", "from right to left", "from right to left",
             "towards the left", "leftwards"),
    "up": ("up", "upward", "upwards", "from bottom to top", "from bottom to top", "to the top",
           "towards the top"),
    "down": ("down", "downward", "downwards", "from top to bottom", "from top to bottom", "to the bottom",
             "towards the bottom"),
    "up-right": ("up and to the right", "diagonally up right", "to the upper right", "up and right",
                 "to the top right", "towards the upper right corner", "up-right", "right and up"),
    "up-left": ("up and to the left", "diagonally up left", "to the upper left", "up and left",
                "to the top left", "towards the upper left corner", "up-left", "left and up"),
    "down-right": ("down and to the right", "diagonally down right", "to the lower right", "down and right",
                   "to the bottom right", "towards the lower right corner", "down-right", "right and down"),
    "down-left": ("down and to the left", "diagonally down left", "to the lower left", "down and left",
                  "to the bottom left", "towards the lower left corner", "down-left", "left and down"),
}  # fmt: skip
DEEDS: dict[str, dict[str, Words]] = {
    "s": {
        "still": (
            "stays still",
            "stands still",
            "does not move",
            "is still",
            "stays in place",
            "rests",
            "is motionless",
        ),
        "growing": ("grows", "gets bigger", "expands", "becomes larger", "gets larger", "grows bigger"),
        "shrinking": ("shrinks", "gets smaller", "contracts", "becomes smaller", "shrinks away"),
    },
    "ing": {
        "still": (
            "staying still",
            "standing still",
            "not moving",
            "still",
            "staying in place",
            "resting",
            "motionless",
        ),
        "growing": ("growing", "getting bigger", "expanding", "becoming larger", "getting larger", "growing bigger"),
        "shrinking": ("shrinking", "getting smaller", "contracting", "becoming smaller", "shrinking away"),
    },
}
GROUNDS = (
    "on a {} background", "over a {} background", "against a {} background", "on {}", "with a {} background",
    "in front of a {} background", "against {}", "over {}", "on a {} backdrop",
)  # fmt: skip
SAYINGS = (
    "{thing} {does} {ground}", "{ground}, {thing} {does}", "{thing} {doing} {ground}", "{ground}, {thing} {doing}",
    "{thing} {ground} {does}", "{thing}, {doing}, {ground}", "{ground} {thing} {does}", "{thing} {ground}, {doing}",
    "{thing} {does}, {ground}", "{thing} {does}. {ground}",
)  # fmt: skip
OPENINGS = (
    "a video of ", "a clip of ", "an animation of ", "animation: ", "a short video showing ", "footage of ", "we see ",
    "there is ", "a simple animation of ", "cinematic, ",
)  # fmt: skip
CLOSINGS = (" slowly", " smoothly", ", high quality", ", simple shapes", ", minimal", ", 4k", " at a steady speed")
NOTHING = (
    "", "", "", "worst quality, inconsistent motion, blurry, jittery, distorted",
    "low quality, worst quality, deformed", "blurry, low quality", "a video", "bad quality",
    "distorted, noisy, watermark, text",
)  # fmt: skip
PLAIN = "a {colour} {shape} {does} on a {ground} background"
THINGS = ("shape", "object", "thing", "figure")

Labels = tuple[int, int, int, int, int]
"""What was said, as places in `LABELS`."""


def say(subject: Subject) -> str:
    """The plainest way of saying all of it."""
    does = DEEDS["s"][subject.motion][0] if subject.motion in DEEDS["s"] else f"moves {WAYS[subject.motion][0]}"
    return PLAIN.format(colour=subject.colour, shape=subject.shape, does=does, ground=subject.background)


def tell(rng: np.random.Generator, scene: Scene, *, whole: bool = False) -> tuple[str, Labels]:
    """One of many ways of saying what a scene shows, and what of it was said; `whole` leaves out the size at most."""
    said = _chosen(rng, scene, 0.0 if whole else 0.06)
    saying = _pick(rng, SAYINGS)
    parts = {"thing": _thing(rng, said), "ground": _ground(rng, said["background"])}
    parts |= {"does": _deed(rng, "s", said["motion"]), "doing": _deed(rng, "ing", said["motion"])}
    words = " ".join(saying.format(**parts).split()).strip(" ,.").replace(" ,", ",").replace(" .", ".")
    text = (_pick(rng, OPENINGS) if rng.random() < 0.25 else "") + words
    text += _pick(rng, CLOSINGS) if rng.random() < 0.2 else ""
    return _dress(rng, text), labels(said)


def say_nothing(rng: np.random.Generator) -> str:
    """An empty prompt, or the kind of text given as a negative prompt."""
    return _pick(rng, NOTHING)


def labels(said: dict[str, str]) -> Labels:
    """Places in `LABELS` of what was said; what is missing was not."""
    shape, colour, ground, motion, size = (LABELS[k].index(said.get(k, UNSAID)) for k in LABELS)
    return shape, colour, ground, motion, size


def every_text() -> list[str]:
    """Every piece of text a caption can be made of: the vocabulary is what stands in it."""
    tables = (SHAPE_WORDS, COLOUR_WORDS, GROUND_WORDS, SIZE_WORDS, VERBS, WAYS, DEEDS["s"], DEEDS["ing"])
    pieces = [text for table in tables for texts in table.values() for text in texts]
    return [
        *pieces,
        *GROUNDS,
        *OPENINGS,
        *CLOSINGS,
        *NOTHING,
        *THINGS,
        PLAIN,
        "a an the one is that which move moves moving",
    ]


def _chosen(rng: np.random.Generator, scene: Scene, silence: float) -> dict[str, str]:
    subject = scene.subject
    truth = {"shape": subject.shape, "colour": subject.colour, "background": subject.background}
    truth["motion"] = subject.motion
    said = {name: UNSAID if rng.random() < silence else word for name, word in truth.items()}
    return said | {"size": size_of(scene) if rng.random() < 0.3 else UNSAID}


def _thing(rng: np.random.Generator, said: dict[str, str]) -> str:
    shape = _pick(rng, SHAPE_WORDS.get(said["shape"], THINGS))
    size, colour = (_pick(rng, t.get(said[k], ("",))) for t, k in ((SIZE_WORDS, "size"), (COLOUR_WORDS, "colour")))
    words = " ".join(f"{size} {colour} {shape}".split())
    article = _pick(
        rng, ("an" if words[0] in "aeiou" else "a", "a", "the", "one", "") if rng.random() < 0.4 else ("a",)
    )
    return f"{article} {words}".strip()


def _ground(rng: np.random.Generator, word: str) -> str:
    return _pick(rng, GROUNDS).format(_pick(rng, GROUND_WORDS[word])) if word in GROUND_WORDS else ""


def _deed(rng: np.random.Generator, form: str, motion: str) -> str:
    if motion in WAYS:
        return f"{_pick(rng, VERBS[form])} {_pick(rng, WAYS[motion])}"
    return _pick(rng, DEEDS[form].get(motion, ("",)))


def _dress(rng: np.random.Generator, text: str) -> str:
    text = text[0].upper() + text[1:] if rng.random() < 0.3 else text
    return text + "." if rng.random() < 0.3 else text


def _pick(rng: np.random.Generator, choices: Words) -> str:
    return choices[rng.integers(len(choices))]


def size_of(scene: Scene) -> str:
    """`small`, `large`, or unsaid for what is neither or changes."""
    if scene.radius != scene.last_radius:
        return UNSAID
    return "small" if scene.radius < 10.5 else "large" if scene.radius > 13.5 else UNSAID
