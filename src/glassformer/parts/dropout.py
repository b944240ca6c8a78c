"""Dropout (Srivastava et al. 2014) that costs nothing at rate 0; rates belong to training, not to a description."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from glassformer.core.part import Part


class Dropout(Part):
    """Zeroes values with probability ``rate`` in training and scales the rest; the rate is set by whoever trains."""

    rate = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.rate) if self.training and self.rate else x

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
