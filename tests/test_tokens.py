"""Tokens: counted as the model counts them, and what it would not read is shown to the letter."""

import io
import json
from functools import cache
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import Tokenizer
from tokenizers.models import Unigram, WordLevel
from tokenizers.pre_tokenizers import Metaspace, Whitespace
from tokenizers.processors import TemplateProcessing

from tests.values import says
from vidgen.core.errors import WeightsRefused
from vidgen.tokens import Count, count, unknown

HERE = Path()
WORDS = ["<unk>", "</s>", "<s>", "a", "red", "circle", "moving", "right"]
SENTENCES = ["a red circle moving right on a blue background", "a green square growing", "the blue triangle falls"]


def by_words(*, template: str | None = "$A </s>") -> None:
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    if template:
        marks = [(mark, WORDS.index(mark)) for mark in ("<s>", "</s>")]
        tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=marks)
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save("tokenizer.json")


def by_pieces() -> None:
    pieces = [("<unk>", -9.0), ("</s>", 0.0), ("▁", -3.0), *((char, -4.0) for char in "abcdefghijklmnopqrstuvwxyz")]
    tokenizer = Tokenizer(Unigram([*pieces, ("▁red", -1.0), ("▁a", -1.0)], unk_id=0))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save("tokenizer.json")


@cache
def trained() -> bytes:
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


def by_sentencepiece() -> None:
    Path("spiece.model").write_bytes(trained())


@pytest.mark.parametrize(
    ("text", "limit", "counted"),
    [
        ("a red circle", 4, Count(tokens=4)),
        ("a red circle", 128, Count(tokens=4)),
        ("a red circle moving", 4, Count(tokens=5, cut="moving")),
        ("a red circle  moving   right ", 4, Count(tokens=6, cut="moving   right")),
        ("a red naïve 🎈, moving", 4, Count(tokens=6, cut="🎈, moving")),
        ("", 4, Count(tokens=1)),
    ],
)
def test_what_is_beyond_the_limit_is_cut_to_the_letter_and_the_end_mark_counts(
    text: str, limit: int, counted: Count
) -> None:
    by_words()
    assert count(text, HERE, limit=limit) == counted


@pytest.mark.parametrize(
    ("template", "tokens", "cut"),
    [(None, 5, "right"), ("<s> $A </s>", 7, "circle moving right"), ("<s> $A", 6, "moving right")],
)
def test_a_tokenizers_own_marks_are_counted_wherever_they_stand(template: str | None, tokens: int, cut: str) -> None:
    by_words(template=template)
    assert count("a red circle moving right", HERE, limit=4) == Count(tokens=tokens, cut=cut)


def test_pieces_of_words_are_cut_where_the_model_cuts_them() -> None:
    by_pieces()
    assert count("a red red", HERE, limit=4) == Count(tokens=4)
    assert count("a red redder", HERE, limit=5) == Count(tokens=7, cut="er")


@pytest.mark.parametrize("limit", range(2, 12))
def test_sentencepiece_cuts_where_the_model_cuts_and_the_end_mark_takes_a_place(limit: int) -> None:
    by_sentencepiece()
    text = "a red circle moving right on a blue background"
    pieces = SentencePieceProcessor(model_proto=trained()).encode(text)
    beyond = SentencePieceProcessor(model_proto=trained()).decode(pieces[limit - 1 :]).strip()
    assert count(text, HERE, limit=limit) == Count(tokens=len(pieces) + 1, cut=beyond)


@pytest.mark.parametrize("limit", range(2, 30))
def test_sentencepiece_cuts_to_the_letter_what_it_cannot_spell(limit: int) -> None:
    by_sentencepiece()
    text = "a ｒed  circle é 🎈 moving right on a blue background"
    found = count(text, HERE, limit=limit)
    assert found is not None
    assert found.cut
    assert text.endswith(found.cut)


def test_sentencepiece_counts_the_end_mark() -> None:
    by_sentencepiece()
    assert count("", HERE, limit=8) == Count(tokens=1)


