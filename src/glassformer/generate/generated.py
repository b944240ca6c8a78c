"""What comes out of a generation: new tokens, and with beams several texts of each prompt with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glassformer.generate.stop import Reason


@dataclass(frozen=True, eq=False)
class Generated:
    """The new tokens of each row, an end token included.

    tokens: int64, batch position, filled up behind · lengths: int64, batch · reasons: why each row ended · scores: of
    beams, float32, batch, the best first of each prompt · n_best: rows that belong to one prompt; of length 0 and score
    minus infinity where there were fewer texts.
    """

    tokens: Tensor
    lengths: Tensor
    reasons: tuple[Reason, ...]
    scores: Tensor | None = None
    n_best: int = 1

    def rows(self) -> list[list[int]]:
        """The new tokens of each row, without what fills it up."""
        return [row[:length] for row, length in zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)]


def generated_of(
    rows: Sequence[list[int]], reasons: tuple[Reason, ...], pad: int, device: torch.device, **found: Any
) -> Generated:
    """Rows of unequal lengths as one tensor, filled up with ``pad``; ``found``: what beams know beside them."""
    longest = max(map(len, rows))
    filled = [row + [pad] * (longest - len(row)) for row in rows]
    tokens = torch.tensor(filled, dtype=torch.int64, device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return Generated(tokens, lengths, reasons, **found)
