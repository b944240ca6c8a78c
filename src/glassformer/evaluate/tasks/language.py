"""How well a decoder predicts text: nats of each token, from at least half of what it can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.tokens import end_token
from glassformer.evaluate.scores import by_frequency, scored, windows
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.models.transformer import Transformer
from glassformer.parts.head import TokenHeadConfig
from glassformer.train.evaluate import byte_lengths

#: Tokens that are read at once by a model that nothing limits, and by any other at most.
REACH = 1024


class Language(Task):
    """fields: ``text``. A unit is a piece of it that is predicted at once."""

    WORD, KIND, RUNS = "predict text", "tokens", False
    METRICS = ("bits_per_byte", "perplexity")
    FLOOR = "tokens by how often they are in the text"

    def fits(self, model: Transformer) -> bool:
        return model.config.encoder is None and isinstance(model.config.head, TokenHeadConfig)

    def units(self, examples: Sequence[Example], hand: Hand) -> Sequence[Example]:
        lengths = byte_lengths(hand.tokenizer)
        return [unit for example in examples for unit in _pieces(example, lengths, hand)]

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        rows, counts = [unit["ids"] for unit in examples], [unit["count"] for unit in examples]
        sums = [float(one.nats.sum()) for one in scored(rows, counts, hand)]
        return [Prediction(nats, f"{nats:.4f}", {"nats": nats}) for nats in sums]

    def reference(self, example: Example, hand: Hand) -> tuple[int, float]:
        return example["count"], example["bytes"]

    def trivial(self, examples: Sequence[Example], references: Sequence[Any]) -> list[Any]:
        return by_frequency([unit["ids"][-unit["count"] :] for unit in examples])


def _pieces(example: Example, lengths: Any, hand: Hand) -> list[Example]:
    """A text between two end tokens, in pieces of half of what the model reads; a byte is one of the text's.

    Raises:
        DataError: It has no token.
    """
    text, end = example.text("text"), end_token(hand.tokenizer)
    (ids,) = hand.tokenizer.encode_documents([text])
    ids = [end, *ids, *([] if ids and ids[-1] == end else [end])]
    if len(ids) < 3:
        raise DataError("a text without a token", at=example.place)
    scale = (len(text.encode()) + 1) / max(int(lengths[np.array(ids[1:])].sum()), 1)
    reach = min(hand.longest or REACH, REACH)
    found = []
    for first, begin, last in windows(len(ids), reach, max(1, reach // 2)):
        size = float(lengths[np.array(ids[begin:last])].sum()) * scale
        found.append(Example(example.place, {"ids": ids[first:last], "count": last - begin, "bytes": size}))
    return found


TASK = Language()
