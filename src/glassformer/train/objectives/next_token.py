"""Language modelling: each token from those before it, in rows of text."""

from __future__ import annotations

from torch import Tensor, nn

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import IGNORED, Batch
from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.train.balance import experts_of, router_loss, watching
from glassformer.train.losses import cross_entropy_sum
from glassformer.train.objective import Found, ObjectiveConfig
from glassformer.train.token_loss import MOST_SCORES, token_loss


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
        predicted = _predicted(batch)
        return batch.tokens[:, 1:].numel() if predicted is None else int(predicted.sum())

    def tokens(self, batch: Batch) -> int:
        return self.weight(batch)

    def loss_sum(self, model: nn.Module, batch: Batch) -> Found:
        """Padding stands behind the real tokens, where a decoder does not look, so a model without experts need not
        know of it; what routers add to the mean counts once for each predicted token. Packed documents see themselves
        only, and predict nothing of the next one.
        """
        if isinstance(model, Transformer) and _is_large(model, batch):
            return token_loss(model, *_shifted(batch)).loss, {}
        parts = experts_of(model)
        documents = None if batch.documents is None else batch.documents[:, :-1]
        if not parts:
            return _sum(model(batch.tokens[:, :-1], documents=documents), batch)[0], {}
        with watching(parts):
            valid = None if batch.valid is None else batch.valid[:, :-1]
            logits = model(batch.tokens[:, :-1], valid=valid, documents=documents)
            total, count = _sum(logits, batch)
            return total + count * router_loss(parts), {}


def _is_large(model: Transformer, batch: Batch) -> bool:
    """Whether the scores of a batch are too many to be held at once."""
    return batch.tokens[:, 1:].numel() * model.config.vocab_size > MOST_SCORES and model.head is not None


def _shifted(batch: Batch) -> tuple[Batch, Tensor]:
    """What the model is given, and what it is to say there."""
    labels, predicted = batch.tokens[:, 1:], _predicted(batch)
    given = [None if one is None else one[:, :-1] for one in (batch.valid, batch.documents)]
    labels = labels if predicted is None else labels.masked_fill(~predicted, IGNORED)
    return Batch(batch.tokens[:, :-1], given[0], documents=given[1]), labels


def _sum(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    return cross_entropy_sum(logits, batch.tokens[:, 1:], _predicted(batch))


def _predicted(batch: Batch) -> Tensor | None:
    """bool, batch position: which tokens behind the first are predicted; None where all are."""
    if batch.documents is None:
        return None if batch.valid is None else batch.valid[:, 1:]
    return (batch.documents[:, 1:] == batch.documents[:, :-1]) & (batch.documents[:, 1:] >= 0)


OBJECTIVE = NextTokenConfig
