"""The tokenizer: whole words of the captions' vocabulary, single characters for everything else."""

from __future__ import annotations

import re
import string

from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.normalizers import Lowercase, Strip
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tools.pocket.caption import every_text

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
WORD, LETTER = -4.0, -8.0


def vocabulary() -> list[tuple[str, float]]:
    """Every token with its score: a word is likelier than its letters."""
    words = sorted({word for text in every_text() for word in re.findall(r"[a-z0-9]+", text.lower())})
    letters = [*string.ascii_lowercase, *string.digits, *".,;:!?'\"()-"]
    special = [(PAD, 0.0), (EOS, 0.0), (UNKNOWN, -20.0)]
    single = {f"▁{letter}" for letter in letters}
    return [
        *special,
        ("▁", LETTER),
        *((f"▁{w}", WORD) for w in words),
        *((c, LETTER) for c in letters if c not in single),
    ]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer as Transformers wants it.

    Not a T5TokenizerFast: that class rebuilds itself on loading and loses the lower-casing.
    """
    tokenizer = Tokenizer(Unigram(vocabulary(), unk_id=2, byte_fallback=False))
    tokenizer.normalizer = Normalizers([Strip(), Lowercase()])
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.post_processor = TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN, model_max_length=128
    )
