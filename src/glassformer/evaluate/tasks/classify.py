"""The class of a text, or of a pair of texts, with the probabilities of all classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from glassformer.data.examples import Example
from glassformer.evaluate.rows import outputs
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.evaluate.tasks._texts import sample
from glassformer.models.transformer import Transformer
from glassformer.parts.head import ClassifyHeadConfig


class Classify(Task):
    """fields: ``text`` (and ``pair``), ``label``."""

    WORD, FIELDS, PAIR = "classify", ("text",), "pair"
    KIND, METRICS = "label", ("accuracy", "macro_f1", "matthews")
    FLOOR = "always the most frequent label"

    def fits(self, model: Transformer) -> bool:
        head = model.config.head
        return isinstance(head, ClassifyHeadConfig) and head.n_labels > 1 and model.config.reads_tokens

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        samples = [sample(example, hand) for example in examples]
        return outputs(samples, hand, lambda _, scores: _said(scores, hand))

    def reference(self, example: Example, hand: Hand) -> str:
        return hand.labels[hand.reading.label(example.label("label"), example)]

    def trivial(self, examples: Sequence[Example], references: Sequence[Any]) -> list[Any]:
        return [Counter(references).most_common(1)[0][0]] * len(references)


def _said(scores: Tensor, hand: Hand) -> Prediction:
    """The classes, the most probable first."""
    shares = scores.float().softmax(-1)
    order = shares.argsort(descending=True, stable=True).tolist()
    named = [(hand.labels[place], float(shares[place])) for place in order]
    label, share = named[0]
    line = "\t".join(f"{name}\t{value:.4f}" for name, value in named[: hand.top or 1])
    return Prediction(label, line, {"label": label, "probability": share, "probabilities": dict(named[: hand.top])})


TASK = Classify()
