"""Adafactor: a second moment kept as row and column means (Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Adafactor(torch.optim.Optimizer):
    """Adafactor as T5 was trained with it: no momentum, updates clipped to a root mean square of 1.

        V <- beta V + (1 - beta) (G^2 + eps_1),  beta = 1 - step^-decay     of a matrix its row and column means alone
        U <- G / sqrt(V),   U <- U / max(1, rms(U) / clip)
        W <- W - lr max(eps_2, rms(W)) U                                    without ``scaled``: W - lr U

    T5's relative step ``min(0.01, 1 / sqrt(t))`` is a schedule: ``InverseSqrtConfig(level=True)`` with a warm-up of
    10,000 steps and a learning rate of 0.01.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float,
        decay: float = 0.8,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip: float = 1.0,
        momentum: float = 0.0,
        scaled: bool = True,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"decay": decay, "eps": eps, "clip": clip, "momentum": momentum, "scaled": scaled}
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, **settings})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # there is no loss to evaluate again
        """Update every parameter that has a gradient; what is of less precision is computed in float32."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(weight, weight.grad.float(), group)

    def _step(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state.update(_fresh(gradient, group["momentum"]))
        state["step"] += 1
        update = gradient * _inverse_root(state, gradient, group)
        update /= (_rms(update) / group["clip"]).clamp(min=1.0)
        full = weight.float()
        rate = group["lr"] * (_rms(full).clamp(min=group["eps"][1]) if group["scaled"] else 1.0)
        update *= rate
        if group["momentum"]:
            update = state["momentum"].lerp_(update, 1 - group["momentum"])
        weight.copy_(full - update - full * (group["weight_decay"] * rate))


def _fresh(gradient: Tensor, momentum: float) -> dict[str, Tensor]:
    """What is remembered of a parameter before its first step."""
    state = {"step": torch.zeros((), dtype=torch.int64)}
    if gradient.ndim >= 2:
        state["rows"] = gradient.new_zeros(gradient.shape[:-1])
        state["columns"] = gradient.new_zeros(gradient.shape[:-2] + gradient.shape[-1:])
    else:
        state["square"] = torch.zeros_like(gradient)
    if momentum:
        state["momentum"] = torch.zeros_like(gradient)
    return state


def _inverse_root(state: dict[str, Tensor], gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """1 / sqrt of the second moment, after this gradient."""
    share = float(state["step"]) ** -group["decay"]
    square = gradient**2 + group["eps"][0]
    if gradient.ndim < 2:
        return state["square"].lerp_(square, share).rsqrt()
    rows = state["rows"].lerp_(square.mean(-1), share)
    columns = state["columns"].lerp_(square.mean(-2), share)
    return (rows / rows.mean(-1, keepdim=True)).rsqrt()[..., None] * columns.rsqrt()[..., None, :]


def _rms(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor) / tensor.numel() ** 0.5
