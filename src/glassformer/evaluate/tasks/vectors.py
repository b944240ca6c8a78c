"""The vector of a text, or how alike two texts are: the cosine of their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional

from glassformer.data.examples import Example
from glassformer.embed.vectors import embed
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.models.transformer import Transformer
from glassformer.parts.sentence import Sentence


class Vectors(Task):
    """fields: ``text`` (and ``pair``), ``label``: how alike the two are, in any unit."""

    WORD, FIELDS, PAIR = "embed", ("text",), "pair"
    KIND, METRICS = "number", ("spearman", "pearson")
    FLOOR = "always the mean"

    def fits(self, model: Transformer) -> bool:
        return model.config.head is None and isinstance(model.__dict__.get("sentence"), Sentence)

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        one = _vectors([example.text("text") for example in examples], hand)
        if not any("pair" in example.fields for example in examples):
            return [_vector(row.tolist()) for row in one]
        other = _vectors([example.text("pair") for example in examples], hand)
        alike = functional.cosine_similarity(one, other).tolist()
        return [Prediction(number, f"{number:.4f}", {"similarity": number}) for number in alike]

    def reference(self, example: Example, hand: Hand) -> float:
        example.text("pair")
        return example.number("label")

    def trivial(self, examples: Sequence[Example], references: Sequence[Any]) -> list[Any]:
        return [sum(references) / len(references)] * len(references)


def _vectors(texts: Sequence[str], hand: Hand) -> Tensor:
    return embed(hand.model, texts, tokenizer=hand.tokenizer, truncate=hand.truncate, progress=hand.progress)


def _vector(numbers: list[float]) -> Prediction:
    return Prediction(numbers, " ".join(f"{number:.6g}" for number in numbers), {"vector": numbers})


TASK = Vectors()
