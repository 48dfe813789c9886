"""Words that break programs: cut, empty, unprintable, of other alphabets, on poor terminals. Said, kept, or refused."""

import json
import random
import re
from pathlib import Path

import pytest

from tests.conftest import ANSWER
from tests.faults import refused
from tests.faults.score import Scorecard, fault, rounds, some
from vidgen.catalog.cards import card as card_of
from vidgen.cli import screen
from vidgen.tokens import count

LONG = fault("words", 28, "a prompt longer than the model reads", "what is cut off is shown; exit code 2 with --strict")
EMPTY = fault("words", 29, "a prompt of nothing", "exit code 2, nothing is written")
ODD = fault("words", 29, "a prompt of odd characters", "kept as typed in JSON, spelled out on a terminal")
REFUSED = fault("words", 29, "a prompt with NUL or half a character", "exit code 2 or 3, nothing is written")
BYTES = fault("words", 29, "a prompt file that is not UTF-8", "exit code 3, nothing is written")
FUZZ = fault("words", 29, "a prompt of random characters", "kept as typed, or refused with 2 or 3")
MARKUP = fault(
    "words", 30, "markup and escape codes in a prompt, a name, a record", "printed as it is; no code reaches a terminal"
)
RECORD = fault("words", 30, "a record that somebody else wrote", "shown harmless, or exit code 3")
OPTION = fault("words", 29, "odd characters in every other option", "exit code 0, 2, 3, 4 or 6, never a traceback")

POCKET = Path(card_of.__code__.co_filename).parents[1] / "pocket"
LATIN = "a red circle moving right "


def test_a_prompt_longer_than_the_model_reads(card: Scorecard, vidgen: ANSWER) -> None:
    texts = [LATIN * times for times in (12, 40, 400)] + ["圆" * 300, "🔴 " * 200, "x" * 5000, "é" * 900, "a\n" * 400]
    for text in some(2, texts):
        with card.round(LONG) as trial, refused.nothing_written():
            told = vidgen("plan", "t2v", text, "--model", "pocket")
            counted = count(text.strip(), POCKET / "tokenizer", limit=card_of("pocket").tokens)
            if told.code or counted is None or bool(counted.cut) != ("cut off: " in told.out):
                trial.silent(f"{told.code}: {told.out}{told.err}")
        with card.round(LONG) as trial, refused.nothing_written():
            refused.check(trial, vidgen("t2v", text, "--model", "pocket", "--size", "64x64", "--strict"), 2)


def test_every_length_of_a_prompt_is_cut_where_it_is_said(card: Scorecard, twin: Path) -> None:
    for length in some(3, range(1, 60, 2)):
        text = "".join(random.Random(length).choices("abc ", k=length)).strip() or "a"
        with card.round(LONG) as trial:
            counted = count(text, twin / "tokenizer", limit=16)
            assert counted is not None
            if bool(counted.cut) != (counted.tokens > 16) or not text.endswith(counted.cut):
                trial.silent(f"{counted} of {text!r}")


def test_a_prompt_of_nothing(card: Scorecard, vidgen: ANSWER) -> None:
    for text in some(3, ("", " ", "\n", "\t \r\n", "\u3000", "\u00a0", "\x0b\x0c", "\u2028\u2029")):
        with card.round(EMPTY) as trial, refused.nothing_written():
            refused.check(trial, vidgen("t2v", text), 2, "prompt")


ODDITIES = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31m",
    "\u202eright to left\u202c",
    "\u2066a\u2069 \u200b\u200d\ufeff",
    "e\u0301 and é",
    "ﷺ 𝕒 🏳️‍🌈 🧑🏽‍🚀",
    "İstanbul ıI iİ",
    "ß ẞ ŉ ǰ",
    "円の中の赤い丸",
    "\a\b\r\v\f",
    "a\r\nb\rc",
    "\x7f\x80\x85\xad",
    "\U000e0001\U000e0041",
    "\ufdd0\uffff\U0010ffff",
    "[red] [/nope] [link=http://x]y[/link]",
    "{seed} {model} {0} {prompt.__class__} %s %d %n $HOME `id` $(id)",
    "<b>&amp;</b> ]]> <!-- --> </rdf:li>",
    "\\ \\n ; # = comment=evil",
    "'\"'\"' \\' -- -o /etc/passwd",
    "--prompt-file=/etc/passwd"[2:],
    "a" * 3000,
    "0",
    "null",
    "\ue000\uf8ff",
    "ａｂｃ ＡＢＣ",
)


@pytest.mark.parametrize("quiet", [False, True], ids=["said", "json"])
def test_a_prompt_of_odd_characters(quiet: bool, card: Scorecard, vidgen: ANSWER) -> None:
    for text in some(3, ODDITIES):
        with card.round(ODD) as trial, refused.nothing_written():
            answer = vidgen("plan", "t2v", *(["--json"] if quiet else []), "--", text)
            assert answer.code == 0, answer.err
            assert "Traceback" not in answer.err
            if quiet and json.loads(answer.out)["prompt"] != text.strip():
                trial.silent("another prompt")
            unharmed(answer.err + ("" if quiet else screen.harmless(answer.out)))


def unharmed(said: str) -> None:
    """Assert that nothing of it moves a cursor, rings a bell or turns the writing around."""
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", said), repr(said)


def test_a_prompt_that_is_no_text(card: Scorecard, vidgen: ANSWER) -> None:
    for text in some(3, ("a\0b", "\0", "\ud800", "a\udcffb", "\udfff" * 3, "ok \udc80")):
        for words in (["t2v", text], ["t2v", "a red circle", "--negative", text])[: 1 if text == "\0" else 2]:
            with card.round(REFUSED) as trial, refused.nothing_written():
                refused.check(trial, vidgen(*words), (2, 3))


