"""Contrastive learning of text vectors: of all texts of a batch, each finds its partner  (Henderson et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.batch import Batch, Sample, pad_rows
from glassformer.data.examples import Example
from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.sentence import Sentence, SentenceConfig
from glassformer.train.objective import ExampleObjectiveConfig, Found, Reading, refuse
from glassformer.train.objectives._noise import row_label, rows_of


class ContrastiveConfig(ExampleObjectiveConfig):
    """Cross entropy of the partner among the partners of all rows, by cosine over temperature.

    fields: ``text`` and ``pair``; and ``negative``, one more text that is no partner, in all examples or in none.

    A text's vector is pooled as its folder of sentence-transformers says, else the mean of its tokens' vectors. Each
    row is compared with all others, so that a batch is computed whole, in one process.
    """

    COUPLED = True
    FIELDS = ("text", "pair")
    HEAD = "hidden"
    temperature: float = 0.05

    def check(self) -> None:
        self.require(self.temperature > 0, "temperature", "above 0")

    def check_model(self, config: TransformerConfig) -> None:
        stacks = [stack for stack in (config.encoder, config.decoder) if stack is not None]
        if len(stacks) == 2:
            refuse("text vectors", config, "an encoder or a decoder alone")
        if any(isinstance(block.feed_forward, ExpertsConfig) for stack in stacks for block in stack.blocks):
            raise UnsupportedError("text vectors", got="a mixture of experts", expected="plain feed-forwards")

    def sample(self, example: Example, reading: Reading) -> Sample:
        """The partner, and behind it the negative; ``labels["partner"]`` says how long the partner is."""
        ids, partner = reading.ids(example, "text"), reading.ids(example, "pair")
        negative = reading.ids(example, "negative") if "negative" in example.fields else []
        return Sample(ids, target=[*partner, *negative], labels={"partner": len(partner)})

    def samples(self, examples: Iterable[Example], reading: Reading) -> list[Sample]:
        several = list(examples)
        count = sum("negative" in one.fields for one in several)
        if count not in (0, len(several)):
            without = next(one for one in several if "negative" not in one.fields)
            got, expected = f"negatives in {count} of {len(several)} examples", "in all or in none"
            raise DataError("no field 'negative'", at=without.place, got=got, expected=expected)
        return super().samples(several, reading)

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        return config.replace(head=None, pooler=None)

    def prepare(self, batch: Batch, tokenizer: Any, seed: int) -> Batch:
        """The partners of all rows, and behind them the negatives of all rows, as rows of their own."""
        partners, negatives = [], []
        for row in rows_of(batch):
            length, others = row_label(row, "partner"), list(row.target or ())
            partners.append(others[:length])
            negatives += [others[length:]] if others[length:] else []
        pad = tokenizer.special.pad
        return replace(batch, target=pad_rows([*partners, *negatives], pad=0 if pad is None else pad), labels={})

    def weight(self, batch: Batch) -> int:
        return len(batch)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        assert isinstance(model, Transformer) and batch.target is not None
        texts, others = (functional.normalize(vectors(model, side), dim=-1) for side in (batch, batch.target))
        scores = texts @ others.T / self.temperature
        partner = torch.arange(len(batch), device=scores.device)
        loss = functional.cross_entropy(scores, partner, reduction="sum")
        return loss, {"accuracy": (scores.argmax(-1) == partner).sum()}


def vectors(model: Transformer, batch: Batch) -> Tensor:
    """float32, text state: one vector a row."""
    hidden = model.hidden(replace(batch, target=None, labels={})).float()
    known = model.__dict__.get("sentence")
    sentence = known if isinstance(known, Sentence) else SentenceConfig(pool=("mean",)).build(model.config.d_model)
    every = torch.full((len(batch),), batch.tokens.shape[1], device=hidden.device)
    lengths = every if batch.valid is None else batch.valid.sum(1)
    packed = hidden.flatten(0, 1) if batch.valid is None else hidden[batch.valid]
    out: Tensor = sentence.to(hidden.device)(packed, lengths)
    return out


OBJECTIVE = ContrastiveConfig
