"""A tag a word: the share of right ones, and the F1 of whole entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glassformer.core.errors import DataError
from glassformer.evaluate.metric import Metric, Rows


class Span(NamedTuple):
    """Words ``first … last - 1`` are one entity."""

    kind: str
    first: int
    last: int


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities of tags such as ``B-PER I-PER O``  (Tjong Kim Sang & Buchholz 2000, as conlleval reads them).

    An entity begins at ``B-`` or ``S-``, or at any other tag that does not go on with the entity before it, and ends
    with ``E-`` or ``S-`` at the latest.
    """
    found: list[Span] = []
    kind, first, is_open = "", 0, False
    for place, tag in enumerate([*tags, "O"]):
        prefix, dash, name = tag.partition("-")
        inside = bool(dash) and prefix in ("B", "I", "E", "S")
        if is_open and (not inside or prefix in ("B", "S") or name != kind):
            found.append(Span(kind, first, place))
            is_open = False
        if inside and not is_open:
            kind, first, is_open = name, place, True
        if is_open and prefix in ("E", "S"):
            found.append(Span(kind, first, place + 1))
            is_open = False
    return found


def are_spans(labels: Sequence[str]) -> bool:
    """Whether tags mark entities: ``B-`` or ``I-`` is among them, and nothing but the like and ``O``."""
    marked = [label for label in labels if label[:2] in ("B-", "I-", "E-", "S-")]
    return bool(marked) and len(marked) >= len(labels) - 1


def _entities(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Rows:
    """example 3: entities that are right, said and true."""
    found = []
    for said, true in zip(predictions, references, strict=True):
        _check(said, true)
        one, other = set(spans(said)), set(spans(true))
        found.append((len(one & other), len(one), len(other)))
    return np.array(found, dtype=np.float64)


def _words(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Rows:
    """example 2: words that are right, and all."""
    found = []
    for said, true in zip(predictions, references, strict=True):
        _check(said, true)
        found.append((sum(map(str.__eq__, said, true)), len(true)))
    return np.array(found, dtype=np.float64)


def _check(said: Sequence[str], true: Sequence[str]) -> None:
    if len(said) != len(true):
        raise DataError("tags of unequal number", got=f"{len(said)} predicted for {len(true)}")


def _entity_f1(rows: Rows) -> float:
    """0 where there is no entity on either side."""
    right, said, true = rows.sum(axis=0)
    return float(2 * right / (said + true)) if said + true else 0.0


def _share(rows: Rows) -> float:
    right, every = rows.sum(axis=0)
    return float(right / every)


METRICS = (
    Metric("entity_f1", "tags", _entities, _entity_f1),
    Metric("tag_accuracy", "tags", _words, _share),
)
