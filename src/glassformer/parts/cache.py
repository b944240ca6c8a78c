"""Keys and values of earlier tokens. A cache changes speed, never tokens.

Stores keep keys and values by position, so a row's padding takes no place in them, on whichever side it stood:

    FullStore      every position                          slot = position
    SlidingStore   the last ``window`` positions, a ring   slot = position mod window
    CrossStore     the memory of an encoder, computed once

A store answers ``extend(step, compute)`` with all keys and values that the step's queries may need. One ``Cache`` holds
the stores of all layers and the lengths of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from glassformer.core.errors import UnsupportedError
from glassformer.parts.mask import Places
from glassformer.parts.rows import Rows, plain_rows

KeyValue = tuple[Tensor, Tensor]

#: The position of an empty slot: outside of every window.
NOWHERE = -(1 << 40)


@dataclass(frozen=True)
class Step:
    """The new tokens of a forward, and ``longest``, an upper bound of the row lengths after it."""

    rows: Rows
    longest: int


class Store(Protocol):
    """The keys and values of one attention."""

    def extend(self, step: Step, compute: Callable[[], KeyValue]) -> KeyValue: ...

    def reorder(self, rows: Tensor) -> None: ...


def _write(buffer: Tensor, slots: Tensor, new: Tensor) -> None:
    """Put new (batch kv_head key head_dim) into the slots (int64, batch key) of a buffer."""
    buffer.scatter_(2, slots[:, None, :, None].expand(new.shape[0], new.shape[1], -1, new.shape[3]), new)


class FullStore:
    """Every position, in a buffer of ``max_positions`` slots and one that takes the padding."""

    def __init__(self, max_positions: int) -> None:
        self.max_positions = max_positions
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def places(self, step: Step) -> Places:
        """Where the step's queries and the stored keys stand."""
        query = step.rows.positions
        key = torch.arange(step.longest, device=query.device)[None]
        return Places(query=query, key=key, new_key=query, offset=step.rows.offset)

    def extend(self, step: Step, compute: Callable[[], KeyValue]) -> KeyValue:
        key, value = compute()
        if self.key is None or self.value is None:
            self.key, self.value = (self._empty(new) for new in (key, value))
        offset, length = step.rows.offset, key.shape[2]
        for buffer, new in ((self.key, key), (self.value, value)):
            if offset is not None:
                buffer[:, :, offset : offset + length] = new
            else:
                positions = step.rows.positions
                _write(buffer, torch.where(positions < 0, self.max_positions, positions), new)
        return self.key[:, :, : step.longest], self.value[:, :, : step.longest]

    def _empty(self, new: Tensor) -> Tensor:
        batch, heads, _, width = new.shape
        return new.new_zeros(batch, heads, self.max_positions + 1, width)

    def reorder(self, rows: Tensor, used: int | None = None) -> None:
        """Row i becomes what row ``rows[i]`` was: int64, batch · used: slots that hold anything, None = all."""
        if self.key is not None and self.value is not None:
            self.key, self.value = (self._taken(buffer, rows, used) for buffer in (self.key, self.value))

    def branch(self, rows: Tensor, parents: Tensor, first: int, last: int) -> None:
        """Give some rows what other rows hold at the positions first … last - 1: int64, row, both."""
        for buffer in (self.key, self.value):
            if buffer is not None:
                part = buffer[:, :, first:last]
                part.index_copy_(0, rows, part.index_select(0, parents))

    def _taken(self, buffer: Tensor, rows: Tensor, used: int | None) -> Tensor:
        taken = buffer.new_zeros(len(rows), *buffer.shape[1:])
        taken[:, :, :used] = buffer[:, :, :used].index_select(0, rows)
        return taken


class Ring:
    """Which position each slot of the sliding stores of one window holds: int64, batch window."""

    def __init__(self, batch: int, window: int, device: torch.device) -> None:
        self.window = window
        self.held = torch.full((batch, window), NOWHERE, device=device)
        self.slots = torch.empty(0)

    def places(self, step: Step) -> Places:
        """Where the step's queries stand and the keys they see; keeps the slots that the step writes."""
        query = step.rows.positions.expand(self.held.shape[0], -1)
        new, before = torch.where(query < 0, NOWHERE, query), self.held
        latest = new.amax(-1, keepdim=True)
        kept = (new >= 0) & (new > latest - self.window)
        self.slots = torch.where(kept, new % self.window, self.window)
        self.held = torch.cat((before, before[:, :1]), 1).scatter(1, self.slots, new)[:, : self.window]
        single = query.shape[1] == 1
        return Places(query=query, key=self.held if single else torch.cat((before, new), 1), new_key=query)

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row ``rows[i]`` was."""
        self.held = self.held.index_select(0, rows)


class SlidingStore:
    """The last ``window`` positions, in a ring of as many slots and one that takes the padding."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def extend(self, step: Step, compute: Callable[[], KeyValue]) -> KeyValue:
        key, value = compute()
        if self.key is None or self.value is None:
            self.key, self.value = (self._empty(new) for new in (key, value))
        window = self.ring.window
        seen = [torch.cat((self.key[:, :, :window], key), 2), torch.cat((self.value[:, :, :window], value), 2)]
        for buffer, new in ((self.key, key), (self.value, value)):
            _write(buffer, self.ring.slots, new)
        if key.shape[2] == 1:
            return self.key[:, :, :window], self.value[:, :, :window]
        return seen[0], seen[1]

    def _empty(self, new: Tensor) -> Tensor:
        batch, heads, _, width = new.shape
        return new.new_zeros(batch, heads, self.ring.window + 1, width)

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row ``rows[i]`` was: int64, batch."""
        if self.key is not None and self.value is not None:
            self.key, self.value = self.key.index_select(0, rows), self.value.index_select(0, rows)


class CrossStore:
    """The keys and values of a memory: computed by the first step, kept for the others."""

    def __init__(self) -> None:
        self.pair: KeyValue | None = None

    def extend(self, step: Step, compute: Callable[[], KeyValue]) -> KeyValue:
        if self.pair is None:
            self.pair = compute()
        return self.pair

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row ``rows[i]`` was: int64, batch."""
        if self.pair is not None:
            self.pair = (self.pair[0].index_select(0, rows), self.pair[1].index_select(0, rows))


