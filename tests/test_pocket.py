"""The built-in model as a user has it: it draws what it is asked, and says which words it does not know."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import vidgen as story
from tests.conftest import ANSWER
from tools.docs import DOCS
from tools.pocket.caption import say
from vidgen.media.inspect import frames
from vidgen.media.seen import detect
from vidgen.media.world import COLOURS, DIRECTIONS, SHAPES, Subject

GROUNDS = ("black", "white", "gray", "pink", "cyan", "blue")
MOTIONS = (*DIRECTIONS, "growing", "shrinking")
CLIPS = 20
LEAST = {"colour": 0.9, "background": 0.9, "motion": 0.85, "shape": 0.75}
"""Shares of clips that must be right: lower than the model's own, so that only damage falls below."""


def asked() -> list[Subject]:
    """Subjects in which every word comes up, and no two words always come together."""
    colours = tuple(COLOURS)
    return [
        Subject(
            shape=SHAPES[number % 3],
            colour=colours[number // 3 % 6],
            background=GROUNDS[(5 * number + number // 6) % 6],
            motion=MOTIONS[number % 10],
        )
        for number in range(CLIPS)
    ]


def seen(path: Path) -> Subject:
    return detect(np.stack(list(frames(path)))).subject


def test_it_draws_what_it_is_asked() -> None:
    subjects = asked()
    jobs = [
        job
        for number, subject in enumerate(subjects)
        for job in story.prepare(
            "t2v", prompt=say(subject), model="pocket", frames=9, steps=12, seed=number, output=f"{number}.mp4"
        )
    ]
    found = [seen(result.path) for result in story.run(jobs)]
    for name, least in LEAST.items():
        right = [getattr(had, name) == getattr(wanted, name) for had, wanted in zip(found, subjects, strict=True)]
        assert np.mean(right) >= least, (name, list(zip(subjects, found, strict=True)))


def test_the_demo_shows_what_its_prompt_says(vidgen: ANSWER) -> None:
    [line] = re.findall(r"vidgen (t2v .*-o demo\.mp4)", (DOCS.parent / "Makefile").read_text(encoding="utf-8"))
    words = shlex.split(line)
    assert words[1] == "a red circle moving right on a blue background"
    assert vidgen(*words).code == 0
    assert seen(Path("demo.mp4")) == Subject(shape="circle", colour="red", background="blue", motion="right")


def test_words_it_does_not_know_are_named_in_one_line_that_leads_on(vidgen: ANSWER) -> None:
    answer = vidgen("t2v", "A dragon, red, over a castle.", "--frames", "5", "--steps", "1", "-o", "x.mp4")
    sentence = 'pocket does not know "dragon", "castle": it draws one shape of one colour that moves; '
    sentence += "for anything else: vidgen models"
    assert [line for line in answer.err.splitlines() if "does not know" in line] == [f"vidgen: {sentence}"]
    assert json.loads(vidgen("show", "x.mp4", "--json").out)["adjustments"] == [sentence]


def test_many_unknown_words_are_counted_and_long_ones_cut(vidgen: ANSWER) -> None:
    told = json.loads(vidgen("plan", "t2v", f"{'q' * 99} uno dos tres quattuor sex septem", "--json").out)
    [sentence] = [sentence for sentence in told["adjustments"] if "does not know" in sentence]
    assert sentence.startswith(f'pocket does not know "{"q" * 30}", "uno", "dos", "tres", "quattuor" and 2 more: ')


def test_strict_refuses_words_that_it_does_not_know(vidgen: ANSWER) -> None:
    answer = vidgen("t2v", "a dragon", "--model", "pocket", "--strict")
    assert (answer.code, 'does not know "dragon"' in answer.err, "vidgen models" in answer.err) == (2, True, True)


@pytest.mark.parametrize(
    "prompt",
    [
        "a red circle moving right on a blue background",
        "A green square, growing.",
        "a red circle, still",
        "a purple triangle moves up-left (on a pink background)",
        "there is a 'yellow' ball that does not move: 4k",
    ],
)
def test_nothing_is_said_of_words_that_it_knows(prompt: str, vidgen: ANSWER) -> None:
    told = json.loads(vidgen("plan", "t2v", prompt, "--model", "pocket", "--negative", "a dragon", "--json").out)
    assert told["adjustments"] == []


def test_a_model_that_reads_any_word_says_nothing_of_them(vidgen: ANSWER, twin: Path) -> None:
    asked = ["--size", "64x64", "--frames", "9"]
    told = json.loads(vidgen("plan", "t2v", "a dragon over a castle", "--model", str(twin), *asked, "--json").out)
    assert not any("does not know" in sentence for sentence in told["adjustments"])


def _prompts() -> list[str]:
    """The prompts of the documents' examples that the built-in model is given."""
    pages = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
    commands = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines() if "vidgen " in line]
    made = [line for line in commands if re.match(r"(vidgen|plan) (t2v|i2v|keyframe) ", line) and "ltx-" not in line]
    return sorted({prompt for line in made for prompt in re.findall(r'"(an? [^"{}]+)"', line)})


def test_the_documents_ask_the_built_in_model_for_nothing_that_it_does_not_know(vidgen: ANSWER) -> None:
    prompts = [prompt for prompt in _prompts() if prompt != "a pond"]
    assert prompts
    for prompt in prompts:
        told = json.loads(vidgen("plan", "t2v", prompt, "--model", "pocket", "--json").out)
        assert told["adjustments"] == [], prompt
