"""What a trace puts on a value: one read, or one edit of a closed set.

The numbers of an edit are tensors, never constants of a closure, so a compiled block has one graph for each kind of
edit, whatever the layer, head, position or direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from glassformer.core.axes import SEQUENCE
from glassformer.core.errors import EditError
from glassformer.inside.selection import Selection, stacked
from glassformer.parts.mask import Places
from glassformer.parts.rows import Frame


class Tapped:
    """One thing that happens to a value. ``fired`` says whether it ever did."""

    changes = False

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.fired = False

    def __call__(self, value: Tensor, axes: str, places: Places | None = None) -> Tensor:
        raise AssertionError(f"{type(self).__name__} lacks __call__")

    def each(self) -> Iterator[Tapped]:
        """Itself."""
        yield self

    def missed(self) -> list[str]:
        """Indices that no forward met."""
        return self.selection.missed()


class Chain(Tapped):
    """Several of them on one value, in order."""

    def __init__(self, items: tuple[Tapped, ...]) -> None:
        self.items = items
        self.changes = any(item.changes for item in items)

    def __call__(self, value: Tensor, axes: str, places: Places | None = None) -> Tensor:
        for item in self.items:
            value = item(value, axes, places)
        return value

    def each(self) -> Iterator[Tapped]:
        """The single ones."""
        yield from self.items


class Read(Tapped):
    """Keeps the value of the last forward; values on demand are computed for the selected heads and queries only."""

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.value: Tensor | None = None
        self.axes = ""
        self.places: Places | None = None
        self.positions: Tensor | None = None
        self.asked: tuple[str, ...] = ()  # axes of which the value that comes next is only the selected part
        self.taken: tuple[str, ...] = ()  # axes of which the value that is held is only the selected part

    def __call__(self, value: Tensor, axes: str, places: Places | None = None) -> Tensor:
        self.value, self.axes, self.places, self.fired = value, axes, places, True
        self.positions = self.selection.frame.positions
        self.taken, self.asked = self.asked, ()
        return value

    def heads(self, n_heads: int) -> Tensor | None:
        """The selected heads, for a value that is computed on demand: int64, head."""
        if "head" not in self.selection.indices:
            return None
        indices = self.selection.indices["head"]
        heads = torch.where(indices < 0, indices + n_heads, indices)
        self.selection.found["head"] = (heads >= 0) & (heads < n_heads)
        self.asked = (*self.asked, "head")
        return heads.clamp(0, n_heads - 1)

    def rows(self, places: Places) -> Tensor | None:
        """Where the selected queries stand in the tensor: int64, batch row."""
        if "query" not in self.selection.indices:
            return None
        count = places.query.amax(-1, keepdim=True) + 1
        index, self.selection.found["query"] = stacked(self.selection.indices["query"], places.query, count)
        self.asked = (*self.asked, "query")
        return index

    def result(self) -> Tensor:
        """The selected part of the value, its axes kept; ``missed`` then says which indices some row lacks."""
        assert self.value is not None
        wanted = {axis: index for axis, index in self.selection.said.items() if axis not in self.taken}
        selection = Selection(wanted, Frame(self.positions))
        value = selection.take(self.value, self.axes, self.places)
        self.selection.found.update(selection.found)
        return value


class Edit(Tapped):
    """Changes the selected entries of a value; ``numbers`` are its tensors by name."""

    changes = True

    def __init__(self, selection: Selection, numbers: dict[str, Tensor]) -> None:
        super().__init__(selection)
        self.numbers = numbers

    def __call__(self, value: Tensor, axes: str, places: Places | None = None) -> Tensor:
        self.fired = True
        mask = self.selection.mask(value, axes, places)
        changed = self.change(value, mask, axes, places)
        return changed if mask is None else torch.where(mask, changed, value)

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        """The new value at every entry; the selection decides which are taken."""
        raise AssertionError(f"{type(self).__name__} lacks change")

    def number(self, name: str, value: Tensor) -> Tensor:
        """A number of this edit, of the value's type, that broadcasts to it."""
        number = self.numbers[name].to(device=value.device, dtype=value.dtype)
        sizes = value.shape[value.ndim - number.ndim :]
        if number.ndim > value.ndim or any(
            mine not in (1, size) for mine, size in zip(number.shape, sizes, strict=True)
        ):
            got, expected = tuple(number.shape), f"a shape that broadcasts to {tuple(value.shape)}"
            raise EditError(
                f"{type(self).__name__.lower()}: the {name} does not fit the value", got=got, expected=expected
            )
        return number


