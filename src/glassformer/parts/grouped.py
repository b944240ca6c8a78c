"""One linear map for each run of rows: what experts compute of the tokens that chose them, without padding.

    out[rows of run e] = x[rows of run e] weight[e]ᵀ + bias[e];  rows behind the last run give 0

Plain code reads the sizes of the runs. A compiled graph and the meta device cannot, so there the loop is one operation
of its own, with a backward of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Runs:
    """counts: int64, expert, rows of each run · sizes: the same numbers, or None where they cannot be read."""

    counts: Tensor
    sizes: list[int] | None

    @classmethod
    def of(cls, experts: Tensor, n_experts: int) -> Runs:
        """The runs of sorted ids (int64, row); an id of ``n_experts`` belongs to none."""
        counts = experts.new_zeros(n_experts + 1).scatter_add(0, experts, torch.ones_like(experts))[:n_experts]
        hidden = torch.compiler.is_compiling() or experts.is_meta
        return cls(counts, None if hidden else counts.tolist())

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """row model → row hidden; weight: expert hidden model · bias: expert hidden."""
        if self.sizes is None:
            out: Tensor = _looped(x, weight, self.counts)
            return out if bias is None else out + self._spread(bias, len(x))
        each: Any = torch.Tensor.unbind if torch.is_grad_enabled() else _itself  # a gradient for all slices at once
        weights, biases = each(weight), None if bias is None else each(bias)
        pieces = zip(range(len(self.sizes)), x.split([*self.sizes, len(x) - sum(self.sizes)]), strict=False)
        done = [F.linear(one, weights[e], None if biases is None else biases[e]) for e, one in pieces if len(one)]
        rest = len(x) - sum(self.sizes)
        return torch.cat([*done, x.new_zeros(rest, weight.shape[1])]) if rest or not done else torch.cat(done)

    def _spread(self, bias: Tensor, rows: int) -> Tensor:
        """The bias of each row: row hidden."""
        ends = self.counts.cumsum(0)
        place = torch.searchsorted(ends, torch.arange(rows, device=bias.device), right=True)
        return F.pad(bias, (0, 0, 0, 1))[place]


def _itself(x: Tensor) -> Tensor:
    return x


def _bounds(counts: Tensor) -> list[tuple[int, int, int]]:
    """expert, first row and last row + 1 of each run that is not empty."""
    ends = counts.cumsum(0).tolist()
    return [(e, end - size, end) for e, (end, size) in enumerate(zip(ends, counts.tolist(), strict=True)) if size]


@torch.library.custom_op("glassformer::grouped_linear", mutates_args=())
def _looped(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    out = x.new_zeros(x.shape[0], weight.shape[1])
    for e, start, end in _bounds(counts):
        torch.mm(x[start:end], weight[e].mT, out=out[start:end])
    return out


@_looped.register_fake
def _(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


@torch.library.custom_op("glassformer::grouped_linear_weight", mutates_args=())
def _of_weight(grad: Tensor, x: Tensor, counts: Tensor) -> Tensor:
    """The gradient of the weights: expert hidden model."""
    out = x.new_zeros(counts.shape[0], grad.shape[1], x.shape[1])
    for e, start, end in _bounds(counts):
        torch.mm(grad[start:end].mT, x[start:end], out=out[e])
    return out


@_of_weight.register_fake
def _(grad: Tensor, x: Tensor, counts: Tensor) -> Tensor:
    return x.new_empty(counts.shape[0], grad.shape[1], x.shape[1])


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, weight, counts = ctx.saved_tensors
    of_x, of_weight, _ = ctx.needs_input_grad
    grad = grad.contiguous()
    return (
        _looped(grad, weight.mT.contiguous(), counts) if of_x else None,
        _of_weight(grad, x, counts) if of_weight else None,
        None,
    )


_looped.register_autograd(_backward, setup_context=_keep)
