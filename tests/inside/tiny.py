"""Small models with random weights, one of each shape that a view knows."""

from __future__ import annotations

import tokenizers
from tokenizers import models, pre_tokenizers

from glassformer.models.transformer import SpecialTokens, Transformer, TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig, Order
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.head import HeadConfig, PoolerConfig, TokenHeadConfig, TransformConfig
from glassformer.parts.norm import LayerNormConfig, NormConfig, RMSNormConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig
from glassformer.tokenizers.tokenizer import Tokenizer

D_MODEL, N_HEADS, LONGEST = 16, 4, 600
END = 256


def stack(
    layers: int, norm: NormConfig, *, crosses: bool = False, order: Order = "pre", final: bool = True
) -> StackConfig:
    attention = AttentionConfig(n_heads=N_HEADS)
    block = BlockConfig(
        attention=attention,
        feed_forward=FeedForwardConfig(d_ff=32),
        norm=norm,
        order=order,
        cross_attention=attention if crosses else None,
    )
    return StackConfig(blocks=(block,) * layers, norm=norm if final else None)


def build(
    *,
    encoder: StackConfig | None = None,
    decoder: StackConfig | None = None,
    head: HeadConfig | None = None,
    pooler: PoolerConfig | None = None,
    vocab_size: int = 257,
    longest: int = LONGEST,
    seed: int = 0,
) -> Transformer:
    config = TransformerConfig(
        d_model=D_MODEL,
        vocab_size=vocab_size,
        embedding=EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=longest)),
        encoder=encoder,
        decoder=decoder,
        head=head,
        pooler=pooler,
        max_positions=longest,
    )
    return config.build(seed=seed)


def decoder(**options: int) -> Transformer:
    """A GPT of three blocks over bytes."""
    return build(decoder=stack(3, LayerNormConfig()), head=TokenHeadConfig(), **options)


def capped_decoder() -> Transformer:
    """RMS norms, scores scaled and capped, an untied head."""
    head = TokenHeadConfig(tied=False, scale=0.5, soft_cap=3.0)
    return build(decoder=stack(2, RMSNormConfig()), head=head)


def encoder(vocab_size: int = 257) -> Transformer:
    """Blocks with the norm behind, a head with a transform: BERT's shape."""
    norm = LayerNormConfig()
    head = TokenHeadConfig(bias=True, transform=TransformConfig(activation="gelu", norm=norm))
    return build(encoder=stack(2, norm, order="post", final=False), head=head, vocab_size=vocab_size)


def pair() -> Transformer:
    """An encoder-decoder whose decoder starts with the end of text."""
    norm = LayerNormConfig()
    model = build(encoder=stack(2, norm), decoder=stack(3, norm, crosses=True), head=TokenHeadConfig())
    model.special = SpecialTokens(decoder_start=END)
    return model


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "mat")


def word_tokenizer(*, has_mask: bool = True) -> Tokenizer:
    """``[CLS] the cat sat [SEP]``, one token a word."""
    backend = tokenizers.Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.add_special_tokens(list(WORDS[:5]))
    settings = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return Tokenizer(backend.to_str(), settings | ({"mask_token": "[MASK]"} if has_mask else {}))