class Zero(Edit):
    """0."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        return torch.zeros_like(value)


class Set(Edit):
    """The given value: a number, a vector, or a whole value of another run (patch, freeze)."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        return self.number("value", value).expand_as(value)


class Scale(Edit):
    """value · factor."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        return value * self.number("factor", value)


class Add(Edit):
    """value + delta, for instance a direction to steer along."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        return value + self.number("value", value)


class Mean(Edit):
    """The mean over the batch and the real positions of this forward."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        words = axes.split()
        sequence = [word for word in words if word in SEQUENCE][:1]  # of a pattern the queries, not the keys they see
        over = [d for d, word in enumerate(words) if word in ("batch", *sequence)]
        wide = torch.promote_types(value.dtype, torch.float32)
        weights = torch.ones((1,) * value.ndim, dtype=wide, device=value.device).expand(
            *(size if d in over else 1 for d, size in enumerate(value.shape))
        )
        for dimension in over[1:]:
            real = self.selection.positions(words[dimension], words, places) >= 0
            shape = [1] * value.ndim
            shape[0], shape[dimension] = real.shape
            weights = weights * real.reshape(shape)
        mean = (value * weights).sum(over, keepdim=True) / weights.sum(over, keepdim=True)
        return mean.to(value.dtype).expand_as(value)


class Project(Edit):
    """Takes out what lies along a direction: v - (v·d) d / |d|²; with keep = 1, leaves only that."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        direction = self.number("direction", value)
        along = (value * direction).sum(-1, keepdim=True) / direction.square().sum(-1, keepdim=True) * direction
        keep = self.number("keep", value)
        return keep * along + (1 - keep) * (value - along)


class Clamp(Edit):
    """min(max(value, low), high)."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        return torch.minimum(torch.maximum(value, self.number("low", value)), self.number("high", value))


class Swap(Edit):
    """Entries ``first`` and ``second`` of the axis that is named in ``axis`` change places."""

    def __init__(self, selection: Selection, numbers: dict[str, Tensor], axis: str) -> None:
        super().__init__(selection, numbers)
        self.one = Selection({axis: int(numbers["first"])}, selection.frame)
        self.two = Selection({axis: int(numbers["second"])}, selection.frame)

    def missed(self) -> list[str]:
        """Indices that no forward met, those of the pair too."""
        return self.selection.missed() + self.one.missed() + self.two.missed()

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        ((dimension, one),) = self.one.hits(value, axes, places).items()
        ((_, two),) = self.two.hits(value, axes, places).items()
        both = one.any(-1, keepdim=True) & two.any(-1, keepdim=True)  # a row that lacks one of them stays as it is
        first, second = (hit.long().argmax(-1, keepdim=True) for hit in (one, two))
        place = torch.arange(value.shape[dimension], device=value.device)[None]
        index = torch.where(place == first, second, torch.where(place == second, first, place))
        index = torch.where(both, index, place)
        shape = [1] * value.ndim
        shape[0], shape[dimension] = (1 if dimension == 0 else index.shape[0]), value.shape[dimension]
        return value.gather(dimension, index.reshape(shape).expand_as(value))


class Noise(Edit):
    """value + std · gauss, the same numbers for the same seed and place in a row, in eager and compiled code alike."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        words = axes.split()
        place = torch.zeros((1,) * value.ndim, dtype=torch.int64, device=value.device)
        for dimension, word in enumerate(words[1:], 1):
            at = torch.arange(value.shape[dimension], device=value.device)[None]
            at = self.selection.positions(word, words, places) if word in SEQUENCE else at
            shape = [1] * value.ndim
            shape[0], shape[dimension] = at.shape
            place = place * 1_000_003 + at.reshape(shape)
        place = place.expand(*(1 if d == 0 and place.shape[0] == 1 else n for d, n in enumerate(value.shape)))
        seed = self.numbers["seed"].to(value.device).long()
        radius = (-2 * _uniform(place, seed).log()).sqrt()
        gauss = radius * (2 * torch.pi * _uniform(place, seed + 1)).cos()
        return value + self.number("std", value) * gauss.to(value.dtype)


