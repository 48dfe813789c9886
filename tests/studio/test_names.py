"""Names: templates filled in, and no prompt that leads out of its folder or breaks a file system."""

import os
import random
import re
from datetime import date
from fractions import Fraction
from pathlib import Path

import pytest

from tests.values import request, says
from vidgen.core.errors import UsageRefused
from vidgen.studio.names import FIELDS, LONGEST, RESERVED, clean, has_field, name, slug

TODAY = date(2026, 8, 1)

PROMPTS = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    " ",
    "\0",
    "CON",
    "nul",
    "Com1",
    "C:\\windows\\system32",
    "a\nb\tc\x1b[31m",
    "\u202egpm.exe",
    "{seed.__class__}",
    "$(reboot) `reboot` ; | & > <",
    "-rf",
    "--help",
    "~root",
    "🎈🎈🎈",
    "a" * 300,
    "字" * 300,
    "é" * 300,
    "x\u0301" * 100,
    "\ud800",
    "%d %s",
    "*?",
    "trailing. ",
]


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("clip.mp4", "clip.mp4"),
        ("{slug}-{seed}.mp4", "a-red-circle-7.mp4"),
        ("{model}/{size}/{seed}.mp4", "sketch/64x64/7.mp4"),
        ("/tmp/{date}-{mode}-{frames}-{fps}-{steps}.webm", "/tmp/20260801-t2v-17-8-20.webm"),
        ("../{seed}.mp4", "../7.mp4"),
        ("{{seed}}-{seed}.mp4", "{seed}-7.mp4"),
        ("a}}b{{c.mp4", "a}b{c.mp4"),
        ("{seed}{seed}.mp4", "77.mp4"),
        ("sp ace/é.mp4", "sp ace/é.mp4"),
    ],
)
def test_a_template_is_filled_in(template: str, path: str) -> None:
    assert name(Path(template), request(), TODAY) == Path(path)


def test_a_broken_rate_is_written_short() -> None:
    assert name(Path("{fps}.mp4"), request(fps=Fraction(24000, 1001)), TODAY) == Path("23.976.mp4")


def test_every_field_is_documented_and_filled_in() -> None:
    template = Path("/".join(f"{{{field}}}" for field in FIELDS))
    assert "{" not in str(name(template, request(), TODAY))


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ("{prompt}.mp4", "{prompt}"),
        ("{seed.__class__}.mp4", "{seed.__class__}"),
        ("{seed[0]}.mp4", "{seed[0]}"),
        ("{}.mp4", "{}"),
        ("{0}.mp4", "{0}"),
        ("{SEED}.mp4", "{SEED}"),
    ],
)
def test_an_unknown_field_is_refused_with_those_that_are_known(template: str, field: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        name(Path(template), request(), TODAY)
    says(refused, 2, f"no field is called {field}", "{model}", "{slug}")


@pytest.mark.parametrize("template", ["{seed!r}.mp4", "{seed:>300}.mp4", "{seed:{steps}}.mp4"])
def test_a_field_takes_no_conversion_and_no_format(template: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        name(Path(template), request(), TODAY)
    says(refused, 2, template, "{seed}")


@pytest.mark.parametrize("template", ["{seed.mp4", "seed}.mp4", "{", "}"])
def test_a_lone_brace_is_refused_with_how_to_write_one(template: str) -> None:
    with pytest.raises(UsageRefused) as refused:
        name(Path(template), request(), TODAY)
    says(refused, 2, template, "{{ or }}")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_name_made_of_any_prompt_stays_in_its_folder_and_can_be_created(prompt: str, tmp_path: Path) -> None:
    template = tmp_path / "{slug}-{seed}.mp4"
    path = name(template, request(prompt=prompt), TODAY)
    assert path.resolve().parent == tmp_path.resolve()
    assert path.name.endswith("-7.mp4")
    path.write_bytes(b"")


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_slug_is_words_and_dashes_and_no_reserved_name(prompt: str) -> None:
    made = slug(prompt)
    assert re.fullmatch(r"\w[\w-]*", made)
    assert len(made.encode()) <= 60
    assert made.lower() not in RESERVED


def test_a_slug_of_any_characters_at_all_is_safe() -> None:
    dice = random.Random(1)
    for _ in range(500):
        made = slug("".join(chr(dice.randrange(0x3000)) for _ in range(dice.randrange(80))))
        assert made
        assert not set(made) & set('/\\\0:*?"<>| ')
        assert not made.startswith(("-", "."))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("A red circle, moving right on a blue background", "a-red-circle-moving-right-on-a-blue"),
        ("🎈", "clip"),
        ("con", "_con"),
        ("naïve Café", "naïve-café"),
        ("cafe\u0301", "café"),
        ("snake_case word", "snake-case-word"),
        ("x" * 50, "x" * 40),
    ],
)
def test_a_slug_is_the_first_words(prompt: str, said: str) -> None:
    assert slug(prompt) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [("con.tar", "_con.tar"), ("ltx-video-2b-0.9.5", "ltx-video-2b-0.9.5"), ("..", "clip"), ("a b/c", "a-b-c")],
)
def test_a_models_name_is_cleaned(text: str, said: str) -> None:
    assert clean(text) == said


def test_long_fields_never_push_the_seed_out_of_a_name() -> None:
    wanted = request(prompt="字" * 300, model="m" * 250, seed=2**63 - 1)
    path = name(Path("{model}-{slug}-{date}-{size}-{seed}.mp4"), wanted, TODAY)
    assert path.name.endswith(f"-{2**63 - 1}.mp4")
    assert len(path.name.encode()) <= LONGEST


def test_a_name_that_no_file_system_takes_is_refused_not_shortened() -> None:
    with pytest.raises(UsageRefused) as refused:
        name(Path("x" * 300 + ".mp4"), request(), TODAY)
    says(refused, 2, "is longer than 230 bytes", "shorter --output")


def test_a_long_name_that_a_file_system_takes_is_kept_as_it_is() -> None:
    assert name(Path("x" * 200 + "/" + "y" * 200 + ".mp4"), request(), TODAY).parent.name == "x" * 200


def test_a_path_that_is_no_utf8_is_kept_as_it_is() -> None:
    template = Path(os.fsdecode(b"\xe9.mp4"))
    assert name(template, request(), TODAY) == template


def test_a_template_is_known_to_have_a_field() -> None:
    assert has_field(Path("a/{seed}/b.mp4"), "seed")
    assert not has_field(Path("seed.mp4"), "seed")
