"""Steps that go wrong: one whose loss or gradient is not finite, or far above all before it, moves nothing.

Skipping such a step before any moment or weight is touched is enough for most spikes (OLMo 2, 2025, section 3.4); where
several come in a row the run goes back to its last checkpoint and on behind the samples that did it.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

_KEPT = 128
_ENOUGH = 32


@dataclass
class Recent:
    """Loss and gradient norm of the last steps that were taken, oldest first."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)

    def accepts(self, loss: float, norm: float, sigmas: float | None) -> bool:
        """Whether a step may be taken: both are finite, and neither lies far above those of the steps before."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return False
        return sigmas is None or not (_is_far(loss, self.losses, sigmas) or _is_far(norm, self.norms, sigmas))

    def add(self, loss: float, norm: float) -> None:
        """Remember a step that was taken."""
        self.losses = [*self.losses, loss][-_KEPT:]
        self.norms = [*self.norms, norm][-_KEPT:]


def _is_far(value: float, before: list[float], sigmas: float) -> bool:
    """Whether a value lies so many standard deviations above the mean of those before, and twice as high as each.

    Gradients may grow honestly, far beyond their own scatter, but not twofold in a step. Of too few nothing is said.
    """
    if len(before) < _ENOUGH:
        return False
    mean = statistics.fmean(before)
    return value > max(mean + sigmas * statistics.pstdev(before, mean), 2 * max(before))
