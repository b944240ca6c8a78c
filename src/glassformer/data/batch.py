"""What a model is given: token ids, which of them are real, and which segment they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from glassformer.core.errors import DataError

Side = Literal["left", "right"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of tokens of one length.

    Args:
        tokens: int64, batch position.
        valid: bool, batch position; True marks a real token. None where every token is real.
        segments: int64, batch position; the token types of encoders. None where there is one segment.
    """

    tokens: Tensor
    valid: Tensor | None = None
    segments: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(self.tokens.to(device), _moved(self.valid, device), _moved(self.segments, device))

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def count(self) -> int:
        """Number of real tokens."""
        return self.tokens.numel() if self.valid is None else int(self.valid.sum())


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


def _moved(value: Tensor | None, device: torch.device | str) -> Tensor | None:
    return None if value is None else value.to(device)
