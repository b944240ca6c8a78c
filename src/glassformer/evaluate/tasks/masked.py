"""How well an encoder guesses hidden tokens: the same ones each time, hidden as in training  (Devlin et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glassformer.core.errors import DataError
from glassformer.data.batch import IGNORED, Sample, collate
from glassformer.data.examples import Example
from glassformer.evaluate.rows import outputs
from glassformer.evaluate.scores import by_frequency
from glassformer.evaluate.task import Hand, Prediction, Task
from glassformer.evaluate.tasks.guess import Guess
from glassformer.evaluate.tasks.language import REACH
from glassformer.models.transformer import Transformer
from glassformer.train.evaluate import byte_lengths
from glassformer.train.objectives.masked_token import MaskedTokenConfig

#: Decides what is hidden.
SEED = 0


class Masked(Task):
    """fields: ``text``. A unit is a row of it; tokens and bytes are those that were hidden."""

    WORD, KIND, RUNS = "guess hidden tokens", "tokens", False
    METRICS = ("perplexity",)
    FLOOR = "tokens by how often they were hidden"

    def fits(self, model: Transformer) -> bool:
        return Guess().fits(model)

    def units(self, examples: Sequence[Example], hand: Hand) -> Sequence[Example]:
        rows = [(example, row) for example in examples for row in _rows(example, hand)]
        lengths = byte_lengths(hand.tokenizer)
        hidden = [_hidden(example, row, number, lengths, hand) for number, (example, row) in enumerate(rows)]
        found = [unit for unit in hidden if unit["goals"]]
        if not found:
            raise DataError("a text without a token that could be hidden", at=examples[0].place)
        return found

    def predict(self, examples: Sequence[Example], hand: Hand) -> list[Prediction]:
        def read(number: int, scores: Tensor) -> float:
            unit = examples[number]
            goals = torch.tensor(unit["goals"], device=scores.device)
            found = scores[unit["places"]].float()
            return float((found.logsumexp(-1) - found.gather(-1, goals[:, None])[:, 0]).sum())

        sums = outputs([Sample(unit["ids"]) for unit in examples], hand, read)
        return [Prediction(nats, f"{nats:.4f}", {"nats": nats}) for nats in sums]

    def reference(self, example: Example, hand: Hand) -> tuple[int, float]:
        return len(example["goals"]), example["bytes"]

    def trivial(self, examples: Sequence[Example], references: Sequence[Any]) -> list[Any]:
        return by_frequency([unit["goals"] for unit in examples])


def _rows(example: Example, hand: Hand) -> Iterator[list[int]]:
    """A text in rows that the model can read, each between the special tokens that the tokenizer puts around a text."""
    text = example.text("text")
    whole = hand.tokenizer.encode(text, literal=True)
    own = hand.tokenizer.encode(text, add_special=False, literal=True)
    front = next((place for place in range(len(whole)) if whole[place : place + len(own)] == own), 0)
    before, behind = whole[:front], whole[front + len(own) :]
    room = min(hand.longest or REACH, REACH) - len(before) - len(behind)
    for begin in range(0, len(own), room):
        yield [*before, *own[begin : begin + room], *behind]


def _hidden(example: Example, row: list[int], number: int, lengths: Any, hand: Hand) -> Example:
    """The row as the model sees it, and which tokens it is to guess where."""
    batch = MaskedTokenConfig().prepare(collate([Sample(row)], numbers=[number]), hand.tokenizer, SEED)
    places = (batch.labels["tokens"][0] != IGNORED).nonzero()[:, 0].tolist()
    goals = [row[place] for place in places]
    size = float(lengths[np.array(goals, dtype=np.int64)].sum())
    return Example(example.place, {"ids": batch.tokens[0].tolist(), "places": places, "goals": goals, "bytes": size})


TASK = Masked()
