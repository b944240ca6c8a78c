"""Rows through a model: long ones first, in batches of about so many tokens; each row gets what it gets alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from glassformer.core.terminal import Progress
from glassformer.data.batch import Sample
from glassformer.data.buckets import Buckets
from glassformer.evaluate.task import Hand
from glassformer.parts.head import PretrainHeadConfig, TokenHeadConfig

#: Work that is done sooner is not talked about.
PATIENCE = 2.0
#: Scores over a vocabulary that are held at once.
MOST_SCORES = 1 << 26

Found = TypeVar("Found")


class Counter:
    """Says how far a long job is."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self.progress, self.what, self.total, self.begin = progress, what, total, time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self.begin > PATIENCE:
            self.progress.update(f"{self.what} {done:,} of {self.total:,}")


def outputs(samples: Sequence[Sample], hand: Hand, read: Callable[[int, Tensor], Found]) -> list[Found]:
    """What ``read`` makes of each row's number and of what the head computes for it, without padding."""
    found: dict[int, Found] = {}
    count = Counter(hand.progress, "computed", len(samples))
    for numbers, out in _batches(samples, hand):
        for row, number in enumerate(numbers):
            scores = out[row] if out.ndim == 2 else out[row, : len(samples[number].tokens)]
            found[number] = read(number, scores)
        count(len(found))
    return [found[number] for number in range(len(samples))]


@torch.no_grad()
def _batches(samples: Sequence[Sample], hand: Hand) -> Iterator[tuple[list[int], Tensor]]:
    device, most = next(hand.model.parameters()).device, hand.batch_tokens
    if isinstance(hand.model.config.head, TokenHeadConfig | PretrainHeadConfig):
        most = min(most, max(1, MOST_SCORES // hand.model.config.vocab_size))
    for batch in Buckets(_alike(samples), pad=hand.pad).in_order(most):
        assert batch.samples is not None
        yield batch.samples.tolist(), hand.model(batch.to(device))


def _alike(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Segments for all rows, if some have them."""
    if all(sample.segments is None for sample in samples):
        return samples
    return [replace(one, segments=one.segments or [0] * len(one.tokens)) for one in samples]
