"""Heads over one vector a row, for a model that has none."""

from __future__ import annotations

from glassformer.models.transformer import TransformerConfig
from glassformer.parts.head import HeadConfig, PoolerConfig


def with_row_head(config: TransformerConfig, head: HeadConfig) -> TransformerConfig:
    """The description with this head; a pooler that is there stays, else BERT's over the first token, or, of a decoder,
    the last token, which has seen the others.
    """
    usual = PoolerConfig(activation="tanh") if config.decoder is None else PoolerConfig(take="last")
    return config.replace(head=head, pooler=config.pooler or usual)
