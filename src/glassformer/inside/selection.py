"""Which part of a value a read or an edit is about: ``head=3``, ``query=-1``, ``position=slice(2, None)``.

Indices on sequence axes are positions of the row, the same with padding on either side and through a cache; negative
ones count from the row's newest token. All numbers are tensors: another head or position is another input of the same
compiled graph.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from glassformer.core import axes as axis_words
from glassformer.core.errors import EditError
from glassformer.parts.mask import Places
from glassformer.parts.rows import Frame

Index = int | slice | Sequence[int] | Tensor

#: Further than any row reaches: the open ends of slices.
FAR = 1 << 40


class Selection:
    """Wanted indices by axis word. ``found`` collects which of them were met: bool, one an index."""

    def __init__(self, wanted: Mapping[str, Index], frame: Frame) -> None:
        self.frame = frame
        self.said = dict(wanted)
        self.indices: dict[str, Tensor] = {}
        self.bounds: dict[str, Tensor] = {}
        self.found: dict[str, Tensor] = {}
        for axis, index in wanted.items():
            if axis not in axis_words.WORDS:
                raise EditError(
                    "no such axis", got=repr(axis), expected=f"one of {', '.join(sorted(axis_words.WORDS))}"
                )
            if isinstance(index, slice):
                self.bounds[axis] = _bounds(axis, index)
            else:
                self.indices[axis] = _indices(axis, index)
            self.found[axis] = torch.zeros_like(self.indices.get(axis, torch.zeros(1)), dtype=torch.bool)

    def __bool__(self) -> bool:
        return bool(self.said)

    def hits(self, value: Tensor, axes: str, places: Places | None) -> dict[int, Tensor]:
        """For each selected dimension the entries that are meant: bool, batch|1 size."""
        words = axes.split()
        return {self._dimension(axis, words): self._hit(axis, value, words, places) for axis in self.said}

    def mask(self, value: Tensor, axes: str, places: Places | None) -> Tensor | None:
        """The meant entries of a value, as a bool that broadcasts to it; None where all are meant."""
        together: Tensor | None = None
        for dimension, hit in self.hits(value, axes, places).items():
            shape = [1] * value.ndim
            shape[dimension] = value.shape[dimension]
            if dimension:
                shape[0] = hit.shape[0]
            hit = hit.reshape(shape)
            together = hit if together is None else together & hit
        return together

    def _dimension(self, axis: str, words: list[str]) -> int:
        """The dimension of an axis; a value with one sequence axis answers to ``query`` and to ``position``."""
        if axis in words:
            return words.index(axis)
        other = {"query": "position", "position": "query"}.get(axis, axis)
        if other in words and "key" not in words:
            return words.index(other)
        raise EditError("the value has no such axis", got=repr(axis), expected=f"one of {', '.join(words)}")

    def _hit(self, axis: str, value: Tensor, words: list[str], places: Places | None) -> Tensor:
        positions, count = self._numbered(self._dimension(axis, words), value, words, places)
        hit, found = self._match(axis, positions, count)
        self.found[axis] = self.found[axis].to(found.device) | found
        return hit

    def _numbered(
        self, dimension: int, value: Tensor, words: list[str], places: Places | None
    ) -> tuple[Tensor, Tensor]:
        """The indices of a dimension's entries (int64, batch|1 size) and how many a row has (int64, batch|1 1)."""
        if words[dimension] in axis_words.SEQUENCE:
            return self.positions(words[dimension], words, places), self.count(words[dimension], words, places)
        size = value.shape[dimension]
        return torch.arange(size, device=value.device)[None], torch.full((1, 1), size, device=value.device)

    def _match(self, axis: str, positions: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Entries that are meant (bool, batch|1 size) and which wanted indices they meet."""
        if axis in self.indices:
            equal = meets(self.indices[axis], positions, count)
            return equal.any(1), equal.any(-1).any(0)
        bounds = self.bounds[axis].to(positions.device)
        start, stop = (torch.where(bound < 0, bound + count, bound) for bound in bounds[:2])
        inside = (
            (positions >= start.clamp(min=0)) & (positions < stop) & ((positions - start.clamp(min=0)) % bounds[2] == 0)
        )
        return inside, inside.any()[None]

    def take(self, value: Tensor, axes: str, places: Places | None) -> Tensor:
        """The meant entries of a value, in the order in which they were said; all axes are kept.

        Raises:
            EditError: a slice that means unequal numbers of entries in the rows.
        """
        words = axes.split()
        for axis in self.said:
            dimension = self._dimension(axis, words)
            positions, count = self._numbered(dimension, value, words, places)
            if axis in self.indices:
                index, self.found[axis] = stacked(self.indices[axis], positions, count)
            else:
                inside, self.found[axis] = self._match(axis, positions, count)
                index = _rectangle(inside, axis)
            value = _gathered(value, index, dimension)
        return value

    def positions(self, word: str, words: list[str], places: Places | None) -> Tensor:
        """Where the entries of a sequence axis stand in their rows: int64, batch|1 size."""
        if places is not None and word in ("query", "key"):
            if word == "query":
                return places.query
            return places.key if "query" in words else places.new_key
        if self.frame.positions is None:
            raise EditError("positions are not known here", got=f"axis {word!r}", do="leave the selection out")
        return self.frame.positions

    def count(self, word: str, words: list[str], places: Places | None) -> Tensor:
        """How many tokens of each row there are up to the newest one: int64, batch|1 1."""
        newest = places.new_key if places is not None and word == "key" else self.positions(word, words, places)
        return newest.amax(-1, keepdim=True) + 1

    def missed(self) -> list[str]:
        """Selected axes with an index that no forward met, for the error of a trace."""
        return [f"{axis}={self.said[axis]}" for axis, found in self.found.items() if not bool(found.all())]

    def to_json(self) -> dict[str, Any]:
        """``{"head": [3], "query": {"start": 2, "stop": null, "step": 1}}``."""
        return {axis: _say(index) for axis, index in self.said.items()}


def meets(indices: Tensor, positions: Tensor, count: Tensor) -> Tensor:
    """Which entries each index (int64, index) means: bool, batch|1 index size; padding, at -1, is never meant."""
    wanted = indices.to(positions.device)[None]
    wanted = torch.where(wanted < 0, wanted + count, wanted)[:, :, None]
    return (positions[:, None, :] == wanted) & (wanted >= 0)


def stacked(indices: Tensor, positions: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Where each index stands in each row (int64, batch|1 index) and which are in every row (bool, index)."""
    equal = meets(indices, positions, count)
    return equal.long().argmax(-1), equal.any(-1).all(0)


def _rectangle(inside: Tensor, axis: str) -> Tensor:
    """The places that are meant (bool, batch|1 size) as int64, batch|1 place; rows must agree on how many."""
    counts = inside.sum(-1)
    if not bool((counts == counts[0]).all()):
        raise EditError("rows have unequal numbers of the selected positions", at=axis, got=counts.tolist())
    return inside.nonzero()[:, 1].reshape(inside.shape[0], -1)


def _gathered(value: Tensor, index: Tensor, dimension: int) -> Tensor:
    """Entries of one dimension by place: int64, batch|1 place."""
    if index.shape[0] == 1:
        return value.index_select(dimension, index[0])
    shape = [1] * value.ndim
    shape[0], shape[dimension] = index.shape
    index = index.reshape(shape).expand(*(index.shape[1] if d == dimension else n for d, n in enumerate(value.shape)))
    return value.gather(dimension, index)


def from_json(data: Any) -> dict[str, Index]:
    """The indices that ``Selection.to_json`` wrote.

    Raises:
        EditError: neither a list of whole numbers nor a slice.
    """
    if not isinstance(data, dict):
        raise EditError("a selection", got=reprlib.repr(data), expected="an object of axes and their indices")
    return {axis: _hear(axis, index) for axis, index in data.items()}


def _say(index: Index) -> Any:
    if isinstance(index, slice):
        return {"start": index.start, "stop": index.stop, "step": index.step}
    return index if isinstance(index, int) else torch.as_tensor(index).reshape(-1).tolist()


def _hear(axis: str, index: Any) -> Index:
    if isinstance(index, dict) and set(index) == {"start", "stop", "step"}:
        if all(bound is None or type(bound) is int for bound in index.values()):
            return slice(index["start"], index["stop"], index["step"])
    elif type(index) is int or (isinstance(index, list) and index and all(type(one) is int for one in index)):
        return index
    raise EditError(
        "a selection", at=axis, got=reprlib.repr(index), expected="a number, a list of numbers or start/stop/step"
    )


def _indices(axis: str, index: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(index)
    except (TypeError, ValueError, RuntimeError) as error:  # torch's ways to say that these are no numbers
        raise EditError("a selection", at=axis, got=reprlib.repr(index), expected="whole numbers or a slice") from error
    if tensor.dtype.is_floating_point or tensor.dtype is torch.bool or tensor.ndim > 1 or not tensor.numel():
        raise EditError("a selection", at=axis, got=reprlib.repr(index), expected="whole numbers or a slice")
    return tensor.reshape(-1).long()


def _bounds(axis: str, index: slice) -> Tensor:
    start, stop, step = index.start or 0, FAR if index.stop is None else index.stop, index.step or 1
    if step < 1:
        raise EditError("a slice", at=axis, got=f"step {step}", expected="at least 1")
    return torch.tensor([start, stop, step])
