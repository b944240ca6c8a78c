"""What a run needs to go on beside weights and optimizer, and on what machine it computes."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch

from glassformer.core.errors import ConfigError
from glassformer.core.terminal import Progress
from glassformer.data.sampling import Cursor
from glassformer.parts.recompute import Recompute


@dataclass
class State:
    """Counters of a run.

    Args:
        cursor: Place in the data.
        step: Steps that are done, skipped ones included.
        tokens: Tokens that were predicted.
        skipped: Steps that were skipped.
        skipped_in_row: Of these, how many at the end.
        seconds: Time in the training loop.
        rewinds: How often the run went back to a checkpoint.
        best_loss: Lowest validation loss so far.
        stale: Measurements since then.
        losses: Of the last steps that were taken.
        norms: Norms of their gradients.
    """

    cursor: Cursor
    step: int = 0
    tokens: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    seconds: float = 0.0
    rewinds: int = 0
    best_loss: float | None = None
    stale: int = 0
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"cursor": list(self.cursor)}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> State:
        """What ``to_json`` wrote, possibly among other facts."""
        known = {one.name: said[one.name] for one in fields(cls) if one.name in said}
        return cls(**{**known, "cursor": tuple(said["cursor"])})


@dataclass(frozen=True)
class Machine:
    """Where and how a run computes; no part of what it computes.

    Args:
        device: As torch writes it.
        dtype: ``float32``, or ``bfloat16`` for mixed precision with float32 weights.
        compile: Compile each block.
        recompute: What the backward pass computes again instead of keeping it.
    """

    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    recompute: Recompute | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError("dtype of a training", got=self.dtype, expected="float32 or bfloat16")

    def precision(self) -> AbstractContextManager[Any]:
        """The context in which a model is called."""
        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)


def surroundings() -> dict[str, Any]:
    """On what else the bits of a run depend."""
    return {"threads": torch.get_num_threads(), "torch": torch.__version__, "processor": platform.machine()}


def say_what_differs(facts: Mapping[str, Any], progress: Progress) -> None:
    """Note what changed since a checkpoint was written, where it may change the bits."""
    for name, now in surroundings().items():
        if facts.get(name) != now:
            progress.note(f"{name} was {facts.get(name)} and is {now}: the last bits may differ from an unbroken run")
