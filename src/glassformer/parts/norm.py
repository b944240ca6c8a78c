"""Normalisation over the model axis: LayerNorm (Ba et al. 2016) and RMSNorm (Zhang and Sennrich 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.core.config import Config
from glassformer.core.part import Part
from glassformer.parts.mask import Places


class NormConfig(Config, base=True):
    """What every norm has; a norm of another package derives from this."""

    def build(self, width: int, heads: int | None = None) -> Part:
        """The norm over a last axis of ``width``; ``heads``: each of so many heads has weights of its own."""
        raise AssertionError(f"{type(self).__name__} lacks build")


class LayerNormConfig(NormConfig):
    """(x - mean) / sqrt(variance + eps) · (offset + weight) + bias."""

    eps: float = 1e-5
    weight: bool = True
    bias: bool = True
    offset: float = 0.0

    def check(self) -> None:
        self.require(0 < self.eps < 1, "eps", "0 < eps < 1")

    def build(self, width: int, heads: int | None = None) -> LayerNorm:
        return LayerNorm(self, width, heads)


class RMSNormConfig(NormConfig):
    """x / sqrt(mean(x²) + eps) · (offset + weight).

    ``cast`` says what low-precision inputs are multiplied in: "weight" rounds the normalised value to the input's type
    before the weight (Llama), "input" after it (Gemma, torch's own); in float32 they are the same.
    """

    eps: float = 1e-6
    weight: bool = True
    offset: float = 0.0
    cast: Literal["input", "weight"] = "weight"

    def check(self) -> None:
        self.require(0 < self.eps < 1, "eps", "0 < eps < 1")

    def build(self, width: int, heads: int | None = None) -> RMSNorm:
        return RMSNorm(self, width, heads)


class NoNorm(Part):
    """The identity, called as a norm is."""

    def forward(self, x: Tensor, axes: str = "batch position model", places: Places | None = None) -> Tensor:
        return x


class _Norm(Part):
    """Weights and the value ``scale``, the factor that normalises each position, which the fused norms hide.

    ``weight``, ``bias``: model, or head head_dim where each head has its own; inputs are then batch head position
    head_dim.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, config: LayerNormConfig | RMSNormConfig, width: int, heads: int | None, bias: bool) -> None:
        super().__init__()
        self.eps, self.offset, self.width, self.heads = config.eps, config.offset, width, heads
        start = 1.0 - config.offset  # a norm starts as the plain one
        shape = (width,) if heads is None else (heads, width)
        self.register_parameter("weight", nn.Parameter(torch.full(shape, start)) if config.weight else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(shape)) if bias else None)

    def gain(self) -> Tensor | None:
        """What the normalised value is multiplied by: model, or head 1 head_dim."""
        if self.weight is None:
            return None
        weight = self.weight if self.heads is None else self.weight[:, None]
        return weight + self.offset if self.offset else weight

    def shift(self) -> Tensor | None:
        """What is added to that: as ``gain``."""
        return self.bias if self.bias is None or self.heads is None else self.bias[:, None]

    def scaled(self, centred: Tensor, axes: str, places: Places | None) -> Tensor:
        """The written-out norm of a centred value, for a trace that reads or edits its scale."""
        wide = centred.float() if _is_low(centred) else centred
        scale = torch.rsqrt(wide.square().mean(-1) + self.eps)
        return wide * self.tap("scale", scale, axes.rpartition(" ")[0], places).unsqueeze(-1)


def _is_low(x: Tensor) -> bool:
    """Whether x has 16 bit or fewer, in which sums lose digits."""
    return x.dtype.itemsize < 4


class LayerNorm(_Norm):
    """Layer normalisation: batch position model → the same."""

    def __init__(self, config: LayerNormConfig, width: int, heads: int | None = None) -> None:
        super().__init__(config, width, heads, config.bias)

    def forward(self, x: Tensor, axes: str = "batch position model", places: Places | None = None) -> Tensor:
        if self.heads is None:
            normed = F.layer_norm(x, (self.width,), self.gain(), self.bias, self.eps)
        else:
            normed = self._weighted(F.layer_norm(x, (self.width,), eps=self.eps))
        if self.wants("scale"):
            scaled = self.scaled(x - x.mean(-1, keepdim=True), axes, places).to(x.dtype)
            if self.edits("scale"):
                normed = self._weighted(scaled)
        return self.tap("output", normed, axes, places)

    def _weighted(self, normed: Tensor) -> Tensor:
        gain, shift = self.gain(), self.shift()
        normed = normed if gain is None else normed * gain
        return normed if shift is None else normed + shift


class RMSNorm(_Norm):
    """Root-mean-square normalisation: batch position model → the same."""

    def __init__(self, config: RMSNormConfig, width: int, heads: int | None = None) -> None:
        super().__init__(config, width, heads, bias=False)
        self.weight_last = config.cast == "weight"

    def forward(self, x: Tensor, axes: str = "batch position model", places: Places | None = None) -> Tensor:
        gain, is_low = self.gain(), _is_low(x)
        if is_low and self.weight_last:
            normed = F.rms_norm(x.float(), (self.width,), None, self.eps).to(x.dtype)
            normed = normed if gain is None else normed * gain
        elif is_low and self.weight is not None and self.offset:  # in x's own type 1 + weight would be rounded
            normed = F.rms_norm(x.float(), (self.width,), self.weight.float() + self.offset, self.eps).to(x.dtype)
        elif self.heads is not None and gain is not None:
            normed = F.rms_norm(x, (self.width,), None, self.eps) * gain
        else:
            normed = F.rms_norm(x, (self.width,), gain, self.eps)
        if self.wants("scale"):
            scaled = self.scaled(x, axes, places).to(x.dtype)
            if self.edits("scale"):
                normed = scaled if gain is None else scaled * gain
        return self.tap("output", normed, axes, places)
