"""The second stage: the text encoder learns what captions say, before anything is drawn from it.

Every token of its output must tell every attribute through one linear layer. A transformer that reads such words does
not have to find the meaning and the drawing at the same time; after this the text encoder does not change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, T5EncoderModel

from tools.pocket.architecture import SHIPPED, Sizes, make_text_encoder
from tools.pocket.caption import LABELS, labels, say_nothing, tell
from tools.pocket.loop import averaged
from tools.pocket.scene import SHARED, Size, imagine, lessons
from tools.pocket.tokens import make_tokenizer

LENGTHS = (32, 32, 32, 32, 32, 32, 32, 64, 128, 256)
"""Tokens a prompt is padded to: the pipelines' own lengths are 128 and 256, and 32 is quicker to train on."""

ANCHOR = 3.0
"""Weight of the drift of the tokens of all other captions, where a transformer reads them already."""

SWAPPED = 0.5
"""Share of captions with a shared word for both the object and the background: whose it is, is learnt last."""


class Reader(nn.Module):
    """A text encoder with an examination on top."""

    def __init__(self, text_encoder: T5EncoderModel, width: int) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.examination = nn.Linear(width, sum(len(words) for words in LABELS.values()))

    def forward(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """What every token says of every attribute, one (captions, tokens, words) for each; last, the tokens."""
        hidden = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return *torch.split(self.examination(hidden), [len(words) for words in LABELS.values()], dim=-1), hidden


@dataclass(slots=True)
class WordsStage:
    """Captions in, their labels out."""

    module: Reader
    captions: int = 256
    rate: float = 5e-3
    name: str = "words"
    tokenizer: PreTrainedTokenizerFast = field(default_factory=make_tokenizer)
    anchor: T5EncoderModel | None = None
    """What a transformer has learnt to read already: what it knew is to be said as before."""

    def loss(self, shared: np.random.Generator, rng: np.random.Generator, progress: float) -> Tensor:
        """Mean surprise over attributes and tokens."""
        texts, truth = captions(rng, self.captions)
        device = self.module.examination.weight.device
        ids, mask = tokenize(self.tokenizer, texts, LENGTHS[shared.integers(len(LENGTHS))])
        # LTXPipeline reads its prompts without a mask, LTXConditionPipeline with one.
        masked = bool(rng.random() < 0.4)
        counted = (mask if masked else torch.ones_like(mask)).to(device).float()
        ids, given = ids.to(device), mask.to(device) if masked else None
        *answers, hidden = self.module(ids, given)
        surprises = [_surprise(a, truth[:, i].to(device), counted) for i, a in enumerate(answers)]
        loss = torch.stack(surprises).mean()
        if self.anchor is None:
            return loss
        with torch.no_grad():
            before = self.anchor(input_ids=ids, attention_mask=given).last_hidden_state
        counted = counted * ~_swapped(truth).to(device)[:, None]
        return loss + ANCHOR * _drift(hidden, before, counted)


def make_reader(sizes: Sizes = SHIPPED) -> Reader:
    """A text encoder for the captions' tokenizer, not trained yet."""
    return Reader(make_text_encoder(len(make_tokenizer()), sizes), sizes.words)


def load_text_encoder(checkpoint: Path, sizes: Sizes = SHIPPED) -> T5EncoderModel:
    """The text encoder of a checkpoint, without its examination."""
    name = "text_encoder."
    kept = {key.removeprefix(name): value for key, value in averaged(checkpoint).items() if key.startswith(name)}
    encoder = make_text_encoder(len(make_tokenizer()), sizes)
    encoder.load_state_dict(kept)
    return encoder


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask, as the pipelines make them."""
    both = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return both.input_ids, both.attention_mask


def captions(rng: np.random.Generator, count: int) -> tuple[list[str], Tensor]:
    """Captions of the combinations shown in training, with their labels."""
    shown, texts, truth = lessons(), [], []
    swapped = [subject for subject in shown if subject.colour in SHARED and subject.background in SHARED]
    for _ in range(count):
        pool = swapped if rng.random() < SWAPPED else shown
        scene = imagine(rng, pool[rng.integers(len(pool))], Size())
        text, said = (say_nothing(rng), labels({})) if rng.random() < 0.1 else tell(rng, scene)
        texts.append(text)
        truth.append(said)
    return texts, torch.tensor(truth)


def _surprise(answers: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    every = functional.cross_entropy(
        answers.transpose(1, 2), truth[:, None].expand(answers.shape[:2]), reduction="none"
    )
    return (every * counted).sum() / counted.sum()


def _swapped(truth: Tensor) -> Tensor:
    """Which captions use a shared word for the object and for the background."""
    ground, colour = (torch.tensor([LABELS[k].index(word) for word in SHARED]) for k in ("background", "colour"))
    return torch.isin(truth[:, 2], ground) & torch.isin(truth[:, 1], colour)


def _drift(now: Tensor, before: Tensor, counted: Tensor) -> Tensor:
    """How far tokens are from what they were, as a share of their squared length."""
    away, length = (now - before).square().sum(-1), before.square().sum(-1)
    return (counted * away).sum() / (counted * length).sum()
