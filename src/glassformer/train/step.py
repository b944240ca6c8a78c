"""One step of learning: a batch moves the weights, or, if its loss or gradient is odd, moves nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch
from glassformer.data.order import mix
from glassformer.train.balance import settle
from glassformer.train.objective import ObjectiveConfig
from glassformer.train.optimizers import Optimizers
from glassformer.train.parallel import ALONE, Group
from glassformer.train.spikes import Recent
from glassformer.train.state import Machine


@dataclass(frozen=True)
class Outcome:
    """What a step found.

    Args:
        loss: Mean over the batch.
        norm: Norm of the gradient, before it was clipped.
        weight: What the sum of the losses was divided by.
        is_taken: Whether the weights were moved.
    """

    loss: float
    norm: float
    weight: int
    is_taken: bool


def check_whole(objective: ObjectiveConfig, group: Group) -> None:
    """Refuse several processes where a batch cannot be divided.

    Raises:
        UnsupportedError: The loss of a row hangs on the other rows.
    """
    if objective.COUPLED and group.size > 1:
        what = f"{type(objective).__name__} computes a batch whole"
        raise UnsupportedError(what, got=f"{group.size} processes", expected="one")


@dataclass(frozen=True)
class Learner:
    """What stays the same from step to step."""

    model: nn.Module
    objective: ObjectiveConfig
    optimizers: Optimizers
    machine: Machine
    clip: float | None
    seed: int
    group: Group = ALONE
    sigmas: float | None = None

    def __post_init__(self) -> None:
        check_whole(self.objective, self.group)

    def step(
        self, batch: Batch, *, number: int, micro_rows: int, factor: float, recent: Recent | None = None
    ) -> Outcome:
        """Take one step.

        Args:
            batch: All of it, in every process; the loss is the mean over the whole, however it is cut.
            number: Of the step; with the seed it decides what dropout drops.
            micro_rows: Rows that are computed at once.
            factor: Share of the full learning rate.
            recent: The steps before, by which an odd one is known; finite is enough when left out.
        """
        weight = self.objective.weight(batch)
        if weight == 0:
            return Outcome(math.nan, 0.0, 0, False)
        loss = self._backward(self.group.rows(batch), weight, number, micro_rows)
        self.group.sum_gradients(self.model.parameters())
        norm = self._clip()
        before = recent or Recent()
        is_good = before.accepts(loss, norm, self.sigmas)
        if is_good:
            before.add(loss, norm)
            self.optimizers.set_factor(factor)
            self.optimizers.step()
        settle(self.model, is_taken=is_good, total=self.group.total)
        self.optimizers.zero_grad()
        return Outcome(loss, norm, weight, is_good)

    def _backward(self, batch: Batch, weight: int, number: int, micro_rows: int) -> float:
        self.model.train()
        total = torch.zeros((), device=batch.tokens.device)
        micro_rows = len(batch) if self.objective.COUPLED else micro_rows
        for turn, micro in enumerate(batch.cut(micro_rows) if len(batch) else ()):
            torch.manual_seed(mix(self.seed, number, turn * self.group.size + self.group.rank) >> 1)
            with self.machine.precision():
                loss, _ = self.objective.loss_sum(self.model, micro)
            (loss / weight).backward()
            total += loss.detach()
        return self.group.total(total).item() / weight

    def _clip(self) -> float:
        weights = [weight for weight in self.model.parameters() if weight.grad is not None]
        norm: Tensor = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        if self.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(weights, self.clip, norm)
        return norm.item()
