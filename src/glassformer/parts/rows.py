"""What a caller says about the rows of a batch, and the positions that follow from it.

Callers give ids with a padding mask of either side, lengths, or the document ids of packed rows; positions and masks
are derived here, once, so that each row of a batch gets the result of the row alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.core.errors import DataError
from glassformer.parts.mask import Mask


class Grid(NamedTuple):
    """Patches in rows and columns, behind ``front`` tokens without a place in the image."""

    front: int
    height: int
    width: int

    @property
    def size(self) -> int:
        """All of them."""
        return self.front + self.height * self.width


@dataclass(frozen=True)
class Rows:
    """positions: int64, batch|1 position, -1 at padding · lengths: int64, batch|1, tokens of each row so far · valid:
    bool, batch position, or None · documents: int64, batch position, or None · offset: set if all rows are the plain
    run offset, offset + 1, … · grid: of images"""

    positions: Tensor
    lengths: Tensor
    valid: Tensor | None = None
    documents: Tensor | None = None
    offset: int | None = None
    grid: Grid | None = None

    def mask(self) -> Mask:
        """What hides padding and other documents from each other."""
        mask = Mask() if self.valid is None else Mask.padding(self.valid)
        return mask if self.documents is None else mask & Mask.documents(self.documents)

    def blank(self, x: Tensor) -> Tensor:
        """batch position state with zeros at padding: hidden there, a NaN would still reach the row as 0 x NaN."""
        return x if self.valid is None else x.masked_fill(~self.valid[..., None], 0)

    def last(self) -> Tensor:
        """The place of each row's last real token in the tensor: int64, batch|1."""
        return self.positions.argmax(-1)


class Frame:
    """Where the tokens of a forward stand, for taps on values with a position axis: int64, batch|1 position."""

    def __init__(self, positions: Tensor | None = None) -> None:
        self.positions = positions


def rows_of(
    shape: tuple[int, int],
    device: torch.device,
    *,
    valid: Tensor | None = None,
    lengths: Tensor | None = None,
    documents: Tensor | None = None,
) -> Rows:
    """Rows of tokens (batch position) from a mask, lengths or document ids; at most one of them.

    valid: bool, batch position, True = a real token · lengths: int, batch · documents: int, batch position, a run of
    equal ids is one document, a negative id is padding; positions begin again in each document.

    Raises:
        DataError: more than one of them, or a wrong shape, type or length.
    """
    given = [
        name for name, value in (("valid", valid), ("lengths", lengths), ("documents", documents)) if value is not None
    ]
    if len(given) > 1:
        raise DataError(f"{' and '.join(given)} say the same thing", do="give one of them")
    batch, length = shape
    if lengths is not None:
        valid = _from_lengths(torch.as_tensor(lengths, device=device), batch, length)
    if valid is not None:
        return _padded(_checked(torch.as_tensor(valid, device=device), shape))
    if documents is not None:
        return _packed(torch.as_tensor(documents, device=device), shape)
    return plain_rows(0, length, device)


def plain_rows(offset: int, length: int, device: torch.device) -> Rows:
    """Rows without padding, ``offset`` tokens into their sequences."""
    positions = torch.arange(offset, offset + length, device=device)[None]
    return Rows(positions, torch.full((1,), offset + length, device=device), offset=offset)


def positions_of(valid: Tensor) -> Tensor:
    """The positions of real tokens, -1 at padding: int64, batch position."""
    return torch.where(valid, valid.long().cumsum(-1) - 1, -1)


def _from_lengths(lengths: Tensor, batch: int, length: int) -> Tensor:
    if lengths.shape != (batch,) or lengths.dtype.is_floating_point or lengths.dtype is torch.bool:
        raise DataError("lengths", got=f"{lengths.dtype} {tuple(lengths.shape)}", expected=f"int ({batch},)")
    if lengths.device.type == "cpu" and not bool(((lengths > 0) & (lengths <= length)).all()):
        raise DataError("lengths", got=lengths.tolist(), expected=f"1 … {length}")
    return torch.arange(length, device=lengths.device) < lengths[:, None]


def _checked(valid: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(valid.shape) != shape or valid.dtype is not torch.bool:
        got, expected = f"{valid.dtype} {tuple(valid.shape)}", f"torch.bool {shape}"
        raise DataError("valid", got=got, expected=expected, do="True stands for a real token")
    return valid


def _padded(valid: Tensor) -> Rows:
    if valid.device.type == "cpu":
        if bool(valid.all()):
            return plain_rows(0, valid.shape[1], valid.device)
        starts = valid[:, 1:] & ~valid[:, :-1]
        if bool((starts.sum(-1) + valid[:, 0] > 1).any()):
            raise DataError("valid", got="padding between real tokens", expected="padding at the ends of a row")
    return Rows(positions_of(valid), valid.sum(-1), valid=valid)


def _packed(documents: Tensor, shape: tuple[int, int]) -> Rows:
    if tuple(documents.shape) != shape or documents.dtype.is_floating_point or documents.dtype is torch.bool:
        raise DataError("documents", got=f"{documents.dtype} {tuple(documents.shape)}", expected=f"int {shape}")
    places = torch.arange(shape[1], device=documents.device).expand(shape)
    starts = torch.ones(shape, dtype=torch.bool, device=documents.device)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    first = torch.where(starts, places, 0).cummax(-1).values
    valid = documents >= 0
    runs = torch.where(valid, starts.long().cumsum(-1), -1)
    positions = torch.where(valid, places - first, -1)
    return Rows(positions, positions.amax(-1) + 1, valid=valid, documents=runs)
