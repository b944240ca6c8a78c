"""Learning rates over a training: pure functions of the step, so that a resumed run needs no other state.

``factor(step, steps, warmup)`` is the share of the full rate at ``step``, counted from 0, of ``steps``. It rises
linearly over ``warmup`` steps and then follows the shape of the schedule over the rest; the schedules that have no end
say it by the number of the step alone.
"""

from __future__ import annotations

import math

from glassformer.core.config import Config

#: Steps after which an inverse square root without a warm-up begins to fall, as in transformers.
_TIMESCALE = 10_000


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


class PolynomialConfig(ScheduleConfig):
    """``final + (1 - final) (1 - progress)^power`` of the full rate."""

    power: float = 1.0
    final: float = 0.0

    def check(self) -> None:
        self.require(self.power > 0, "power", "above 0")
        self.require(0 <= self.final <= 1, "final", "0 to 1")

    def shape(self, progress: float) -> float:
        return float(self.final + (1 - self.final) * (1 - progress) ** self.power)


class CosineRestartsConfig(ScheduleConfig):
    """Half cosines down to ``final`` of the full rate, each ``growth`` times as long as the one before.

    Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983.
    """

    cycles: int = 4
    growth: float = 1.0
    final: float = 0.0

    def check(self) -> None:
        self.require(1 <= self.cycles <= 1000, "cycles", "1 to 1000")
        self.require(1 <= self.growth <= 10, "growth", "1 to 10")
        self.require(0 <= self.final <= 1, "final", "0 to 1")

    def shape(self, progress: float) -> float:
        if progress >= 1:
            return self.final
        lengths = [self.growth**cycle for cycle in range(self.cycles)]
        place = progress * sum(lengths)
        for length in lengths:
            if place < length:
                break
            place -= length
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(place / length, 1.0))) / 2


class InverseSqrtConfig(ScheduleConfig):
    """``sqrt(timescale / (timescale + steps since the warm-up))`` of the full rate; it has no end.

    timescale: None = the steps of the warm-up, and 10,000 where there is none · level: the warm-up is at the full rate,
    which is T5's ``1 / sqrt(max(step, warmup))`` (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.1.2).
    """

    timescale: float | None = None
    level: bool = False

    def check(self) -> None:
        self.require(self.timescale is None or self.timescale > 0, "timescale", "above 0")

    def factor(self, step: float, steps: float, warmup: float) -> float:
        done = step + 1 if self.level else step  # T5 counts the step that is being taken
        if done <= warmup:
            return 1.0 if self.level else super().factor(step, steps, warmup)
        timescale = self.timescale or warmup or _TIMESCALE
        return math.sqrt(timescale / (timescale + done - warmup))

    def shape(self, progress: float) -> float:
        return 1.0


class NoamConfig(ScheduleConfig):
    """``min(step^-0.5, step warmup^-1.5)`` as a share of its peak, which is at the last step of the warm-up.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 3, whose peak is ``(d_model warmup)^-0.5``.
    """

    def factor(self, step: float, steps: float, warmup: float) -> float:
        number, peak = step + 1, max(warmup, 1.0)
        return min(number / peak, math.sqrt(peak / number))


#: The schedules by the word that the command line knows them by.
SCHEDULES: dict[str, type[ScheduleConfig]] = {
    "cosine": CosineConfig,
    "wsd": WSDConfig,
    "linear": LinearConfig,
    "constant": ConstantConfig,
    "inverse-sqrt": InverseSqrtConfig,
    "noam": NoamConfig,
    "polynomial": PolynomialConfig,
    "cosine-restarts": CosineRestartsConfig,
}