def test_a_prompt_file_that_is_not_utf8(card: Scorecard, vidgen: ANSWER) -> None:
    contents = (
        *(b"\xff\xfea\x00", b"\xfe\xff\x00a", b"caf\xe9", b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"),
        *(b"a" * (2**20 + 1), b"\xe5\x9c"),
    )
    for content in some(3, contents):
        Path("prompt.txt").write_bytes(content)
        with card.round(BYTES) as trial, refused.nothing_written():
            refused.check(trial, vidgen("t2v", "--prompt-file", "prompt.txt"), 3)
    for name in some(2, ("gone.txt", ".", "/proc/self/mem", "x\0y")):
        with card.round(BYTES) as trial, refused.nothing_written():
            refused.check(trial, vidgen("t2v", "--prompt-file", name), 3)


def chosen(chance: random.Random) -> str:
    """A text of random characters from all over Unicode, half of it plain."""
    ranges = (
        (32, 127),
        (0, 32),
        (128, 0x2FF),
        (0x2000, 0x2070),
        (0x3000, 0x9FFF),
        (0xD800, 0xDFFF),
        (0x1F300, 0x1F9FF),
    )
    weights = (50, 2, 15, 10, 15, 1, 7)
    picked = (chance.choices(ranges, weights)[0] for _ in range(chance.randrange(1, 60)))
    return "".join(chr(chance.randrange(*span)) for span in picked)


def test_a_prompt_of_random_characters(card: Scorecard, vidgen: ANSWER) -> None:
    chance = random.Random(29)
    for _ in rounds(2, 60):
        text = chosen(chance)
        with card.round(FUZZ) as trial, refused.nothing_written():
            answer = vidgen("plan", "t2v", "--json", "--", text)
            if answer.code:
                refused.check(trial, answer, (2, 3))
            elif json.loads(answer.out)["prompt"] != text.strip():
                trial.silent("another prompt")


def test_markup_reaches_no_printer(card: Scorecard, vidgen: ANSWER) -> None:
    record = {"request": {"prompt": "", "mode": "t2v"}, "[red]": {"x": 1}}
    for text in some(4, ODDITIES[:4] + ODDITIES[16:21]):
        Path("x.json").write_text(json.dumps({**record, text: text, "more": {text: [text]}}), encoding="utf-8")
        with card.round(MARKUP) as trial, refused.nothing_written():
            answer = vidgen("show", "x.json")
            assert answer.code == 0, answer.err
            unharmed(answer.out + answer.err)
            if "[red]" not in answer.out:
                trial.silent("markup was taken for markup")
        for words in some(
            1, (["show", text], ["t2v", "x", "--model", text], ["t2v", "x", "-p", text], ["i2v", text, "x"])
        ):
            with card.round(MARKUP) as trial, refused.nothing_written():
                refused.check(trial, vidgen(*words), (2, 3, 4))
                unharmed(answer.err)


WHOLE: dict[str, object] = {"mode": "t2v", "prompt": "x", "model": "pocket", "loras": [], "keyframes": []}
RECORDS: tuple[object, ...] = (
    *({}, [], None, 7, "text", {"a": 1}, {"request": None}, {"request": []}, {"request": {}}, {"request": "x"}),
    {"request": WHOLE},
    {"request": {**WHOLE, "mode": "i2v"}, "plan": {}},
    {"request": {**WHOLE, "mode": "keyframe", "keyframes": [{}]}, "plan": {"precision": "fp32"}},
    {"request": {**WHOLE, "loras": "evil"}, "plan": []},
    {"request": {**WHOLE, "loras": [{"path": "x", "weight": "much"}]}},
    {"request": {**WHOLE, "prompt": ["a"], "width": {"a": 1}}, "plan": {"precision": ["x"]}},
)


def test_a_record_that_somebody_else_wrote(card: Scorecard, vidgen: ANSWER) -> None:
    texts = [json.dumps(said) for said in RECORDS]
    texts += ["[" * 100_000, '{"a":' * 50_000, "{", "", "\0", "NaN", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}']
    for text in some(3, texts):
        Path("x.json").write_text(text, encoding="utf-8")
        for more in some(1, (["--command"], [], ["--json"])):
            with card.round(RECORD) as trial, refused.nothing_written():
                answer = vidgen("show", "x.json", *more)
                if answer.code:
                    refused.check(trial, answer, 3)
                unharmed(answer.err + (answer.out if not more else ""))


OPTIONS = (
    "--model",
    "--preset",
    "--size",
    "--frames",
    "--seconds",
    "--fps",
    "--steps",
    "--guidance-scale",
    "--seed",
    "--fit",
    "--background",
    "--precision",
    "--crf",
    "--codec",
    "--output",
    "--lora",
    "--prompt-file",
)
VALUES = (
    "\0",
    "\udcff",
    "\x1b[31m",
    "\u202e",
    "",
    " ",
    "-1",
    "9" * 400,
    "1e400",
    "nan",
    "inf",
    "０１",
    "١٢",
    "½",
    "²",
    "[x]",
    "{a}",
    "../..",
    "/",
    "~",
    "%s",
    "1..99999999999999999999",
    "0x10",
    "1_000",
    "1,",
    "NaN%",
    "0:0",
    "99999x99999",
    "1/0",
)


@pytest.mark.parametrize("option", OPTIONS)
def test_odd_characters_in_every_other_option(option: str, card: Scorecard, vidgen: ANSWER) -> None:
    for value in some(1, VALUES):
        prompt = [] if option == "--prompt-file" else ["x"]
        with card.round(OPTION) as trial, refused.nothing_written():
            answer = vidgen("plan", "t2v", *prompt, option, value)
            if answer.code:
                refused.check(trial, answer, (2, 3, 4, 6))
