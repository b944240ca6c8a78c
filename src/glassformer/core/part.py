"""``Part``: what every module inherits, so that each of its values has a name.

    query = self.tap("query", query, "batch head query head_dim")

A tap returns its value untouched until a trace puts a tap table on the instance; then the trace's tap of that name
reads or changes it. The address of a value is the module's path plus the name. Idle, it costs one attribute look-up,
and a compiled graph is the one of the tap-free source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn


class Tap(Protocol):
    """What a trace puts on a value: reads and edits in order; ``changes`` says whether one of them edits."""

    changes: bool

    def __call__(self, value: Tensor, axes: str, places: Any = None) -> Tensor:
        """The value, or what the edits make of it; ``places`` says where queries and keys stand in their rows."""
        ...

    def each(self) -> Iterator[Read]:
        """The single reads, for a value that is computed only on demand."""
        ...


class Read(Protocol):
    """A read of a value that is computed only on demand, and how much of it is asked for."""

    def __call__(self, value: Tensor, axes: str, places: Any = None) -> Tensor: ...

    def rows(self, places: Any) -> Tensor | None:
        """Places in the tensor of the queries asked for (int64, batch row), or None for all."""
        ...

    def heads(self, n_heads: int) -> Tensor | None:
        """The heads asked for (int64), or None for all."""
        ...


class Part(nn.Module):
    """Base class of every module here: its named values can be read, changed and differentiated."""

    taps: Mapping[str, Tap] | None = None  # on the class: nothing is stored on an instance until it is traced

    def tap(self, name: str, value: Tensor, axes: str, places: Any = None) -> Tensor:
        """Name a value; returns it, or what an active trace makes of it. ``places``: where queries and keys stand."""
        if self.taps is None:
            return value
        tap = self.taps.get(name)
        return value if tap is None else tap(value, axes, places)

    def wants(self, *names: str) -> bool:
        """True if a trace asks for a value that this part computes only on demand."""
        return self.taps is not None and any(name in self.taps for name in names)

    def edits(self, *names: str) -> bool:
        """True if a trace changes one of these values; a read does not."""
        return self.taps is not None and any(name in self.taps and self.taps[name].changes for name in names)
