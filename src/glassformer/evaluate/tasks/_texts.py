"""A text, or a pair of them, as a row."""

from __future__ import annotations

from glassformer.data.batch import Sample
from glassformer.data.examples import Example
from glassformer.evaluate.task import Hand


def sample(example: Example, hand: Hand) -> Sample:
    """The row of ``text``, or of ``text`` and ``pair`` where the example has one."""
    fields = ("text", "pair") if "pair" in example.fields else ("text",)
    ids = hand.reading.ids(example, *fields)
    return Sample(ids, hand.reading.segments(example, ids, *fields))
