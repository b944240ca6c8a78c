"""Attention inside packed documents, one fused call for each run of documents of one length: no work between documents.

A row of documents of n tokens each costs length · n instead of length², and no mask of length² is made. Documents that
are sorted by length need few calls.

    documents   | a a a | b b b | c c |        two calls: (a, b) as two rows of 3, c as one row of 2
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from glassformer.parts.kernels import Attend, Needs, choose
from glassformer.parts.kernels.explicit import per_head
from glassformer.parts.mask import Mask, Places

RANK = 30


def refuses(mask: Mask, places: Places, needs: object) -> str:
    """Only packed rows are cut so, on the processor, where many small calls cost little."""
    if len(mask.documents_) != 1:
        return "needs packed documents"
    ours, theirs = mask.documents_[0]
    if ours is not theirs or places.query is not places.key:
        return "needs the same tokens as queries and keys"
    if getattr(needs, "soft_cap", False):
        return "has no soft cap"
    if getattr(needs, "compiled", False) or ours.device.type != "cpu":
        return "its calls differ from batch to batch"
    if mask.prefix is not None or mask.bias_ or mask.lengths_ is not None:
        return "cannot cut a prefix, lengths or a bias"
    if mask.valid is not None and not torch.equal(mask.valid.expand(ours.shape), ours >= 0):
        return "cannot hide tokens of a document"
    return ""


@dataclass(frozen=True)
class Run:
    """``count`` documents of ``length`` tokens, one behind the other; ``attend`` is None for padding."""

    start: int
    count: int
    length: int
    attend: Attend | None


@dataclass(frozen=True)
class PackedAttend:
    """The runs of each row; one row of runs serves all rows of a batch that share it."""

    rows: tuple[tuple[Run, ...], ...]

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, soft_cap: float | None = None,
        sinks: Tensor | None = None, dropout: float = 0.0,
    ) -> Tensor:  # fmt: skip
        key, value = per_head(key, query.shape[1]), per_head(value, query.shape[1])
        rows = self.rows * query.shape[0] if len(self.rows) == 1 else self.rows
        mixed = [
            torch.cat([_mixed(run, q, k, v, scale, sinks, dropout) for run in runs], 1)
            for runs, q, k, v in zip(rows, query, key, value, strict=True)
        ]
        return torch.stack(mixed)


def _mixed(
    run: Run, query: Tensor, key: Tensor, value: Tensor, scale: float, sinks: Tensor | None, dropout: float
) -> Tensor:
    """One run of a row (head position head_dim): head run head_dim."""
    places = slice(run.start, run.start + run.count * run.length)
    if run.attend is None:
        return torch.zeros_like(value[:, places])
    cut = (x[:, places].unflatten(1, (run.count, run.length)).transpose(0, 1) for x in (query, key, value))
    return run.attend(*cut, scale=scale, sinks=sinks, dropout=dropout).transpose(0, 1).flatten(1, 2)


def prepare(mask: Mask, places: Places) -> PackedAttend:
    """Find the runs, and lower what else the mask says once for each length."""
    local = dataclasses.replace(mask, documents_=(), valid=None)
    attends: dict[int, Attend] = {}
    rows = []
    for documents in mask.documents_[0][0].tolist():
        runs = []
        for start, count, length, real in _runs(documents):
            if real and length not in attends:
                attends[length] = choose(local, Places.run(length), Needs())
            runs.append(Run(start, count, length, attends[length] if real else None))
        rows.append(tuple(runs))
    return PackedAttend(tuple(rows))


def _runs(documents: list[int]) -> Iterator[tuple[int, int, int, bool]]:
    """start, number and length of the documents of each run, and whether they are real."""
    lengths = [(len(list(members)), document >= 0) for document, members in groupby(documents)]
    start = 0
    for (length, real), members in groupby(lengths):
        count = len(list(members))
        yield start, count, length, real
        start += count * length
