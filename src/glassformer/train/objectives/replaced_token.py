"""Replaced-token detection: a small model fills some tokens in, and each token is told to be old or new  (ELECTRA).

Clark et al. (2020) train the filler beside the detector; here it is a folder, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import IGNORED, Batch, Sample
from glassformer.data.examples import Example
from glassformer.data.order import noise
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import TagHeadConfig, TransformConfig
from glassformer.train.objective import Found, Reading, refuse, routed
from glassformer.train.objectives._frozen import frozen, speaks_alike
from glassformer.train.objectives._scores import scores_at
from glassformer.train.objectives.masked_token import MaskedTokenConfig


class ReplacedTokenConfig(MaskedTokenConfig):
    """Binary cross entropy of each real token: whether it is another one than the text has.

    fields: ``text``.

    generator: the folder of a masked language model with the same vocabulary, from whose probabilities the tokens are
    drawn; the other settings are those of ``masked_token``.
    """

    HEAD = "detect"
    COMPARED = None
    generator: str = ""
    masked: float = 1.0
    random: float = 0.0

    def check_model(self, config: TransformerConfig) -> None:
        if config.encoder is None or not isinstance(config.head, TagHeadConfig) or config.head.n_labels != 1:
            refuse("replaced-token detection", config, "an encoder with TagHeadConfig of one label")
        super().check_model(frozen(self.generator).config)

    def samples(self, examples: Iterable[Example], reading: Reading) -> list[Sample]:
        if not speaks_alike(self.generator, reading.tokenizer):
            raise UnsupportedError("a generator with another vocabulary", at=self.generator)
        return super().samples(examples, reading)

    def fit(self, config: TransformerConfig, n_labels: int) -> TransformerConfig:
        head = TagHeadConfig(n_labels=1, transform=TransformConfig(activation="gelu"))
        return config.replace(head=head, pooler=None)

    def labels(self, n_labels: int) -> int:
        return 1

    def prepare(self, batch: Batch, tokenizer: Any, seed: int) -> Batch:
        """``labels["drawn"]``: numbers in [0, 1) that decide which tokens are filled in."""
        hidden = super().prepare(batch, tokenizer, seed)
        numbers = np.arange(len(batch)) if batch.samples is None else batch.samples.numpy()
        drawn = torch.from_numpy(noise(seed + 3, numbers, batch.tokens.shape[1])).float()
        return replace(hidden, labels={**hidden.labels, "drawn": drawn})

    def weight(self, batch: Batch) -> int:
        return batch.count

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        filled, is_new = self.filled(batch)
        logits, extra = routed(model, filled, self.weight(batch))
        real = torch.ones_like(is_new) if batch.valid is None else batch.valid
        said, right = logits[..., 0][real].float(), is_new[real]
        loss = functional.binary_cross_entropy_with_logits(said, right.float(), reduction="sum")
        return loss + extra, {"accuracy": ((said > 0) == right).sum(), "replaced": right.sum()}

    @torch.no_grad()
    def filled(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The rows with tokens of the generator in the holes, and which of all tokens are new: bool, batch position."""
        old = batch.labels["tokens"]
        chosen = old != IGNORED
        scores, _ = scores_at(frozen(self.generator, str(old.device)), replace(batch, labels={}), chosen, 0)
        reached = scores.softmax(-1).cumsum(-1)
        drawn = torch.searchsorted(reached, batch.labels["drawn"][chosen][:, None], right=True)[:, 0]
        tokens = batch.tokens.masked_scatter(chosen, drawn.clamp(max=scores.shape[1] - 1))
        return replace(batch, tokens=tokens, labels={}), chosen & (tokens != old)


OBJECTIVE = ReplacedTokenConfig
