"""What a model is given: token ids, which of them are real, and what an objective compares the answer with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from glassformer.core.errors import DataError

Side = Literal["left", "right"]
#: A label of this value is compared with nothing.
IGNORED = -100


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of tokens of one length.

    Args:
        tokens: int64, batch position; or images: float, batch channel height width, each of which counts as one token.
        valid: bool, batch position; True marks a real token. None where every token is real.
        segments: int64, batch position; the token types of encoders. None where there is one segment.
        target: What the decoder of an encoder-decoder is given, as many rows.
        labels: What an objective compares with, each with the batch as its first axis; positions without a label hold
            ``IGNORED``.
        samples: int64, batch; which sample of the training each row is, which decides what is random about it.
        documents: int64, batch position; in packed rows which document each token is of, below 0 at padding.
    """

    tokens: Tensor
    valid: Tensor | None = None
    segments: Tensor | None = None
    target: Batch | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    samples: Tensor | None = None
    documents: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._each(lambda value: value.to(device))

    def __getitem__(self, rows: slice) -> Batch:
        """Some of the rows."""
        return self._each(lambda value: value[rows])

    def cut(self, rows: int) -> list[Batch]:
        """The batch in pieces of at most so many rows."""
        return [self] if rows >= len(self) else [self[first : first + rows] for first in range(0, len(self), rows)]

    def with_labels(self, **labels: Tensor) -> Batch:
        """The same rows with other labels."""
        return replace(self, labels=labels)

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def width(self) -> int:
        """Positions of the longer side."""
        if self.tokens.is_floating_point():
            return 1
        return self.tokens.shape[1] if self.target is None else max(self.tokens.shape[1], self.target.width)

    @property
    def count(self) -> int:
        """Number of real tokens."""
        if self.tokens.is_floating_point():
            return len(self)
        if self.documents is not None:
            return int((self.documents >= 0).sum())
        return self.tokens.numel() if self.valid is None else int(self.valid.sum())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            change(self.tokens),
            None if self.valid is None else change(self.valid),
            None if self.segments is None else change(self.segments),
            None if self.target is None else self.target._each(change),
            {name: change(value) for name, value in self.labels.items()},
            None if self.samples is None else change(self.samples),
            None if self.documents is None else change(self.documents),
        )


@dataclass(frozen=True)
class Sample:
    """One row before it is in a batch.

    Args:
        tokens: Ids.
        segments: Token types, as many.
        target: Ids for the decoder of an encoder-decoder.
        labels: By name a number for the row, or one for each token (of the target where there is one).
    """

    tokens: Sequence[int]
    segments: Sequence[int] | None = None
    target: Sequence[int] | None = None
    labels: Mapping[str, float | Sequence[int]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Tokens of the longer side, which is what a batch pays for."""
        return max(len(self.tokens), 0 if self.target is None else len(self.target))


def collate(samples: Sequence[Sample], *, pad: int = 0, numbers: Sequence[int] | None = None) -> Batch:
    """Samples as one batch, padded on the right.

    Args:
        samples: All with the same parts.
        pad: The id of padding.
        numbers: Which samples of the training these are.
    """
    first = samples[0]
    segments = None if first.segments is None else [sample.segments or () for sample in samples]
    rows = pad_rows([sample.tokens for sample in samples], pad=pad, segments=segments)
    target = None if first.target is None else pad_rows([sample.target or () for sample in samples], pad=pad)
    width = (rows if target is None else target).tokens.shape[1]
    labels = {name: _labels([sample.labels[name] for sample in samples], width) for name in first.labels}
    return replace(rows, target=target, labels=labels, samples=None if numbers is None else torch.tensor(numbers))


def _labels(values: Sequence[float | Sequence[int]], width: int) -> Tensor:
    """int64 or float32, batch; or int64, batch position, filled up with ``IGNORED``."""
    lists = [value for value in values if not isinstance(value, int | float)]
    if not lists:
        kind = torch.float32 if any(isinstance(value, float) for value in values) else torch.int64
        return torch.tensor(values, dtype=kind)
    return torch.tensor(_filled(lists, width, IGNORED, "right"), dtype=torch.int64)


def pad_rows(
    rows: Sequence[Sequence[int]],
    *,
    pad: int = 0,
    side: Side = "right",
    segments: Sequence[Sequence[int]] | None = None,
) -> Batch:
    """Rows of unequal length as one batch, filled up on one side; ``valid`` is None if nothing was filled up.

    Raises:
        DataError: There is no row, or a row is empty.
    """
    if not rows or not all(len(row) for row in rows):
        raise DataError("a batch needs at least one row, and a token in each", got=[len(row) for row in rows])
    lengths = [len(row) for row in rows]
    longest = max(lengths)
    valid = None
    if min(lengths) < longest:
        valid = torch.tensor(_filled([[1] * length for length in lengths], longest, 0, side), dtype=torch.bool)
    return Batch(
        torch.tensor(_filled(rows, longest, pad, side), dtype=torch.int64),
        valid,
        None if segments is None else torch.tensor(_filled(segments, longest, 0, side), dtype=torch.int64),
    )


def _filled(rows: Sequence[Sequence[int]], length: int, value: int, side: Side) -> list[list[int]]:
    def fill(row: Sequence[int]) -> list[int]:
        filler = [value] * (length - len(row))
        return [*row, *filler] if side == "right" else [*filler, *row]

    return [fill(row) for row in rows]
