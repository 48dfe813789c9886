"""The passes of guidance in turn: what a pipeline gives its transformer as one batch, it works on one by one.

So it takes the memory of one pass. What it is streamed from travels once for each.
"""

from functools import wraps
from typing import Any

import torch


def in_turn(transformer: Any) -> None:
    """From now on, `transformer` takes the members of a batch one after the other."""
    whole = transformer.forward

    @wraps(whole)
    def forward(*given: Any, **named: Any) -> Any:
        size = len(named["hidden_states"] if "hidden_states" in named else given[0])
        if size == 1:
            return whole(*given, **named)
        turns = [
            whole(
                *(_member(value, number, size) for value in given),
                **{name: _member(value, number, size) for name, value in named.items()},
            )
            for number in range(size)
        ]
        return tuple(torch.cat(made) for made in zip(*turns, strict=True))

    transformer.forward = forward


def _member(value: Any, number: int, size: int) -> Any:
    """What belongs to one member of a batch: its row of what has one for each, and all of what is for all."""
    if isinstance(value, torch.Tensor) and value.ndim and len(value) == size:
        return value[number : number + 1]
    return value
