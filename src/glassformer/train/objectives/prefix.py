"""Prefix language modelling: the rest of a text from its beginning  (Raffel et al. 2020, section 3.2.3).

An encoder-decoder reads the beginning in both directions. A decoder alone reads it as it reads everything, from left to
right, and only its loss knows of a beginning: no description of a decoder says that a beginning is seen as a whole, so
what was trained so would be generated from otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassformer.data.batch import IGNORED, Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.train.objective import Reading
from glassformer.train.objectives._noise import (
    Framed,
    ended_pieces,
    frame_ids,
    framed_pieces,
    remade,
    row_label,
    token_labels,
)
from glassformer.train.objectives._tokens import (
    TokenLabelsConfig,
    check_decoder,
    check_pair,
    ended,
    marked,
    mirrored,
    next_labels,
)


class PrefixConfig(TokenLabelsConfig):
    """Cross entropy of the tokens behind a beginning.

    fields: ``text``, which is divided at any of its tokens alike, and is several rows where it is long; or ``prefix``
    and ``text``, what is to follow it.

    encoder: the beginning is read by an encoder.
    """

    FIELDS = ("text",)
    encoder: bool = False

    @property
    def writes(self) -> bool:
        return self.encoder

    def check_model(self, config: TransformerConfig) -> None:
        check = check_pair if self.encoder else check_decoder
        check("a prefix read by an encoder" if self.encoder else "a prefix read by a decoder", config)

    def sample(self, example: Example, reading: Reading) -> Sample:
        return self.windows(example, reading)[0]

    def windows(self, example: Example, reading: Reading) -> list[Sample]:
        """``labels["fixed"]``: whether it is said where the beginning ends."""
        if "prefix" in example.fields:
            return [self._divided(example, reading)]
        most = reading.max_tokens
        if self.encoder:
            pieces = framed_pieces(example, reading, most and most - 1)
            samples = [mirrored(ids, example, reading) for ids in pieces]
        else:
            pieces = ended_pieces(example, reading, most)
            samples = [Sample(ids, labels={"tokens": next_labels(ids, [True] * len(ids))}) for ids in pieces]
        return [Sample(one.tokens, target=one.target, labels={**one.labels, "fixed": 0}) for one in samples]

    def _divided(self, example: Example, reading: Reading) -> Sample:
        if self.encoder:
            given, said = reading.shifted(reading.ids(example, "text"), example)
            return Sample(reading.ids(example, "prefix"), target=given, labels={"tokens": said, "fixed": 1})
        prefix, text = example.text("prefix"), example.text("text")
        spans = [(len(prefix), len(prefix) + len(text))]
        ids, learned = marked(prefix + text, spans, reading, literal=True, add_special=True)
        ids, learned = ended(ids, learned, example, reading)
        return Sample(ids, labels={"tokens": next_labels(ids, learned), "fixed": 1})

    def prepare(self, batch: Batch, tokenizer: Any, seed: int) -> Batch:
        special = frame_ids(tokenizer)

        def divide(row: Sample, draw: Callable[[int, int], NDArray[np.float64]]) -> Sample:
            said = token_labels(row)
            if row_label(row, "fixed"):
                return Sample(row.tokens, target=row.target, labels={"tokens": said})
            if row.target is None:
                place = 1 + int(draw(1, 1)[0] * (len(said) - 1))
                return Sample(row.tokens, labels={"tokens": [IGNORED] * (place - 1) + said[place - 1 :]})
            frame = Framed.of(row.tokens, special)
            place = 1 + int(draw(1, 1)[0] * (len(frame.body) - 1))
            rest = [*frame.body[place:], said[-1]]
            given = [row.target[0], *rest[:-1]]
            return Sample(frame.around(frame.body[:place]), target=given, labels={"tokens": rest})

        return remade(batch, tokenizer, seed, divide)


OBJECTIVE = PrefixConfig
