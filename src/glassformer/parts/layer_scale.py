"""Layer scale: a learned factor for each dimension of what a part adds  (Touvron et al. 2021, "CaiT")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.part import Part


class LayerScaleConfig(Config):
    """``start``: the factor of a new model; deep ones begin near 0."""

    start: float = 1.0

    def build(self, d_model: int) -> LayerScale:
        return LayerScale(self, d_model)


class LayerScale(Part):
    """x · weight: batch position model → the same."""

    def __init__(self, config: LayerScaleConfig, d_model: int) -> None:
        super().__init__()
        self.start = config.start
        self.weight = nn.Parameter(torch.full((d_model,), config.start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight
