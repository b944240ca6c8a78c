"""Masked language modelling: some tokens are hidden, and each is said from all the others  (Devlin et al. 2019)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import IGNORED, Batch, Sample
from glassformer.data.examples import Example
from glassformer.data.order import noise
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import PretrainHeadConfig, TokenHeadConfig
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse
from glassformer.train.token_loss import token_loss


class MaskedTokenConfig(ExampleObjectiveConfig):
    """Cross entropy of the chosen tokens, of which most are shown as the mask, some as another token, some as they are.

    rate: share of the tokens that is chosen · masked, random: of these, shown as the mask and as any token ·
    whole_words: tokens of a word are chosen together.
    """

    FIELDS = ("text",)
    COMPARED: ClassVar[str | None] = "tokens"
    rate: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    whole_words: bool = False

    def check(self) -> None:
        self.require(0 < self.rate < 1, "rate", "between 0 and 1")
        self.require(0 <= self.masked <= 1, "masked", "0 to 1")
        self.require(0 <= self.random <= 1 - self.masked + 1e-9, "random", "0 to 1 - masked")

    def check_model(self, config: TransformerConfig) -> None:
        if config.encoder is None or config.decoder is not None:
            refuse("masked-token training", config, "an encoder with TokenHeadConfig")
        if not isinstance(config.head, TokenHeadConfig | PretrainHeadConfig):
            refuse("masked-token training", config, "an encoder with TokenHeadConfig")

    def sample(self, example: Example, reading: Reading) -> Sample:
        return Sample(reading.ids(example, "text"))

    def prepare(self, batch: Batch, tokenizer: Any, seed: int) -> Batch:
        """Choose and hide; at least one token of a row that has any."""
        ids = batch.tokens.numpy()
        open_ids = ~_closed(tokenizer)[ids] & (True if batch.valid is None else batch.valid.numpy())
        open_ids &= True if batch.documents is None else batch.documents.numpy() >= 0
        numbers = np.arange(len(ids)) if batch.samples is None else batch.samples.numpy()
        chosen = self._chosen(ids, open_ids, numbers, tokenizer, seed)
        how, other = noise(seed + 1, numbers, ids.shape[1]), noise(seed + 2, numbers, ids.shape[1])
        shown = np.where(chosen & (how < self.masked), _mask(tokenizer), ids)
        plain = np.flatnonzero(~_closed(tokenizer))
        drawn = plain[(other * len(plain)).astype(np.int64)]
        shown = np.where(chosen & (how >= self.masked) & (how < self.masked + self.random), drawn, shown)
        labels = torch.from_numpy(np.where(chosen, ids, IGNORED))
        return replace(batch, tokens=torch.from_numpy(shown), labels={"tokens": labels})

    def weight(self, batch: Batch) -> int:
        return int((batch.labels["tokens"] != IGNORED).sum())

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        found = token_loss(model, batch, batch.labels["tokens"])
        return found.loss, {"accuracy": found.right}

    def _chosen(
        self, ids: NDArray[Any], open_ids: NDArray[Any], numbers: NDArray[Any], tokenizer: Any, seed: int
    ) -> NDArray[np.bool_]:
        """Which tokens are to be said; a word is chosen by the number of its first token."""
        drawn = noise(seed, numbers, ids.shape[1])
        if self.whole_words:
            begins = open_ids & (_begins(tokenizer)[ids] | ~np.roll(open_ids, 1, axis=1))
            begins[:, 0] = True
            places = np.maximum.accumulate(np.where(begins, np.arange(ids.shape[1]), 0), axis=1)
            drawn = np.take_along_axis(drawn, places, axis=1)
        drawn = np.where(open_ids, drawn, np.inf)
        least = drawn.min(axis=1, keepdims=True)
        chosen: NDArray[np.bool_] = open_ids & ((drawn < self.rate) | (drawn == least))
        return chosen


def _mask(tokenizer: Any) -> int:
    mask = getattr(tokenizer.special, "mask", None)
    if mask is None:
        do = "use the tokenizer of an encoder, or train one with a mask"
        raise UnsupportedError("masked-token training", got="a tokenizer without a mask token", do=do)
    return int(mask)


@lru_cache(maxsize=4)
def _closed(tokenizer: Any) -> NDArray[np.bool_]:
    """Which ids are never hidden and never drawn: special tokens."""
    closed = np.zeros(tokenizer.vocab_size, dtype=bool)
    closed[list(tokenizer.special_ids)] = True
    return closed


@lru_cache(maxsize=4)
def _begins(tokenizer: Any) -> NDArray[np.bool_]:
    """Which ids begin a word: in WordPiece those without ``##``, else those with a space in front."""
    words = [tokenizer.token_content(token) for token in range(tokenizer.vocab_size)]
    if any(word.startswith("##") for word in words):
        return np.array([not word.startswith("##") for word in words])
    return np.array([tokenizer.token_bytes(token)[:1] in (b" ", b"\n", b"\t") for token in range(tokenizer.vocab_size)])


OBJECTIVE = MaskedTokenConfig
