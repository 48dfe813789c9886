"""How many tokens a prompt has, and which words a model would cut off. Knows tokenizer files, not models."""

from dataclasses import dataclass
from pathlib import Path

from vidgen.core.errors import WeightsRefused


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """A prompt's tokens, the end mark included, and the text beyond the model's limit."""

    tokens: int
    cut: str = ""


def count(text: str, folder: Path, *, limit: int) -> Count | None:
    """Count `text` with the tokenizer in `folder`; None when there is no tokenizer, WeightsRefused for a broken one."""
    for name, counted in (("tokenizer.json", _count_fast), ("spiece.model", _count_sentencepiece)):
        if (folder / name).is_file():
            try:
                return counted(text, folder / name, limit)
            except Exception as error:  # both libraries raise what they like
                raise WeightsRefused(f"{folder / name} is no tokenizer: {error}", "fetch that file again") from error
    return None


def _count_fast(text: str, file: Path, limit: int) -> Count:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encoding = tokenizer.encode(text)
    total, marks = len(encoding.ids), sum(encoding.special_tokens_mask)
    if total <= limit:
        return Count(tokens=total)
    begins = [
        begin for (begin, _), mark in zip(encoding.offsets, encoding.special_tokens_mask, strict=True) if not mark
    ]
    return Count(tokens=total, cut=text[begins[limit - marks] :].strip())


def _count_sentencepiece(text: str, file: Path, limit: int) -> Count:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(file))
    pieces = processor.encode(text, return_type="proto").pieces
    total = len(pieces) + 1
    if total <= limit:
        return Count(tokens=total)
    return Count(tokens=total, cut=text.encode()[pieces[limit - 1].begin :].decode(errors="ignore").strip())
