"""Muon, the optimizer that got this VAE off the ground: momentum with its matrix made orthogonal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

BLOCK = 64
"""Rows made orthogonal together. Whole matrices cost half of a step and train no better."""
PLAIN = ("bias", "norm", "embed_tokens", "shared", "relative_attention", "proj_in", "proj_out", "scale_shift_table")

NEAR, BOOST = "relative_attention", 20.0
"""What lets a word look at its neighbour has to grow to about 3, and is learnt at so many times the rate."""


class Muon(Optimizer):
    """Nesterov momentum, five Newton-Schulz steps on the weights as a matrix (outputs x the rest)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.01):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every parameter once."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        beta = group["momentum"]
        momentum = state["momentum"].mul_(beta).add_(gradient, alpha=1 - beta)
        blend = (gradient * (1 - beta)).add_(momentum, alpha=beta).flatten(1)
        rows = BLOCK if len(blend) % BLOCK == 0 else len(blend)
        update = orthogonal(blend.unflatten(0, (-1, rows))).view_as(parameter)
        parameter.mul_(1 - group["lr"] * group["decay"])
        parameter.add_(update, alpha=-group["lr"] * 0.2 * max(blend.shape) ** 0.5)


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest half-orthogonal matrices, roughly (singular values between 0.7 and 1.2); any batch of them."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


def optimizers(module: nn.Module, lr: float) -> list[Optimizer]:
    """Muon for the matrices; AdamW at half the rate for what is no matrix or sits at an end of the model."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    near = [p for name, p in named if NEAR in name]
    plain = [p for name, p in named if (p.ndim < 2 or any(word in name for word in PLAIN)) and NEAR not in name]
    matrices = [p for name, p in named if p.ndim >= 2 and not any(word in name for word in PLAIN)]
    groups: list[dict[str, Any]] = [{"params": plain}]
    groups += [{"params": near, "boost": BOOST}] if near else []
    return [Muon(matrices, lr), AdamW(groups, lr / 2, betas=(0.9, 0.98), weight_decay=0.0)]
