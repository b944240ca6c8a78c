"""Filling in the middle: some texts are told with their middle last, for a decoder that completes inside of a text.

    <prefix> beginning <suffix> end <middle> middle        PSM
    <prefix> <suffix> end <middle> beginning middle        SPM

(Bavarian et al. 2022, sections 3 and 4.3; texts are divided between tokens)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch, Sample
from glassformer.data.examples import Example
from glassformer.models.transformer import TransformerConfig
from glassformer.train.objective import Reading
from glassformer.train.objectives._noise import ended_pieces, frame_ids, remade
from glassformer.train.objectives._tokens import TokenLabelsConfig, check_decoder, next_labels


class FillInTheMiddleConfig(TokenLabelsConfig):
    """Cross entropy of every next token, in texts of which a share is told in another order.

    fields: ``text``; a long one is several rows.

    rate: share of the rows that is told so · suffix_first: of these, share that is told as SPM · prefix, suffix,
    middle: the special tokens, as the vocabulary writes them.
    """

    FIELDS = ("text",)
    rate: float = 0.5
    suffix_first: float = 0.5
    prefix: str = "<|fim_prefix|>"
    suffix: str = "<|fim_suffix|>"
    middle: str = "<|fim_middle|>"

    def check(self) -> None:
        super().check()
        self.require(0 <= self.rate <= 1, "rate", "0 to 1")
        self.require(0 <= self.suffix_first <= 1, "suffix_first", "0 to 1")
        names = {self.prefix, self.suffix, self.middle}
        self.require(len(names) == 3, "middle", "three different tokens")

    def check_model(self, config: TransformerConfig) -> None:
        check_decoder("filling in the middle", config)

    def sample(self, example: Example, reading: Reading) -> Sample:
        return self.windows(example, reading)[0]

    def windows(self, example: Example, reading: Reading) -> list[Sample]:
        self._marks(reading.tokenizer)
        most = reading.max_tokens
        pieces = ended_pieces(example, reading, most and most - 3)
        return [Sample(ids, labels={"tokens": next_labels(ids, [True] * len(ids))}) for ids in pieces]

    def prepare(self, batch: Batch, tokenizer: Any, seed: int) -> Batch:
        marks, special = self._marks(tokenizer), frame_ids(tokenizer)

        def tell(row: Sample, draw: Callable[[int, int], NDArray[np.float64]]) -> Sample:
            ids = list(row.tokens)
            whether, how, *bounds = draw(1, 4)
            if whether < self.rate:
                ids = self._told(ids, bounds, marks, is_first=how < self.suffix_first, special=special)
            return Sample(ids, labels={"tokens": next_labels(ids, [True] * len(ids))})

        return remade(batch, tokenizer, seed, tell)

    def _told(
        self,
        ids: list[int],
        bounds: list[float],
        marks: tuple[int, int, int],
        *,
        is_first: bool,
        special: frozenset[int],
    ) -> list[int]:
        """The row in another order, between the special tokens at its ends."""
        begin = next((place for place, token in enumerate(ids) if token not in special), 0)
        end = len(ids) - (ids[-1] in special)
        body = ids[begin:end]
        one, two = sorted(int(bound * (len(body) + 1)) for bound in bounds)
        before, middle, behind = body[:one], body[one:two], body[two:]
        prefix, suffix, last = marks
        told = (
            [prefix, suffix, *behind, last, *before, *middle]
            if is_first
            else [prefix, *before, suffix, *behind, last, *middle]
        )
        return [*ids[:begin], *told, *ids[end:]]

    def _marks(self, tokenizer: Any) -> tuple[int, int, int]:
        """The ids of the three special tokens."""
        found = [tokenizer.token_id(name) for name in (self.prefix, self.suffix, self.middle)]
        if None in found:
            missing = (self.prefix, self.suffix, self.middle)[found.index(None)]
            do = "use the tokenizer of a model for code, or name its tokens: --set prefix=TOKEN ..."
            raise UnsupportedError("filling in the middle", got=f"a tokenizer without {missing!r}", do=do)
        return found[0], found[1], found[2]


OBJECTIVE = FillInTheMiddleConfig
