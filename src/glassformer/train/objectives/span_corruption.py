"""Span corruption: runs of tokens are cut out of a text, and written one behind the other  (Raffel et al. 2020).

source    Thank you <extra_id_0> me to your party <extra_id_1> week.
target    <extra_id_0> for inviting <extra_id_1> last
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.train.objective import Reading
from glassformer.train.objectives._noise import Framed, frame_ids, framed_pieces, remade, token_labels
from glassformer.train.objectives._tokens import TokenLabelsConfig, check_pair, mirrored

#: Sentinels of a vocabulary that names none.
_MOST = 100


class SpanCorruptionConfig(TokenLabelsConfig):
    """Cross entropy of the cut runs, each behind its sentinel, with T5's own arithmetic of lengths.

    fields: ``text``; a long one is several rows, each so long that what is left of it fills the model.

    density: share of the tokens that is cut out · mean: tokens of a run, on average.

    Sentinels are ``<extra_id_0>`` and so on; of a vocabulary without them its last ids, those that a row holds itself
    left out.
    """

    FIELDS = ("text",)
    density: float = 0.15
    mean: float = 3.0

    def check(self) -> None:
        super().check()
        self.require(0 < self.density < 1, "density", "between 0 and 1")
        self.require(self.mean >= 1, "mean", "1 or more")

    @property
    def writes(self) -> bool:
        return True

    def check_model(self, config: TransformerConfig) -> None:
        check_pair("span corruption", config)

    def sample(self, example: Example, reading: Reading) -> Sample:
        return self.windows(example, reading)[0]

    def windows(self, example: Example, reading: Reading) -> list[Sample]:
        whole = Framed.of(reading.tokenizer.encode("", literal=True), frame_ids(reading.tokenizer))
        extra = max(len(whole.around(())), 1)
        most = None if reading.max_tokens is None else self.longest(reading.max_tokens - extra) + extra
        free = replace(reading, max_tokens=None)
        return [mirrored(ids, example, free) for ids in framed_pieces(example, reading, most)]

    def counts(self, n_tokens: int) -> tuple[int, int]:
        """How many of so many tokens are cut out, and in how many runs."""
        cut = min(max(round(n_tokens * self.density), 1), n_tokens - 1)
        return cut, min(max(round(cut / self.mean), 1), n_tokens - cut)

    def lengths(self, n_tokens: int) -> tuple[int, int]:
        """Tokens of the source and of the target, without what ends them, that come of so many tokens of text."""
        cut, runs = self.counts(n_tokens)
        return n_tokens - cut + runs, cut + runs

    def longest(self, room: int) -> int:
        """The longest text of which source and target fit into so many tokens; 2 at least."""
        n_tokens = 2
        while max(self.lengths(n_tokens + 1)) <= room:
            n_tokens += 1
        return n_tokens

    def prepare(self, batch: Batch, tokenizer: Any, seed: int) -> Batch:
        special, sentinels = frame_ids(tokenizer), _sentinels(tokenizer)

        def corrupt(row: Sample, draw: Callable[[int, int], NDArray[np.float64]]) -> Sample:
            frame, said = Framed.of(row.tokens, special), token_labels(row)
            assert row.target is not None
            is_cut = self.chosen(len(frame.body), draw)
            source, target = _parted(frame.body, is_cut, _free(sentinels, frame.body, self.counts(len(is_cut))[1]))
            target = [*target, said[-1]]
            given = [row.target[0], *target[:-1]]
            return Sample(frame.around(source), target=given, labels={"tokens": target})

        return remade(batch, tokenizer, seed, corrupt)

    def chosen(self, n_tokens: int, draw: Callable[[int, int], NDArray[np.float64]]) -> NDArray[np.bool_]:
        """Which tokens are cut out: kept and cut runs in turn, a kept one first, all lengths alike probable."""
        cut, runs = self.counts(n_tokens)
        lengths = np.stack([_lengths(n_tokens - cut, runs, draw(1, n_tokens)), _lengths(cut, runs, draw(2, n_tokens))])
        return np.repeat(np.tile([False, True], runs), lengths.T.flatten())


def _lengths(total: int, count: int, drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    """So many lengths of at least one, with this sum: ``count - 1`` bounds between ``total`` things."""
    bounds = np.sort(np.argsort(drawn[: total - 1], kind="stable")[: count - 1]) + 1
    return np.diff(np.concatenate([[0], bounds, [total]])).astype(np.int64)


def _parted(ids: Sequence[int], is_cut: NDArray[np.bool_], sentinels: Sequence[int]) -> tuple[list[int], list[int]]:
    """What is left, and what was cut, each run under its sentinel."""
    source: list[int] = []
    target: list[int] = []
    turn = -1
    for place, token in enumerate(ids):
        if not is_cut[place]:
            source.append(token)
            continue
        if place == 0 or not is_cut[place - 1]:
            turn += 1
            source.append(sentinels[turn])
            target.append(sentinels[turn])
        target.append(token)
    return source, target


def _free(sentinels: Sequence[int], ids: Sequence[int], count: int) -> list[int]:
    """The first sentinels that a row does not hold itself."""
    found = [token for token in sentinels if token not in set(ids)][:count]
    if len(found) < count:
        do = "train on shorter rows, or with a larger mean"
        raise UnsupportedError(
            "span corruption", got=f"{count} runs in a row", expected=f"{len(found)} or fewer", do=do
        )
    return found


@lru_cache(maxsize=4)
def _sentinels(tokenizer: Any) -> tuple[int, ...]:
    """The ids that stand for a run, the first one first."""
    named: list[int] = []
    while (token := tokenizer.token_id(f"<extra_id_{len(named)}>")) is not None:
        named.append(token)
    last = range(tokenizer.vocab_size - 1, max(tokenizer.vocab_size - 1 - _MOST, 0), -1)
    return tuple(named) or tuple(token for token in last if token not in tokenizer.special_ids)


OBJECTIVE = SpanCorruptionConfig
