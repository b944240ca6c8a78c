"""Two classifications of an image, by what labels said and by what a teacher said  (Touvron et al. 2021, "DeiT")."""

from __future__ import annotations

from torch import Tensor, nn

from glassformer.core.part import Part
from glassformer.parts.head import HeadConfig, LabelHead


class DistilledHeadConfig(HeadConfig):
    """The mean of the scores of the first token, the class token, and of the second, the distillation token."""

    n_labels: int

    def check(self) -> None:
        self.require(0 < self.n_labels <= 1 << 24, "n_labels", "1 … 2^24")

    def build(self, d_model: int, embedding: nn.Embedding | None) -> DistilledHead:
        return DistilledHead(self, d_model)


class DistilledHead(Part):
    """batch position model → batch label."""

    axes = "batch label"

    def __init__(self, config: DistilledHeadConfig, d_model: int) -> None:
        super().__init__()
        self.classes = LabelHead(d_model, config.n_labels, True, "batch label")
        self.distilled = LabelHead(d_model, config.n_labels, True, "batch label")

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        classes = self.tap("class_logits", self.classes(x[:, 0]), "batch label")
        distilled = self.tap("distilled_logits", self.distilled(x[:, 1]), "batch label")
        return (classes + distilled) / 2
