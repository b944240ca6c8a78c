"""A number for a text, or for a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glassformer.data.examples import Example
from glassformer.evaluate.rows import outputs
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.evaluate.tasks._texts import sample
from glassformer.models.transformer import Transformer
from glassformer.parts.head import ClassifyHeadConfig


class Regress(Task):
    """fields: ``text`` (and ``pair``), ``label``."""

    WORD, FIELDS, PAIR = "regress", ("text",), "pair"
    KIND, METRICS = "number", ("spearman", "pearson", "absolute_error")
    FLOOR = "always the mean"

    def fits(self, model: Transformer) -> bool:
        head = model.config.head
        return isinstance(head, ClassifyHeadConfig) and head.n_labels == 1 and model.config.reads_tokens

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        samples = [sample(example, hand) for example in examples]
        numbers = outputs(samples, hand, lambda _, scores: float(scores[0]))
        return [Prediction(number, f"{number:.6g}", {"number": number}) for number in numbers]

    def reference(self, example: Example, hand: Hand) -> float:
        return example.number("label")

    def trivial(self, examples: Sequence[Example], references: Sequence[Any]) -> list[Any]:
        return [sum(references) / len(references)] * len(references)


TASK = Regress()
