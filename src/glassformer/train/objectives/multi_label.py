"""Classification with any number of labels: each is right or not, whatever the others are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn
from torch.nn import functional

from glassformer.core.errors import DataError
from glassformer.data.batch import IGNORED, Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import ClassifyHeadConfig
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse, routed
from glassformer.train.objectives._rows import with_row_head


class MultiLabelConfig(ExampleObjectiveConfig):
    """Binary cross entropy of every label of every row.

    fields: ``text`` (and ``pair``), ``labels``: a list, or a text with commas between; it may be empty.

    Measured: ``exact``, rows without a mistake, ``precision``, ``recall`` and ``f1`` of all labels together.
    """

    FIELDS = ("text", "labels")
    HEAD = "classify"

    def check_model(self, config: TransformerConfig) -> None:
        if not isinstance(config.head, ClassifyHeadConfig):
            refuse("classification with several labels", config, "ClassifyHeadConfig")

    def names(self, example: Example) -> Iterable[str]:
        return several(example, "labels")

    def sample(self, example: Example, reading: Reading) -> Sample:
        fields = ("text", "pair") if "pair" in example.fields else ("text",)
        ids = reading.ids(example, *fields)
        said = {reading.label(name, example) for name in several(example, "labels")}
        row = [int(number in said) for number in range(len(reading.labels))]
        return Sample(ids, reading.segments(example, ids, *fields), labels={"labels": row})

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        return with_row_head(config, ClassifyHeadConfig(n_labels=n_labels))

    def weight(self, batch: Batch) -> int:
        return int((batch.labels["labels"] != IGNORED).sum())

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        logits, extra = routed(model, batch, self.weight(batch))
        n_labels = logits.shape[-1]
        said = batch.labels["labels"][:, :n_labels]  # a batch fills all its labels up to the width of its tokens
        loss = functional.binary_cross_entropy_with_logits(logits.float(), said.float(), reduction="sum")
        found, right = logits > 0, said == 1
        counts = {"found": found & right, "extra": found & ~right, "missed": ~found & right}
        # sums are divided by all labels of all rows: a row counts for each of them
        exact = (found == right).all(-1).sum() * n_labels
        return loss + extra, {"exact": exact, **{name: value.sum() for name, value in counts.items()}}

    def measures(self, means: dict[str, float]) -> dict[str, float]:
        found, extra, missed = (means[name] for name in ("found", "extra", "missed"))
        shares = {
            "precision": found / max(found + extra, 1e-12),
            "recall": found / max(found + missed, 1e-12),
            "f1": 2 * found / max(2 * found + extra + missed, 1e-12),
        }
        return {"loss": means["loss"], "exact": means["exact"], **shares}


def several(example: Example, field: str) -> Sequence[str]:
    """A field that is a list of labels, or a text with commas between them.

    Raises:
        DataError: It is neither, or a label is empty.
    """
    value = example[field]
    found = [part.strip() for part in value.split(",")] if isinstance(value, str) and value.strip() else value or []
    if not isinstance(found, list | tuple) or not all(isinstance(one, str | int) and str(one) for one in found):
        raise DataError(f"field {field!r} is no list of labels", at=example.place, got=repr(value)[:100])
    return [str(one) for one in found]


OBJECTIVE = MultiLabelConfig
