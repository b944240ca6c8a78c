"""Language modelling: each token from those before it, in rows of text."""

from __future__ import annotations

from torch import Tensor, nn

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.train.balance import experts_of, router_loss, watching
from glassformer.train.losses import cross_entropy_sum
from glassformer.train.objective import Found, ObjectiveConfig


class NextTokenConfig(ObjectiveConfig):
    """Cross entropy of each token, in nats; targets are shifted here, once."""

    def check_model(self, config: TransformerConfig) -> None:
        """Refuse what sees the tokens that it is to predict, and what predicts no tokens."""
        if config.decoder is None or config.encoder is not None:
            got = "an encoder" if config.decoder is None else "an encoder with a decoder"
            raise UnsupportedError("next-token training", got=got, expected="a decoder alone")
        if not isinstance(config.head, TokenHeadConfig):
            got = "no head" if config.head is None else type(config.head).__name__
            raise UnsupportedError("next-token training", got=got, expected="TokenHeadConfig")

    def weight(self, batch: Batch) -> int:
        """Number of predicted tokens."""
        return batch.tokens[:, 1:].numel() if batch.valid is None else int(batch.valid[:, 1:].sum())

    def tokens(self, batch: Batch) -> int:
        return self.weight(batch)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        """Padding stands behind the real tokens, where a decoder does not look, so a model without experts need not
        know of it; what routers add to the mean counts once for each predicted token.
        """
        parts = experts_of(model)
        if not parts:
            return _sum(model(batch.tokens[:, :-1]), batch)[0], {}
        with watching(parts):
            logits = model(batch.tokens[:, :-1], valid=None if batch.valid is None else batch.valid[:, :-1])
            total, count = _sum(logits, batch)
            return total + count * router_loss(parts), {}


def _sum(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    return cross_entropy_sum(logits, batch.tokens[:, 1:], None if batch.valid is None else batch.valid[:, 1:])


OBJECTIVE = NextTokenConfig
