"""Classification of a picture: one label of several, or shares of labels where pictures are mixed."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.distilled import DistilledHeadConfig
from glassformer.parts.head import ClassifyHeadConfig
from glassformer.parts.patches import PatchEmbeddingConfig
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse, routed
from glassformer.train.objectives._rows import with_row_head


class ClassifyImagesConfig(ExampleObjectiveConfig):
    """Cross entropy of a picture's label; ``smoothing``: share of the target that goes to all labels alike.

    fields: ``image``, ``label``.
    """

    FIELDS = ("image", "label")
    HEAD = "classify"
    TEXTS = ()
    smoothing: float = 0.0

    def check(self) -> None:
        self.require(0 <= self.smoothing < 1, "smoothing", "0 to below 1")

    def check_model(self, config: TransformerConfig) -> None:
        if not isinstance(config.embedding, PatchEmbeddingConfig):
            raise UnsupportedError("classification of images", got="a model of tokens", expected="PatchEmbeddingConfig")
        if not isinstance(config.head, ClassifyHeadConfig | DistilledHeadConfig):
            refuse("classification of images", config, "ClassifyHeadConfig")

    def names(self, example: Example) -> Iterable[str]:
        return [example.label("label")]

    def sample(self, example: Example, reading: Reading) -> Sample:
        raise UnsupportedError("a row of tokens", at=example.place, got="a picture", do="use image_data.prepare")

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        return with_row_head(config, ClassifyHeadConfig(n_labels=n_labels))

    def weight(self, batch: Batch) -> int:
        return len(batch)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        logits, extra = routed(model, batch, len(batch))
        label = batch.labels["label"]
        loss = functional.cross_entropy(logits.float(), label, reduction="sum", label_smoothing=self.smoothing)
        return loss + extra, {"accuracy": (logits.argmax(-1) == _likeliest(label)).sum()}


def _likeliest(label: Tensor) -> Tensor:
    """int64, batch; of shares, the largest."""
    return label.argmax(-1) if label.is_floating_point() else label


OBJECTIVE = ClassifyImagesConfig
