"""Classification of a text, or of a pair of texts: one label of several."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn import functional

from glassformer.data.batch import Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import ClassifyHeadConfig
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse, routed
from glassformer.train.objectives._rows import with_row_head


class ClassifyConfig(ExampleObjectiveConfig):
    """Cross entropy of one label a row; ``smoothing``: share of the target that goes to all labels alike.

    fields: ``text`` (and ``pair``), ``label``.
    """

    FIELDS = ("text", "label")
    HEAD = "classify"
    COMPARED = "label"
    smoothing: float = 0.0

    def check(self) -> None:
        self.require(0 <= self.smoothing < 1, "smoothing", "0 to below 1")

    def check_model(self, config: TransformerConfig) -> None:
        if not isinstance(config.head, ClassifyHeadConfig):
            refuse("classification", config, "ClassifyHeadConfig")

    def names(self, example: Example) -> Iterable[str]:
        return [example.label("label")]

    def sample(self, example: Example, reading: Reading) -> Sample:
        fields = ("text", "pair") if "pair" in example.fields else ("text",)
        ids = reading.ids(example, *fields)
        label = reading.label(example.label("label"), example)
        return Sample(ids, reading.segments(example, ids, *fields), labels={"label": label})

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        return with_row_head(config, ClassifyHeadConfig(n_labels=n_labels))

    def weight(self, batch: Batch) -> int:
        return len(batch)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        logits, extra = routed(model, batch, len(batch))
        label = batch.labels["label"]
        loss = functional.cross_entropy(logits.float(), label, reduction="sum", label_smoothing=self.smoothing)
        return loss + extra, {"accuracy": (logits.argmax(-1) == label).sum()}


OBJECTIVE = ClassifyConfig
