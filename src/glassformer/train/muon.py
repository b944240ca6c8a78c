"""Muon: momentum whose matrices are made orthogonal (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

#: A quintic whose iteration drives every singular value from (0, 1] into about 0.7 … 1.2, fast rather than exactly.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum with Nesterov's look-ahead, made orthogonal, for matrices; decoupled weight decay.

    A step is ``W <- (1 - lr decay) W - lr sqrt(max(1, rows / columns)) orthogonal(momentum)``. On CPUs the
    orthogonalisation is done in float32: bfloat16, which torch's own Muon uses, is many times slower there.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        rounds: int = 5,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "rounds": rounds})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # there is no loss to evaluate again
        """Update every matrix that has a gradient; those of one shape are made orthogonal together."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[weight.shape].append((weight, self._ahead(weight, weight.grad, group["momentum"])))
            for pairs in by_shape.values():
                self._step([weight for weight, _ in pairs], torch.stack([ahead for _, ahead in pairs]), group)

    def _step(self, weights: list[Tensor], ahead: Tensor, group: dict[str, Any]) -> None:
        directions = orthogonal(ahead, group["rounds"])
        rows, columns = weights[0].shape
        scale = group["lr"] * max(1.0, rows / columns) ** 0.5
        for weight, direction in zip(weights, directions, strict=True):
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.add_(direction.to(weight.dtype), alpha=-scale)

    def _ahead(self, weight: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """The averaged gradient, one step further on (Nesterov)."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        average = state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum)


def orthogonal(matrices: Tensor, rounds: int = 5) -> Tensor:
    """Roughly the nearest orthogonal matrices, by Newton-Schulz: ``X <- a X + (b A + c A A) X`` with ``A = X X^T``.

    Args:
        matrices: … rows columns.
        rounds: Number of iterations.
    """
    a, b, c = COEFFICIENTS
    found = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32).reshape(-1, *matrices.shape[-2:])
    is_tall = found.shape[-2] > found.shape[-1]
    if is_tall:
        found = found.mT.contiguous()
    found = found / (torch.linalg.matrix_norm(found, keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = found @ found.mT
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        found = torch.baddbmm(found, polynomial, found, beta=a)
    return (found.mT if is_tall else found).reshape(matrices.shape)
