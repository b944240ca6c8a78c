"""Who may attend to whom, as a description that kernels lower to what they need.

    mask = Mask.causal() & Mask.window(256) & Mask.padding(valid)
    allowed = mask.allowed(places)          # bool, batch 1 query key

Causality and windows are said in positions of the row, never in places of a padded tensor, so queries and keys may
differ in number. A query that may attend to nothing gets zeros from every kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where the queries and the keys of one attention stand in their rows.

    query: int64, batch query (or 1 query) · key: int64, batch key (or 1 key) · new_key: the positions of the keys that
    this forward computes (equal to ``key`` without a cache). ``offset`` is set when every row is the plain run: queries
    at offset, offset + 1, … and keys at 0, 1, … up to the last query.
    """

    query: Tensor
    key: Tensor
    new_key: Tensor
    offset: int | None = None

    @classmethod
    def run(cls, n_query: int, n_key: int | None = None, device: torch.device | str | None = None) -> Places:
        """Keys at 0 … n_key - 1 and the queries at the last n_query of them."""
        n_key = n_query if n_key is None else n_key
        key = torch.arange(n_key, device=device)[None]
        query = key[:, n_key - n_query :]
        return cls(query=query, key=key, new_key=query, offset=n_key - n_query)

    def rows(self, query: Tensor) -> Places:
        """The same keys, seen from other queries: int64, batch query."""
        return dataclasses.replace(self, query=query, offset=None)


@dataclass(frozen=True)
class Mask:
    """A set of conditions that all must hold; masks are closed under ``&``.

    is_causal: key ≤ query, but keys before ``prefix`` (int64, batch) are seen by all · before, after: at most so many
    positions back and ahead · lengths: int64, batch, keys at positions from there on are hidden · valid: bool, batch
    key · documents: pairs of ids (batch query, batch key) that must be equal · bias: float, batch|1 head|1 query key,
    added to the scores.
    """

    is_causal: bool = False
    prefix: Tensor | None = None
    before: int | None = None
    after: int | None = None
    valid: Tensor | None = None
    lengths_: Tensor | None = None
    documents_: tuple[tuple[Tensor, Tensor], ...] = ()
    bias_: tuple[Tensor, ...] = ()

    @classmethod
    def causal(cls) -> Mask:
        """Each query sees the keys up to its own position."""
        return cls(is_causal=True)

    @classmethod
    def bidirectional(cls) -> Mask:
        """Each query sees every key."""
        return cls()

    @classmethod
    def prefix_causal(cls, prefix: Tensor) -> Mask:
        """Causal, except that the first ``prefix`` (int64, batch) positions are seen by all."""
        return cls(is_causal=True, prefix=prefix)

    @classmethod
    def window(cls, size: int) -> Mask:
        """Keys less than ``size`` positions away, on either side."""
        return cls(before=size - 1, after=size - 1)

    @classmethod
    def lengths(cls, lengths: Tensor) -> Mask:
        """Keys at positions before the row's length: int64, batch."""
        return cls(lengths_=lengths)

    @classmethod
    def padding(cls, valid: Tensor) -> Mask:
        """Keys that are real tokens: bool, batch key."""
        return cls(valid=valid)

    @classmethod
    def documents(cls, query: Tensor, key: Tensor | None = None) -> Mask:
        """Keys of the query's own document: int64 ids, batch query and batch key."""
        return cls(documents_=((query, query if key is None else key),))

    @classmethod
    def bias(cls, bias: Tensor) -> Mask:
        """A float added to the scores: batch|1 head|1 query key."""
        return cls(bias_=(bias,))

    def __and__(self, other: Mask) -> Mask:
        strict = [mask for mask in (self, other) if mask.is_causal and mask.prefix is None]
        prefixes = () if strict else (self.prefix, other.prefix)
        return Mask(
            is_causal=self.is_causal or other.is_causal,
            prefix=_both(torch.minimum, *prefixes) if prefixes else None,
            before=_both(min, self.before, other.before),
            after=_both(min, self.after, other.after),
            valid=_both(torch.logical_and, self.valid, other.valid),
            lengths_=_both(torch.minimum, self.lengths_, other.lengths_),
            documents_=self.documents_ + other.documents_,
            bias_=self.bias_ + other.bias_,
        )

    @property
    def only_causal(self) -> bool:
        """True if causality is the one condition."""
        return self == Mask.causal() if self.is_causal and not self._holds_tensors() else False

    def _holds_tensors(self) -> bool:
        tensors = (self.prefix, self.valid, self.lengths_)
        return bool(self.documents_ or self.bias_) or any(tensor is not None for tensor in tensors)

    def allowed(self, places: Places) -> Tensor | None:
        """Which keys each query sees: bool, batch|1 1 query key; None where all see all."""
        query, key = places.query[:, :, None], places.key[:, None, :]
        conditions = []
        if self.is_causal and not (places.offset is not None and query.shape[1] == 1 and self.prefix is None):
            seen = key <= query
            conditions.append(seen if self.prefix is None else seen | (key < self.prefix[:, None, None]))
        if self.before is not None:
            conditions.append(query - key <= self.before)
        if self.after is not None and (not self.is_causal or self.prefix is not None):
            conditions.append(key - query <= self.after)
        if self.lengths_ is not None:
            conditions.append(key < self.lengths_[:, None, None])
        if self.valid is not None:
            conditions.append(self.valid[:, None, :])
        conditions += [ours[:, :, None] == theirs[:, None, :] for ours, theirs in self.documents_]
        if not conditions:
            return None
        together = conditions[0]
        for condition in conditions[1:]:
            together = together & condition
        return together[:, None]

    def added(self) -> Tensor | None:
        """The sum of the biases: float, batch|1 head|1 query key; None where there is none."""
        return sum(self.bias_[1:], start=self.bias_[0]) if self.bias_ else None

    def rows(self, index: Tensor) -> Mask:
        """The same mask for some of the queries: int64, batch row, places of the kept queries."""
        documents = tuple((_take(ours, index), theirs) for ours, theirs in self.documents_)
        bias = tuple(_take_bias(bias, index) for bias in self.bias_)
        return dataclasses.replace(self, documents_=documents, bias_=bias)


def _both(join: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    """The joined value of two conditions, of which either may be absent."""
    return other if one is None else one if other is None else join(one, other)


def _take(ids: Tensor, index: Tensor) -> Tensor:
    return ids.expand(index.shape[0], -1).gather(1, index.expand(max(ids.shape[0], index.shape[0]), -1))


def _take_bias(bias: Tensor, index: Tensor) -> Tensor:
    """Rows of a bias (batch|1 head|1 query key) by place: int64, batch row."""
    rows = max(bias.shape[0], index.shape[0])
    bias = bias.expand(rows, -1, -1, -1)
    index = index[:, None, :, None].expand(rows, bias.shape[1], -1, bias.shape[3])
    return bias.gather(2, index)