def test_sentencepiece_cuts_nothing_that_fits() -> None:
    by_sentencepiece()
    found = count("a red circle", HERE, limit=128)
    assert found is not None
    assert (found.cut, found.tokens > 1) == ("", True)


def test_the_fast_tokenizer_is_believed_where_there_are_both() -> None:
    by_sentencepiece()
    by_words()
    assert count("a red circle", HERE, limit=8) == Count(tokens=4)


@pytest.mark.parametrize(
    ("template", "limit", "counted"),
    [
        ("<s> $A </s>", 4, Count(tokens=5, cut="right")),
        ("<s> $A </s>", 5, Count(tokens=5)),
        (None, 4, Count(tokens=5, cut="right")),
    ],
)
def test_within_a_template_the_marks_of_a_tokenizer_take_no_place(
    template: str | None, limit: int, counted: Count
) -> None:
    by_words(template=template)
    assert count("a red circle moving right", HERE, limit=limit, marks=False) == counted


def test_sentencepiece_without_its_end_mark() -> None:
    by_sentencepiece()
    text = "a red circle moving right on a blue background"
    pieces = SentencePieceProcessor(model_proto=trained()).encode(text)
    assert count(text, HERE, limit=len(pieces), marks=False) == Count(tokens=len(pieces))
    found = count(text, HERE, limit=len(pieces) - 1, marks=False)
    assert found is not None
    assert found.cut


@pytest.mark.parametrize("limit", [6, 8, 20])
@pytest.mark.parametrize("text", ["a Red circle's 12 edges", "it's a RED, red car!", ""])
def test_clips_older_files_are_counted_as_its_own_class_counts(text: str, limit: int) -> None:
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    marks = ["<|startoftext|>", "<|endoftext|>"]
    vocab = {
        token: at for at, token in enumerate([*marks, *letters, *(f"{char}</w>" for char in letters), "red</w>", "re"])
    }
    Path("vocab.json").write_text(json.dumps(vocab))
    Path("merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    ids = CLIPTokenizer.from_pretrained(".").__call__(text).input_ids
    found = count(text, HERE, limit=limit)
    assert found is not None
    assert found.tokens == len(ids)
    assert bool(found.cut) == (len(ids) > limit)
    assert text.endswith(found.cut)


def test_there_is_nothing_to_count_with_without_a_tokenizer() -> None:
    assert count("a red circle", HERE, limit=8) is None
    assert count("a red circle", Path("gone"), limit=8) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a red red", ()),
        ("a red, (red) a-red!  ...", ()),
        ("a redder a dragon", ("redder", "dragon")),
        ("dragon, a dragon; Dragon", ("dragon", "Dragon")),
        ("'red' dragon's ’red’", ("dragon's",)),
        ("a 圆 🎈 + b", ("圆", "🎈", "+", "b")),
        ("", ()),
    ],
)
def test_a_word_without_a_token_of_its_own_is_unknown(text: str, found: tuple[str, ...]) -> None:
    by_pieces()
    assert unknown(text, HERE) == found


def test_a_word_that_stands_for_all_unknown_ones_is_unknown() -> None:
    by_words()
    assert unknown("a red boat", HERE) == ("boat",)


def test_nothing_is_unknown_without_a_fast_tokenizer() -> None:
    by_sentencepiece()
    assert unknown("a dragon", HERE) == ()


def test_a_broken_tokenizer_knows_no_words_either() -> None:
    Path("tokenizer.json").write_text("{}")
    with pytest.raises(WeightsRefused) as refused:
        unknown("a dragon", HERE)
    says(refused, 4, "tokenizer.json is no tokenizer")


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\xff\x00"])
def test_a_broken_tokenizer_is_refused_by_name(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(WeightsRefused) as refused:
        count("a red circle", HERE, limit=8)
    says(refused, 4, f"{name} is no tokenizer", "fetch that file again")