class Cache:
    """The stores of all layers of a decoder and the length of each row.

    windows: of each layer, None for a full one · crosses: whether the layers attend to a memory.

    ``lengths`` is int64, batch. ``memory`` and ``memory_rows`` keep an encoder's output between steps.
    """

    def __init__(
        self, windows: tuple[int | None, ...], crosses: bool, *, batch: int, max_positions: int, device: torch.device
    ) -> None:
        self.max_positions = max_positions
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.offset: int | None = 0
        self.longest = 0
        sizes = [None if window is None or window >= max_positions else window for window in windows]
        self.rings = {size: Ring(batch, size, device) for size in sizes if size is not None}
        self.stores: list[FullStore | SlidingStore] = [
            FullStore(max_positions) if size is None else SlidingStore(self.rings[size]) for size in sizes
        ]
        self.cross_stores = [CrossStore() if crosses else None for _ in windows]
        self.memory: Tensor | None = None
        self.memory_rows: Rows | None = None

    def advance(self, rows: Rows, length: int) -> Step:
        """Make room for new rows (as if they began at position 0) of ``length`` tokens each; the step to compute.

        Raises:
            UnsupportedError: packed documents, or more tokens than ``max_positions``.
        """
        if rows.documents is not None:
            raise UnsupportedError("packed documents have no cache", do="give each document a row of its own")
        plain = self.offset is not None and rows.valid is None
        self.longest += length
        before = self.lengths
        self.lengths = before + (length if rows.valid is None else rows.lengths)
        if self.longest > self.max_positions:
            self.longest = int(self.lengths.amax())
        if self.longest > self.max_positions:
            self.lengths, self.longest = before, int(before.amax())
            got = f"{self.longest + length} tokens"
            raise UnsupportedError("the cache is full", got=got, expected=f"at most {self.max_positions}")
        if plain and self.offset is not None:
            step_rows = plain_rows(self.offset, length, before.device)
            self.offset += length
            return Step(step_rows, self.longest)
        self.offset = None
        positions = torch.where(rows.positions < 0, -1, rows.positions + before[:, None])
        return Step(Rows(positions, self.lengths, valid=rows.valid), self.longest)

    def places(self, layer: int, step: Step) -> Places:
        """Where queries and keys of a layer stand; once a step for all layers of the same window."""
        store = self.stores[layer]
        return store.places(step) if isinstance(store, FullStore) else store.ring.places(step)

    def reorder(self, rows: Tensor) -> None:
        """Row i becomes what row ``rows[i]`` was (int64, batch), for beams and forks; the batch may change its size."""
        self.reorder_tokens(rows)
        self.reorder_memory(rows)

    def reorder_tokens(self, rows: Tensor) -> None:
        """``reorder`` for all but the memory, which then is that of other rows."""
        for store in (*self.stores, *self.rings.values()):
            if isinstance(store, FullStore):
                store.reorder(rows, self.longest)
            else:
                store.reorder(rows)
        self.lengths = self.lengths.index_select(0, rows)

    def branch(self, parents: Tensor, shared: int) -> None:
        """``reorder_tokens`` (int64, batch) where the first ``shared`` positions of row i and of its parent are the
        same, and the number of rows stays; what is the same is not touched."""
        rows = (parents != torch.arange(len(parents), device=parents.device)).nonzero()[:, 0]
        moved = parents[rows]
        for store in (*self.stores, *self.rings.values()):
            if isinstance(store, FullStore):
                store.branch(rows, moved, shared, self.longest)
            else:
                store.reorder(parents)
        self.lengths = self.lengths.index_select(0, parents)

    def reorder_memory(self, rows: Tensor) -> None:
        """Row i attends to the memory that row ``rows[i]`` attended to: int64, batch."""
        for store in self.cross_stores:
            if store is not None:
                store.reorder(rows)
        if self.memory is not None:
            self.memory = self.memory.index_select(0, rows)
        if self.memory_rows is not None and self.memory_rows.valid is not None:
            kept = self.memory_rows
            assert kept.valid is not None
            self.memory_rows = Rows(
                kept.positions.index_select(0, rows),
                kept.lengths.index_select(0, rows),
                kept.valid.index_select(0, rows),
            )

    def crop(self, length: int) -> None:
        """Forget all but the first ``length`` tokens of every row.

        Raises:
            UnsupportedError: a sliding window has already overwritten them.
        """
        if self.rings and self.longest > min(ring.window for ring in self.rings.values()):
            raise UnsupportedError(
                "a sliding cache cannot be cropped once its window is full", do="compute the row again"
            )
        self.lengths = self.lengths.clamp(max=length)
        self.longest = min(self.longest, length)
        self.offset = None if self.offset is None else min(self.offset, length)
        for ring in self.rings.values():
            ring.held = torch.where(ring.held >= length, NOWHERE, ring.held)
