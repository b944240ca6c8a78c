"""A linear map with a change of low rank, which is trained while the map itself stays.

    LoRA   y = W x + b + scale · B A x                               (Hu et al. 2021, https://arxiv.org/abs/2106.09685)
    DoRA   y = m · (W + scale · B A) x / |W + scale · B A| + b       (Liu et al. 2024, https://arxiv.org/abs/2402.09353)

``|…|`` is the size of each row, through which no gradient flows, and m is learned.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.core.config import Config


class LoraConfig(Config):
    """Which linear maps are changed, and how.

    targets: their names, as patterns of a shell whose ``*`` spans dots · alpha: the change is scaled by alpha / rank ·
    dropout: of what the change reads, in training · rslora: scaled by alpha / sqrt(rank) (Kalajdzievski 2023,
    https://arxiv.org/abs/2312.03732) · dora: the size of each row is learned by itself.
    """

    targets: tuple[str, ...] = ("*.q_proj", "*.v_proj")
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False

    def check(self) -> None:
        self.require(bool(self.targets) and all(self.targets), "targets", "one pattern or more")
        self.require(0 < self.rank <= 1 << 16, "rank", "1 … 65536")
        self.require(self.alpha > 0, "alpha", "above 0")
        self.require(0 <= self.dropout < 1, "dropout", "0 to below 1")

    @property
    def scale(self) -> float:
        """Of the change."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def build(self, linear: nn.Linear) -> LowRankLinear:
        """The map with a change that is still zero; its ``lora_a`` is to be filled."""
        out = LowRankLinear(linear, self.rank, self.scale, dropout=self.dropout)
        if self.dora:
            out.register_parameter("magnitude", nn.Parameter(out.sizes()))
        return out


class LowRankLinear(nn.Linear):
    """Takes the place of an ``nn.Linear`` whose parameters it has, under their names: … in → … out.

    lora_a: rank in · lora_b: out rank, zero at first · magnitude: out, of DoRA alone; in float32 where the map is in
    less. ``weight`` is what it comes to, so that code which reads the matrix instead of calling the map is right, too.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, *, dropout: float = 0.0) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._parameters.update(linear._parameters)
        kind = torch.promote_types(linear.weight.dtype, torch.float32)
        self.lora_a = nn.Parameter(linear.weight.new_zeros(rank, self.in_features, dtype=kind))
        self.lora_b = nn.Parameter(linear.weight.new_zeros(self.out_features, rank, dtype=kind))
        self.magnitude: nn.Parameter | None
        self.register_parameter("magnitude", None)
        self.scale, self.dropout = scale, dropout
        self.train(linear.training)

    @property
    def base(self) -> Tensor:
        """The matrix without the change: out in."""
        weight = self._parameters["weight"]
        assert weight is not None
        return weight

    @property
    def weight(self) -> Tensor:  # type: ignore[override]  # what is stored under this name is ``base``
        """The matrix with the change, in the type of the map: out in."""
        return self._changed().to(self.base.dtype)

    def forward(self, x: Tensor) -> Tensor:
        plain = F.linear(x, self.base, self.bias)
        read = F.dropout(x, self.dropout) if self.training and self.dropout else x
        change = F.linear(F.linear(read.to(self.lora_a.dtype), self.lora_a), self.lora_b) * self.scale
        if self.magnitude is not None:
            ratio = self.magnitude / self.sizes()
            change = ratio * change + (ratio - 1) * F.linear(read, self.base)
        return plain + change.to(plain.dtype)

    @torch.no_grad()
    def sizes(self) -> Tensor:
        """The size of each row of the matrix with the change, before DoRA sets it: out."""
        return torch.linalg.vector_norm(self._sum(), dim=1)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain map that computes the same."""
        out = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        out.register_parameter("weight", nn.Parameter(self.weight, requires_grad=self.base.requires_grad))
        out.register_parameter("bias", self.bias)
        return out.train(self.training)

    def _sum(self) -> Tensor:
        return self.base.to(self.lora_a.dtype) + self.scale * (self.lora_b @ self.lora_a)

    def _changed(self) -> Tensor:
        if self.magnitude is None:
            return self._sum()
        return (self.magnitude / self.sizes())[:, None] * self._sum()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={len(self.lora_a)}, scale={self.scale:g}"
