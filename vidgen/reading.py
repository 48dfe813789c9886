"""What a model reads of a prompt: what it would cut off, and which words mean nothing to it."""

from collections.abc import Iterator

from vidgen import tokens
from vidgen.core.card import ModelCard
from vidgen.core.errors import UsageRefused
from vidgen.core.plan import Weights
from vidgen.core.request import Request
from vidgen.core.words import parted

MOST_NAMED = 5
"""Unknown words of a prompt that are named; the others are counted."""

LONGEST_NAMED = 30


def cut(request: Request, card: ModelCard, weights: Weights) -> Iterator[str]:
    """A sentence that shows what the model would not read; refused when the request is strict.

    A prompt that is still to be enhanced is not what the model reads.
    """
    if weights.folder is None:
        return
    told = parted(request.prompt) if card.several else (request.prompt,)
    texts = [("prompt", "" if request.enhance else one) for one in told] + [("negative prompt", request.negative)]
    for reader in card.components:
        limit = reader.tokens or (card.tokens if reader.name == "tokenizer" else 0)
        for name, text in texts if limit else ():
            count = tokens.count(text, weights.of(reader.name), limit=limit, marks=reader.marks)
            if count is None or not count.cut:
                continue
            who = card.name if reader.name == "tokenizer" else f"the {reader.name} of {card.name}"
            said = f"the {name} has {count.tokens} tokens and {who} reads {limit}; cut off: {count.cut!r}"
            if request.strict:
                raise UsageRefused(said, f"shorten the {name}")
            yield said


def unknown(request: Request, card: ModelCard, weights: Weights) -> Iterator[str]:
    """A sentence that names the words of the prompt that mean nothing to a model that knows but few."""
    if not card.knows or weights.folder is None:
        return
    strange = tokens.unknown(request.prompt, weights.of("tokenizer"))
    if not strange:
        return
    named = ", ".join(f'"{word[:LONGEST_NAMED]}"' for word in strange[:MOST_NAMED])
    more = f" and {len(strange) - MOST_NAMED} more" if len(strange) > MOST_NAMED else ""
    said = f"{card.name} does not know {named}{more}: it draws {card.knows}"
    if request.strict:
        raise UsageRefused(said, "for anything else choose a model: vidgen models")
    yield f"{said}; for anything else: vidgen models"
