"""The processes of a run: each draws the same global batch and computes its own rows; gradients are summed.

Started by torchrun, which says rank and number of processes in the environment. The loss of a step is the sum over the
global batch by its global weight, so that any number of processes takes the same step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch

_BUCKET = 1 << 23  # numbers summed at once


@dataclass(frozen=True)
class Group:
    """This process among those of a run.

    Args:
        rank: Its number.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def rows(self, batch: Batch) -> Batch:
        """The rows of a global batch that this process computes; there may be none."""
        return batch if self.size == 1 else batch[self.rank :: self.size]

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, the same bits in each."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def agreed(self, value: Any) -> Any:
        """What the first process has."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def largest(self, number: int) -> int:
        """The largest number that any process has."""
        held = torch.tensor(number)
        if self.size > 1:
            dist.all_reduce(held, dist.ReduceOp.MAX)
        return int(held)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all processes; what no process has a gradient for keeps none."""
        if self.size == 1:
            return
        trained = [weight for weight in parameters if weight.requires_grad]
        has = self.total(torch.tensor([float(weight.grad is not None) for weight in trained]))
        used = [weight for weight, count in zip(trained, has.tolist(), strict=True) if count]
        for some in _buckets(used):
            grads = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in some]
            flat = self.total(torch.cat([grad.flatten() for grad in grads]))
            for weight, piece in zip(some, flat.split([grad.numel() for grad in grads]), strict=True):
                weight.grad = piece.view_as(weight)


ALONE = Group()


@contextmanager
def joined(device: str = "cpu") -> Iterator[Group]:
    """The group that torchrun made this process a member of, or this process alone.

    Raises:
        UnsupportedError: torch has no way of talking on this device.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if dist.is_initialized():
        yield Group(dist.get_rank(), dist.get_world_size())
        return
    backend = "gloo" if device == "cpu" else "nccl"
    if backend == "nccl" and not dist.is_nccl_available():
        raise UnsupportedError("several processes on this device", got=device, expected="cpu or cuda")
    dist.init_process_group(backend)
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def restarts() -> int:
    """How often torchrun has begun this run again, after a process of it died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _buckets(weights: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Runs of parameters of one type and about so many numbers."""
    held: list[nn.Parameter] = []
    size = 0
    for weight in weights:
        if held and (size + weight.numel() > _BUCKET or weight.dtype is not held[0].dtype):
            yield held
            held, size = [], 0
        held.append(weight)
        size += weight.numel()
    if held:
        yield held
