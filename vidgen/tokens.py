"""How many tokens a prompt has, which words would be cut off, which are unknown. Knows tokenizer files, not models."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vidgen.core.errors import WeightsRefused

if TYPE_CHECKING:
    from tokenizers import Tokenizer

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """A prompt's tokens, the end mark included, and the text beyond the model's limit."""

    tokens: int
    cut: str = ""


def count(text: str, folder: Path, *, limit: int) -> Count | None:
    """Count `text` with the tokenizer in `folder`; None when there is no tokenizer, WeightsRefused for a broken one."""
    for name, counted in (("tokenizer.json", _count_fast), ("spiece.model", _count_sentencepiece)):
        if (folder / name).is_file():
            return _read(folder / name, partial(counted, text, limit=limit))
    return None


def unknown(text: str, folder: Path) -> tuple[str, ...]:
    """The words of `text`, each once, that tokenizer.json in `folder` has no token for, so that they fall to letters.

    Punctuation is no word, and parts between hyphens are words of their own. Nothing without that file.
    """
    file = folder / "tokenizer.json"
    return _read(file, partial(_strange, text)) if file.is_file() else ()


def _read(file: Path, reading: Callable[[Path], T]) -> T:
    try:
        return reading(file)
    except Exception as error:  # both libraries raise what they like
        raise WeightsRefused(f"{file} is no tokenizer: {error}", "fetch that file again") from error


def _strange(text: str, file: Path) -> tuple[str, ...]:
    tokenizer = _fast(file)
    words = list(dict.fromkeys(_words(text)))
    encodings = tokenizer.encode_batch(words, add_special_tokens=False)
    mark = tokenizer.token_to_id("<unk>")
    return tuple(
        word for word, encoding in zip(words, encodings, strict=True) if len(encoding.ids) != 1 or mark in encoding.ids
    )


def _words(text: str) -> Iterator[str]:
    """What stands between spaces and punctuation; an apostrophe within a word is part of it."""
    apart = "".join(char if char in "'’" or unicodedata.category(char)[0] not in "PZC" else " " for char in text)
    yield from filter(None, (word.strip("'’") for word in apart.split()))


def _count_fast(text: str, file: Path, *, limit: int) -> Count:
    tokenizer = _fast(file)
    encoding = tokenizer.encode(text)
    total, marks = len(encoding.ids), sum(encoding.special_tokens_mask)
    if total <= limit:
        return Count(tokens=total)
    begins = [
        begin for (begin, _), mark in zip(encoding.offsets, encoding.special_tokens_mask, strict=True) if not mark
    ]
    return Count(tokens=total, cut=text[begins[limit - marks] :].strip())


def _fast(file: Path) -> "Tokenizer":
    """The tokenizer, cutting nothing and filling nothing up."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _count_sentencepiece(text: str, file: Path, *, limit: int) -> Count:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(file))
    pieces = processor.encode(text, return_type="proto").pieces
    total = len(pieces) + 1
    if total <= limit:
        return Count(tokens=total)
    return Count(tokens=total, cut=text.encode()[pieces[limit - 1].begin :].decode(errors="ignore").strip())
