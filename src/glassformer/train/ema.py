"""Moving averages of weights, which often do better than the weights of any one step.

average <- rate · average + (1 - rate) · weight        after each step    (Polyak and Juditsky 1992)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from glassformer.core.errors import CheckpointError


class Averages:
    """Averages of named parameters; they begin as the parameters are.

    Args:
        weights: Name → parameter; it is read at each update.
        rate: Share of the average that stays at an update, 0 to below 1.
    """

    def __init__(self, weights: Mapping[str, Tensor], rate: float) -> None:
        self._weights = {name: weight.detach() for name, weight in weights.items()}
        self._averages = {name: weight.clone() for name, weight in self._weights.items()}
        self.rate = rate

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of now in."""
        averages, weights = list(self._averages.values()), list(self._weights.values())
        torch._foreach_lerp_(averages, weights, 1 - self.rate)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """A block in which the model has the averages; afterwards it has its weights again, bit for bit."""
        kept = {name: weight.clone() for name, weight in self._weights.items()}
        self._fill(self._averages)
        try:
            yield
        finally:
            self._fill(kept)

    def state(self) -> dict[str, Tensor]:
        """Name → average."""
        return dict(self._averages)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave.

        Raises:
            CheckpointError: It belongs to other parameters.
        """
        shapes = {name: value.shape for name, value in state.items()}
        mine = {name: value.shape for name, value in self._averages.items()}
        if shapes != mine:
            odd = next(name for name in {**mine, **shapes} if mine.get(name) != shapes.get(name))
            raise CheckpointError("the averages belong to another model", got=odd)
        for name, value in state.items():
            self._averages[name].copy_(value)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])
