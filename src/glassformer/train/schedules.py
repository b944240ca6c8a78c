"""Learning rates over a training: pure functions of the step, so that a resumed run needs no other state.

``factor(step, steps, warmup)`` is the share of the full rate at ``step``, counted from 0, of ``steps``. It rises
linearly over ``warmup`` steps and then follows the shape of the schedule over the rest.
"""

from __future__ import annotations

import math

from glassformer.core.config import Config


class ScheduleConfig(Config, base=True):
    """Base of the schedules."""

    def factor(self, step: float, steps: float, warmup: float) -> float:
        """Share of the full learning rate at a step."""
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return self.shape(min(1.0, (step - warmup) / max(steps - warmup, 1)))

    def shape(self, progress: float) -> float:
        """Share of the full learning rate when ``progress`` of the steps after the warm-up is done, 0 to 1."""
        raise AssertionError(f"{type(self).__name__} lacks shape")


class ConstantConfig(ScheduleConfig):
    """The full rate to the end."""

    def shape(self, progress: float) -> float:
        return 1.0


class LinearConfig(ScheduleConfig):
    """A straight line down to ``final`` of the full rate."""

    final: float = 0.0

    def check(self) -> None:
        self.require(0 <= self.final <= 1, "final", "0 to 1")

    def shape(self, progress: float) -> float:
        return 1 + (self.final - 1) * progress


class CosineConfig(ScheduleConfig):
    """Half a cosine down to ``final`` of the full rate (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983)."""

    final: float = 0.1

    def check(self) -> None:
        self.require(0 <= self.final <= 1, "final", "0 to 1")

    def shape(self, progress: float) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


class WSDConfig(ScheduleConfig):
    """Warm-up, stable, decay: the full rate, and in the last ``decay`` of the steps a line down to ``final`` of it.

    Hu et al. 2024, https://arxiv.org/abs/2404.06395; any step of the stable phase can be trained on from.
    """

    decay: float = 0.2
    final: float = 0.0

    def check(self) -> None:
        self.require(0 < self.decay <= 1, "decay", "above 0 and at most 1")
        self.require(0 <= self.final <= 1, "final", "0 to 1")

    def shape(self, progress: float) -> float:
        gone = max(0.0, progress - (1 - self.decay)) / self.decay
        return 1 + (self.final - 1) * min(gone, 1.0)


#: The schedules by the word that the command line knows them by.
SCHEDULES: dict[str, type[ScheduleConfig]] = {
    "cosine": CosineConfig,
    "wsd": WSDConfig,
    "linear": LinearConfig,
    "constant": ConstantConfig,
}
