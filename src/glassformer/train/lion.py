"""Lion: the sign of a momentum (Chen et al. 2023, https://arxiv.org/abs/2302.06675)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class Lion(torch.optim.Optimizer):
    """Steps of one size for all numbers, in the direction of a momentum that looks at the gradient once more.

        W <- W - lr (sign(beta_1 M + (1 - beta_1) G) + decay W)
        M <- beta_2 M + (1 - beta_2) G

    The learning rate is to be 3 to 10 times lower than AdamW's, and the weight decay as many times higher.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # there is no loss to evaluate again
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            ahead, lag = group["betas"]
            for weight in group["params"]:
                if weight.grad is not None:
                    state = self.state[weight]
                    if not state:
                        state["momentum"] = torch.zeros_like(weight)
                    direction = state["momentum"].lerp(weight.grad, 1 - ahead).sign_()
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
                    state["momentum"].lerp_(weight.grad, 1 - lag)
