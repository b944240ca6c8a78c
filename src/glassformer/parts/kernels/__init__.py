"""Ways of computing attention, one a file; each says what it supports, and ``choose`` takes the first that does.

A kernel module holds ``RANK`` (lower is tried first), ``refuses(mask, places, needs)`` (the reason, or an empty string)
and ``prepare(mask, places)``, which lowers the mask once per forward and returns what attends:

    heads = attend(query, key, value, scale=0.125, soft_cap=None, sinks=None, dropout=0.0)

query: batch head query head_dim · key, value: batch kv_head key head_dim · heads: batch head query head_dim · sinks:
head, a score that takes its share of each row and gives nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Protocol

from torch import Tensor

from glassformer.core.discovery import load_all
from glassformer.core.errors import UnsupportedError
from glassformer.parts.mask import Mask, Places


class Attend(Protocol):
    """Attention with its mask already lowered."""

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, soft_cap: float | None = None,
        sinks: Tensor | None = None, dropout: float = 0.0,
    ) -> Tensor: ...  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """What an attention asks of its kernel besides the mask."""

    soft_cap: bool = False
    compiled: bool = False


@cache
def kernels() -> tuple[ModuleType, ...]:
    """Every kernel, the one to try first in front."""
    return tuple(sorted(load_all("parts.kernels"), key=lambda kernel: int(kernel.RANK)))


def choose(mask: Mask, places: Places, needs: Needs) -> Attend:
    """The first kernel that supports the mask and the needs, with the mask lowered; raises as ``kernel_for``."""
    attend: Attend = kernel_for(mask, places, needs).prepare(mask, places)
    return attend


def kernel_for(mask: Mask, places: Places, needs: Needs) -> ModuleType:
    """The first kernel that supports the mask and the needs.

    Raises:
        UnsupportedError: no kernel does; the message has every kernel's reason.
    """
    reasons = []
    for kernel in kernels():
        reason = kernel.refuses(mask, places, needs)
        if not reason:
            return kernel
        reasons.append(f"{kernel.__name__.rpartition('.')[2]}: {reason}")
    raise UnsupportedError("no attention kernel for this mask", got="; ".join(reasons))
