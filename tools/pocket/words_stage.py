"""The second stage: the text encoder learns what captions say, before anything is drawn from it.

Every token of its output must tell every attribute through one linear layer. A transformer that reads such words does
not have to find the meaning and the drawing at the same time; after this the text encoder does not change.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from tools.pocket.architecture import SHIPPED, Sizes, make_text_encoder
from tools.pocket.caption import LABELS, labels, say_nothing, tell
from tools.pocket.scene import Size, imagine, split
from tools.pocket.tokens import make_tokenizer

LENGTHS = (32, 32, 32, 32, 32, 32, 32, 64, 128, 256)
"""Tokens a prompt is padded to: the pipelines' own lengths are 128 and 256, and 32 is quicker to train on."""


class Reader(nn.Module):
    """A text encoder with an examination on top."""

    def __init__(self, text_encoder: T5EncoderModel, width: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.examination = nn.Linear(width, sum(len(words) for words in LABELS.values()))

    def forward(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """What every token says of every attribute: one (captions, tokens, words) for each."""
        hidden = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return torch.split(self.examination(hidden), [len(words) for words in LABELS.values()], dim=-1)


@dataclass(slots=True)
class WordsStage:
    """Captions in, their labels out."""

    module: Reader
    captions: int = 256
    rate: float = 5e-3
    name: str = "words"
    tokenizer: PreTrainedTokenizerFast = field(default_factory=make_tokenizer)

    def loss(self, shared: np.random.Generator, rng: np.random.Generator, progress: float) -> Tensor:
        """Mean surprise over attributes and tokens."""
        texts, truth = captions(rng, self.captions)
        device = self.module.examination.weight.device
        ids, mask = tokenize(self.tokenizer, texts, LENGTHS[shared.integers(len(LENGTHS))])
        # LTXPipeline reads its prompts without a mask, LTXConditionPipeline with one.
        masked = bool(rng.random() < 0.4)
        answers = self.module(ids.to(device), mask.to(device) if masked else None)
        counted = (mask if masked else torch.ones_like(mask)).to(device).float()
        surprise = torch.stack([_surprise(a, truth[:, i].to(device), counted) for i, a in enumerate(answers)])
        return surprise.mean()


def make_reader(sizes: Sizes = SHIPPED) -> Reader:
    """A text encoder for the captions' tokenizer, not trained yet."""
    return Reader(make_text_encoder(len(make_tokenizer()), sizes), sizes.words)


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask, as the pipelines make them."""
    both = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return both.input_ids, both.attention_mask


def captions(rng: np.random.Generator, count: int) -> tuple[list[str], Tensor]:
    """Captions of the combinations shown in training, with their labels."""
    shown, texts, truth = split()[0], [], []
    for _ in range(count):
        scene = imagine(rng, shown[rng.integers(len(shown))], Size())
        text, said = (say_nothing(rng), labels({})) if rng.random() < 0.1 else tell(rng, scene)
        texts.append(text)
        truth.append(said)
    return texts, torch.tensor(truth)


def _surprise(answers: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    every = functional.cross_entropy(
        answers.transpose(1, 2), truth[:, None].expand(answers.shape[:2]), reduction="none"
    )
    return (every * counted).sum() / counted.sum()