def _uniform(place: Tensor, seed: Tensor) -> Tensor:
    """A number in (0, 1] from each whole number, by a multiply-xorshift hash; float32."""
    state = place * 0x2545F4914F6CDD1D + seed * 0x1B873593
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        state = (state ^ ((state >> shift) & ((1 << (64 - shift)) - 1))) * factor
    state = (state ^ ((state >> 31) & 0x1FFFFFFFF)) & 0xFFFFFF
    return (state.float() + 1) / (1 << 24)


class Cut(Edit):
    """On a pattern: the selected edges are cut and each row is made to sum to 1 again over what is left."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        return torch.zeros_like(value)

    def __call__(self, value: Tensor, axes: str, places: Places | None = None) -> Tensor:
        rest = super().__call__(value, axes, places)
        touched = (rest != value).any(-1, keepdim=True)
        return torch.where(touched, rest / rest.sum(-1, keepdim=True).clamp(min=1e-30), rest)


class Temper(Edit):
    """On a pattern: each row to the power 1 / temperature, then made to sum to 1; below 1 it sharpens."""

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        top = value.amax(-1, keepdim=True).clamp(min=1e-30)
        seen = value > 0  # a power below 1 has no gradient at 0
        powered = torch.where(
            seen, (torch.where(seen, value, top) / top).pow(1 / self.number("temperature", value)), 0.0
        )
        return powered / powered.sum(-1, keepdim=True).clamp(min=1e-30)


class Route(Edit):
    """On what experts are chosen by: with ``force`` the selected ones are taken before all others, else never.

    The weights of those that are taken stay what their scores say.
    """

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        far = torch.full_like(value, torch.inf)
        return torch.where(self.number("force", value) > 0, far, -far)


class Keep(Tapped):
    """Remembers the input of a block for ``Skip``."""

    def __init__(self, selection: Selection) -> None:
        super().__init__(selection)
        self.value: Tensor | None = None

    def __call__(self, value: Tensor, axes: str, places: Places | None = None) -> Tensor:
        self.value, self.fired = value, True
        return value


class Skip(Edit):
    """The output of a block becomes its input."""

    def __init__(self, selection: Selection, kept: Keep) -> None:
        super().__init__(selection, {})
        self.kept = kept

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        assert self.kept.value is not None
        return self.kept.value


class Gradient(Edit):
    """Adds a zero that requires grad: its gradient is the gradient at the value."""

    def __init__(self, selection: Selection, delta: Tensor | None = None) -> None:
        super().__init__(selection, {})
        self.delta = delta

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        if self.delta is None or (self.delta.shape != value.shape and not torch.compiler.is_compiling()):
            self.delta = torch.zeros_like(value, requires_grad=True)
        return value + self.delta.view_as(value)


class Call(Edit):
    """Any Python function of the value; its block runs eagerly."""

    def __init__(self, selection: Selection, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__(selection, {})
        self.function = function

    def change(self, value: Tensor, mask: Tensor | None, axes: str, places: Places | None) -> Tensor:
        changed = self.function(value)
        if not isinstance(changed, Tensor) or changed.shape != value.shape:
            got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise EditError(
                "call: the function must return a value of the same shape", got=got, expected=tuple(value.shape)
            )
        return changed
