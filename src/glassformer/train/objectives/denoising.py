"""Denoising: a text is written whole from one with holes, its sentences in disorder  (Lewis et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.train.objective import Reading
from glassformer.train.objectives._noise import Framed, frame_ids, framed_pieces, remade
from glassformer.train.objectives._tokens import TokenLabelsConfig, check_pair, mirrored

#: A sentence ends with a token that ends with one of these.
_MARKS = (".", "!", "?", "。", "！", "？")


class DenoisingConfig(TokenLabelsConfig):
    """Cross entropy of the whole text, where runs of it are shown as one mask each and sentences change places.

    fields: ``text``; a long one is several rows.

    rate: share of the tokens that is hidden · mean: tokens of a run, by Poisson; a run of none is a mask put between
    two tokens · permute: whether sentences change places.
    """

    FIELDS = ("text",)
    rate: float = 0.3
    mean: float = 3.0
    permute: bool = True

    def check(self) -> None:
        super().check()
        self.require(0 < self.rate < 1, "rate", "between 0 and 1")
        self.require(0 < self.mean <= 100, "mean", "above 0, 100 at most")

    @property
    def writes(self) -> bool:
        return True

    def check_model(self, config: TransformerConfig) -> None:
        check_pair("denoising", config)

    def sample(self, example: Example, reading: Reading) -> Sample:
        return self.windows(example, reading)[0]

    def windows(self, example: Example, reading: Reading) -> list[Sample]:
        most = reading.max_tokens
        # a start and an end that the tokenizer does not put there itself need room in the target
        return [mirrored(ids, example, reading) for ids in framed_pieces(example, reading, most and most - 1)]

    def prepare(self, batch: Batch, tokenizer: Any, seed: int) -> Batch:
        special, ends, mask = frame_ids(tokenizer), _ends(tokenizer), tokenizer.special.mask
        if mask is None:
            do = "use the tokenizer of BART or of an encoder"
            raise UnsupportedError("denoising", got="a tokenizer without a mask token", do=do)

        def hide(row: Sample, draw: Callable[[int, int], NDArray[np.float64]]) -> Sample:
            frame = Framed.of(row.tokens, special)
            ids = np.array(frame.body)
            ids = _permuted(ids, ends[ids], draw(1, len(ids))) if self.permute else ids
            return Sample(frame.around(self._hidden(ids, mask, draw)), target=row.target, labels=row.labels)

        return remade(batch, tokenizer, seed, hide)

    def _hidden(self, ids: NDArray[np.int64], mask: int, draw: Callable[[int, int], NDArray[np.float64]]) -> list[int]:
        """The row with a mask for each run; they stand anywhere among the tokens that are kept."""
        lengths = self.runs(len(ids), draw)
        kept = len(ids) - sum(lengths)
        places = {int(place) for place in np.argsort(draw(3, kept + len(lengths)), kind="stable")[: len(lengths)]}
        row, rest, turns = [], ids.tolist(), iter(lengths)
        for slot in range(kept + len(lengths)):
            if slot in places:
                row.append(mask)
                rest = rest[next(turns) :]
            else:
                row.append(rest[0])
                rest = rest[1:]
        return row

    def runs(self, n_tokens: int, draw: Callable[[int, int], NDArray[np.float64]]) -> list[int]:
        """Lengths of the runs, whose sum is the share that is hidden; never more of them than hidden tokens."""
        budget = min(max(round(n_tokens * self.rate), 1), n_tokens)
        left, lengths = budget, []
        for length in _poisson(self.mean, draw(2, 64 * budget)):
            left -= (taken := min(int(length), left))
            lengths.append(taken)
            if left == 0:
                break
        empty = max(0, len(lengths) - budget)  # so that a source is never longer than its text
        for _ in range(empty):
            lengths.remove(0)
        return [*lengths, left] if left else lengths


def _poisson(mean: float, drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers that are distributed by Poisson, from numbers in [0, 1)."""
    counts = np.arange(int(mean + 20 * math.sqrt(mean) + 20))
    shares = np.exp(counts * math.log(mean) - mean - np.array([math.lgamma(count + 1) for count in counts]))
    return np.searchsorted(np.cumsum(shares), drawn, side="right")


def _permuted(ids: NDArray[np.int64], is_end: NDArray[np.bool_], drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    """The sentences in another order."""
    sentences = [part for part in np.split(ids, np.flatnonzero(is_end) + 1) if len(part)]
    order = np.argsort(drawn[: len(sentences)], kind="stable")
    return np.concatenate([sentences[place] for place in order])


@lru_cache(maxsize=4)
def _ends(tokenizer: Any) -> NDArray[np.bool_]:
    """Which ids end a sentence."""
    return np.array([tokenizer.token_content(token).endswith(_MARKS) for token in range(tokenizer.vocab_size)])


OBJECTIVE = DenoisingConfig
