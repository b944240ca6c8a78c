"""How probable tokens are: nats of the last tokens of rows, given those before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.data.batch import Sample
from glassformer.evaluate.rows import outputs
from glassformer.evaluate.task import Hand


class Scored(NamedTuple):
    """float32, token: the nats of each token that was asked for; and whether each was the most probable one."""

    nats: Tensor
    is_greedy: bool


def scored(rows: Sequence[Sequence[int]], counts: Sequence[int], hand: Hand) -> list[Scored]:
    """The last ``counts`` tokens of each row; a row has at least one token more than that."""
    samples = [Sample(row[:-1]) for row in rows]

    def read(number: int, scores: Tensor) -> Scored:
        count = counts[number]
        goal = torch.tensor(list(rows[number][-count:]), device=scores.device)
        found = scores[-count:].float()
        nats = found.logsumexp(-1) - found.gather(-1, goal[:, None])[:, 0]
        return Scored(nats.cpu(), bool((found.argmax(-1) == goal).all()))

    return outputs(samples, hand, read)


def by_frequency(rows: Sequence[Sequence[int]]) -> list[float]:
    """The nats of each row's tokens, for one who knows how often each is in all of them and nothing else."""
    counts = Counter(token for row in rows for token in row)
    nats = {token: math.log(counts.total() / count) for token, count in counts.items()}
    return [sum(nats[token] for token in row) for row in rows]


def windows(count: int, reach: int, stride: int) -> list[tuple[int, int, int]]:
    """(first, begin, end): the tokens ``begin … end - 1`` of a row are predicted from those from ``first`` on.

    Each token but the first is predicted once, from ``reach`` tokens at most; the windows move on by ``stride``.
    """
    begins = range(1, count, stride)
    ends = [min(begin + stride, count) for begin in begins]
    return [(max(0, end - 1 - reach), begin, end) for begin, end in zip(begins, ends, strict=True)]
