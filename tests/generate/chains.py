"""Models that say after each token what a table says, so that a test knows the text."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from glassformer.models.transformer import SpecialTokens, Transformer, TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.stack import StackConfig

END = 256


def chain(following: Mapping[int, int], vocab_size: int = 257, *, max_positions: int = 64) -> Transformer:
    """After token t comes ``following[t]``, after any other the token itself."""
    block = BlockConfig(
        attention=AttentionConfig(n_heads=1), feed_forward=FeedForwardConfig(d_ff=4), norm=LayerNormConfig()
    )
    config = TransformerConfig(
        d_model=vocab_size,
        vocab_size=vocab_size,
        decoder=StackConfig(blocks=(block,)),
        head=TokenHeadConfig(tied=False),
        max_positions=max_positions,
    )
    model = config.build()
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.zero_()
        model.embedding.tokens.weight.copy_(torch.eye(vocab_size))
        model.head.proj.weight.zero_()
        for token in range(vocab_size):
            model.head.proj.weight[following.get(token, token), token] = 5.0
    model.special = SpecialTokens(end=(END,) if vocab_size > END else ())
    return model


def reciting(text: str, **said: int) -> Transformer:
    """Says the bytes of a text in which no byte stands twice, and then the end."""
    data = text.encode()
    assert len(set(data)) == len(data)
    return chain(dict(zip(data, [*data[1:], END], strict=True)), **said)
