"""What a text must or must not say next, as rules for scores: the same list serves greedy decoding, drawing and beams.

    scores → repetition penalty → no repeated n-gram → not too short → the forced beginning

A rule is called with the scores of some rows and with what these rows said so far; it keeps nothing itself, so rows may
be left out, doubled and put in another order between steps.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

#: What stands in a history where a row has no token.
NOTHING = -1


class Past(NamedTuple):
    """tokens: int64, batch position, the prompt and what is new, ``NOTHING`` before it · new: how many of them are new
    · rows: int64, batch, places in the batch of prompts."""

    tokens: Tensor
    new: int
    rows: Tensor

    @classmethod
    def of(cls, prompt: Tensor, valid: Tensor | None) -> Past:
        """Prompts with padding on either side, moved to the right."""
        rows = torch.arange(prompt.shape[0], device=prompt.device)
        if valid is None:
            return cls(prompt, 0, rows)
        order = valid.long().sort(dim=-1, stable=True).indices
        return cls(prompt.masked_fill(~valid, NOTHING).gather(1, order), 0, rows)

    def kept(self, rows: Tensor) -> Past:
        """Row i becomes what row ``rows[i]`` was: int64, batch."""
        return Past(self.tokens[rows], self.new, self.rows[rows])

    def with_new(self, tokens: Tensor) -> Past:
        """The same rows with one token more each: int64, batch."""
        return Past(torch.cat((self.tokens, tokens[:, None]), 1), self.new + 1, self.rows)


class Rule(Protocol):
    """Changes scores: batch vocab → the same; minus infinity is what may not come next."""

    def __call__(self, scores: Tensor, past: Past) -> Tensor: ...


@dataclass(frozen=True)
class RepetitionPenalty:
    """Scores of tokens that are already there: positive ones divided, negative ones multiplied (Keskar et al. 2019)."""

    penalty: float

    def __call__(self, scores: Tensor, past: Past) -> Tensor:
        seen = torch.where(past.tokens < 0, past.tokens[:, -1:], past.tokens)
        found = scores.gather(1, seen)
        return scores.scatter(1, seen, torch.where(found < 0, found * self.penalty, found / self.penalty))


@dataclass(frozen=True)
class NoRepeat:
    """No ``size`` tokens in a row a second time, those of the prompt included (Paulus et al. 2018)."""

    size: int

    def __call__(self, scores: Tensor, past: Past) -> Tensor:
        tokens, before = past.tokens, self.size - 1
        if tokens.shape[1] < self.size:
            return scores
        runs = tokens.unfold(1, self.size, 1)
        newest = tokens[:, tokens.shape[1] - before :]
        again = (runs[..., :before] == newest[:, None]).all(-1) & (runs[..., 0] >= 0)
        least = torch.where(again, -torch.inf, torch.inf).to(scores.dtype)
        return scores.scatter_reduce(1, runs[..., before].clamp(min=0), least, "amin")


@dataclass(frozen=True)
class NotBefore:
    """No end token before ``least`` new tokens."""

    least: int
    ends: tuple[int, ...]

    def __call__(self, scores: Tensor, past: Past) -> Tensor:
        if past.new >= self.least:
            return scores
        ends = torch.tensor(self.ends, dtype=torch.int64, device=scores.device)
        return scores.index_fill(1, ends, -torch.inf)


@dataclass(frozen=True, eq=False)
class Beginning:
    """The first new tokens of each prompt: int64, row position, ``NOTHING`` where the rest is free."""

    tokens: Tensor

    def __call__(self, scores: Tensor, past: Past) -> Tensor:
        if past.new >= self.tokens.shape[1]:
            return scores
        wanted = self.tokens[past.rows, past.new][:, None]
        place = wanted.clamp(min=0)
        only = torch.full_like(scores, -torch.inf).scatter(1, place, scores.gather(1, place))
        return torch.where(wanted < 0, scores, only)


def rules_of(
    repetition_penalty: float | None, no_repeat_ngram: int | None, min_tokens: int | None, ends: Collection[int],
    beginnings: Tensor | None = None,
) -> tuple[Rule, ...]:  # fmt: skip
    """The rules that were asked for, in their order; ``beginnings``: see ``Beginning``."""
    rules: list[Rule] = []
    if repetition_penalty is not None:
        rules.append(RepetitionPenalty(repetition_penalty))
    if no_repeat_ngram is not None:
        rules.append(NoRepeat(no_repeat_ngram))
    if min_tokens is not None and ends:
        rules.append(NotBefore(min_tokens, tuple(sorted(ends))))
    if beginnings is not None:
        rules.append(Beginning(beginnings))
    return tuple(rules)


def judged(scores: Tensor, past: Past, rules: Sequence[Rule]) -> Tensor:
    """The scores after all rules: batch vocab."""
    for rule in rules:
        scores = rule(scores, past)
    return scores
