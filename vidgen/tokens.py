"""How many tokens a prompt has, which words would be cut off, which are unknown. Knows tokenizer files, not models."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vidgen.core.errors import WeightsRefused

if TYPE_CHECKING:
    from tokenizers import Tokenizer

T = TypeVar("T")

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""What CLIP takes for a word, from its published tokenizer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """A prompt's tokens, the tokenizer's own marks included, and the text beyond the model's limit."""

    tokens: int
    cut: str = ""


def count(text: str, folder: Path, *, limit: int, marks: bool = True) -> Count | None:
    """Count `text` with the tokenizer in `folder`; None when there is no tokenizer, WeightsRefused for a broken one.

    Not `marks`: the text is read within others, so that the marks at its ends take none of its places.
    """
    for name, counted in COUNTERS.items():
        if (folder / name).is_file():
            return _read(folder / name, partial(counted, text, limit=limit, marks=marks))
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


def _count_fast(text: str, file: Path, *, limit: int, marks: bool) -> Count:
    return _counted(_fast(file), text, limit, marks)


def _counted(tokenizer: "Tokenizer", text: str, limit: int, marks: bool) -> Count:
    encoding = tokenizer.encode(text, add_special_tokens=marks)
    total, taken = len(encoding.ids), sum(encoding.special_tokens_mask)
    if total <= limit:
        return Count(tokens=total)
    begins = [
        begin for (begin, _), mark in zip(encoding.offsets, encoding.special_tokens_mask, strict=True) if not mark
    ]
    return Count(tokens=total, cut=text[begins[limit - taken] :].strip())


def _fast(file: Path) -> "Tokenizer":
    """The tokenizer, cutting nothing and filling nothing up."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _count_clip(text: str, file: Path, *, limit: int, marks: bool) -> Count:
    """CLIP's tokenizer in its older form: vocab.json, and merges.txt beside it."""
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import BPE

    model = BPE.from_file(str(file), str(file.with_name("merges.txt")), end_of_word_suffix="</w>", unk_token=END)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    ends = [(mark, tokenizer.token_to_id(mark)) for mark in (BEGIN, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=ends)
    return _counted(tokenizer, text, limit, marks)


def _count_sentencepiece(text: str, file: Path, *, limit: int, marks: bool) -> Count:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(file))
    pieces = processor.encode(text, return_type="proto").pieces
    total, kept = len(pieces) + marks, limit - marks
    if total <= limit:
        return Count(tokens=total)
    return Count(tokens=total, cut=text.encode()[pieces[kept].begin :].decode(errors="ignore").strip())


COUNTERS: Mapping[str, Callable[..., Count]] = {
    "tokenizer.json": _count_fast,
    "spiece.model": _count_sentencepiece,
    "vocab.json": _count_clip,
}
"""The file that a tokenizer is in, and what counts with it; the first that is there is believed."""
