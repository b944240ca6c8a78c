"""Regression: a number for a text, or for a pair of texts."""

from __future__ import annotations

from torch import nn

from glassformer.data.batch import Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import ClassifyHeadConfig
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse, routed
from glassformer.train.objectives._rows import with_row_head


class RegressConfig(ExampleObjectiveConfig):
    """Squared error of one number a row.

    fields: ``text`` (and ``pair``), ``label``.
    """

    FIELDS = ("text", "label")
    HEAD = "classify"

    def check_model(self, config: TransformerConfig) -> None:
        if not isinstance(config.head, ClassifyHeadConfig) or config.head.n_labels != 1:
            refuse("regression", config, "ClassifyHeadConfig of one label")

    def sample(self, example: Example, reading: Reading) -> Sample:
        fields = ("text", "pair") if "pair" in example.fields else ("text",)
        ids = reading.ids(example, *fields)
        return Sample(ids, reading.segments(example, ids, *fields), labels={"label": example.number("label")})

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        return with_row_head(config, ClassifyHeadConfig(n_labels=1))

    def labels(self, n_labels: int) -> int:
        return 1

    def weight(self, batch: Batch) -> int:
        return len(batch)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        said, extra = routed(model, batch, len(batch))
        error = said.float()[:, 0] - batch.labels["label"]
        return error.square().sum() + extra, {"absolute_error": error.detach().abs().sum()}


OBJECTIVE = RegressConfig
