"""Tiny descriptions of the forms that published models have, shared by the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig, Order, ParallelBlockConfig
from glassformer.parts.cache import Cache
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig
from glassformer.parts.head import PoolerConfig, TokenHeadConfig, TransformConfig
from glassformer.parts.latent import LatentConfig
from glassformer.parts.norm import LayerNormConfig, NormConfig, RMSNormConfig
from glassformer.parts.positions import (
    ALiBiConfig,
    LearnedPositionsConfig,
    RelativeBucketsConfig,
    ScorePositionsConfig,
    SinusoidalConfig,
)
from glassformer.parts.rotary import RotaryConfig, RotationConfig
from glassformer.parts.routing import TopKRouterConfig
from glassformer.parts.stack import StackConfig

VOCAB = 61
ALL_BIASES = ("query", "key", "value", "output")
ROTARY, RMS = RotaryConfig(), RMSNormConfig()


def gpt_like(layers: int = 2) -> TransformerConfig:
    """Learned positions, pre-norm, plain feed-forward, biases everywhere (GPT-2)."""
    block = BlockConfig(
        attention=AttentionConfig(n_heads=4, biases=ALL_BIASES),
        feed_forward=FeedForwardConfig(d_ff=48, activation="gelu_tanh"),
        norm=LayerNormConfig(),
    )
    return TransformerConfig(
        d_model=32,
        vocab_size=VOCAB,
        embedding=EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=64)),
        decoder=StackConfig(blocks=(block,) * layers, norm=LayerNormConfig()),
        head=TokenHeadConfig(),
        max_positions=64,
    )


def llama_like(
    layers: int = 2,
    *,
    n_kv_heads: int = 2,
    window: int | None = None,
    positions: RotationConfig | ScorePositionsConfig | None = ROTARY,
    order: Order = "pre",
    norm: NormConfig = RMS,
    qk_norm: NormConfig | None = None,
    soft_cap: float | None = None,
) -> TransformerConfig:
    """Grouped heads, rotary positions, a gated feed-forward (Llama), and what its relatives change."""
    attention = AttentionConfig(
        n_heads=4, n_kv_heads=n_kv_heads, positions=positions, window=window, qk_norm=qk_norm, soft_cap=soft_cap
    )
    block = BlockConfig(attention=attention, feed_forward=GatedConfig(d_ff=48), norm=norm, order=order)
    return TransformerConfig(
        d_model=32,
        vocab_size=VOCAB,
        decoder=StackConfig(blocks=(block,) * layers, norm=norm),
        head=TokenHeadConfig(tied=False),
        max_positions=64,
    )


def sliding_like() -> TransformerConfig:
    """A window in all layers (Mistral)."""
    return llama_like(window=5)


def mixed_like() -> TransformerConfig:
    """Sliding and full layers in turn, sandwich norms, capped scores, query and key norms (Gemma)."""
    norm = RMSNormConfig(offset=1.0)
    local, full = (
        llama_like(window=window, order="sandwich", norm=norm, qk_norm=norm, soft_cap=20.0).decoder
        for window in (4, None)
    )
    assert local is not None and full is not None
    return llama_like().replace(
        decoder=StackConfig(blocks=(local.blocks[0], full.blocks[0]), norm=norm),
        embedding=EmbeddingConfig(scale=32**0.5),
    )


def alibi_like() -> TransformerConfig:
    """Positions only in the scores, one bias for all layers (BLOOM)."""
    plain = llama_like(positions=None, norm=LayerNormConfig())
    assert plain.decoder is not None
    return plain.replace(decoder=plain.decoder.replace(positions=ALiBiConfig()))


def output_like() -> TransformerConfig:
    """Norms on the outputs, query and key norms over the whole projection (OLMo-2)."""
    config = llama_like(order="output", qk_norm=RMSNormConfig())
    assert config.decoder is not None
    (block, *_), stack = config.decoder.blocks, config.decoder
    block = block.replace(attention=block.attention.replace(qk_norm_over="projection"))
    return config.replace(decoder=stack.replace(blocks=(block,) * 2))


def parallel_like(shared_norm: bool = True) -> TransformerConfig:
    """Attention beside the feed-forward, a quarter of each head turned, neighbours paired (GPT-J)."""
    block = ParallelBlockConfig(
        attention=AttentionConfig(n_heads=2, positions=RotaryConfig(dim=8, interleaved=True)),
        feed_forward=FeedForwardConfig(d_ff=48),
        norm=LayerNormConfig(),
        shared_norm=shared_norm,
    )
    return llama_like().replace(decoder=StackConfig(blocks=(block,) * 2, norm=LayerNormConfig()))


def mixtral_like(experts: ExpertsConfig | None = None) -> TransformerConfig:
    """A mixture of experts in every other layer (Mixtral, Switch)."""
    config = llama_like()
    assert config.decoder is not None
    router = TopKRouterConfig(n_experts=4, top_k=2, renormalise=True)
    experts = experts or ExpertsConfig(router=router, expert=GatedConfig(d_ff=24))
    block = config.decoder.blocks[0]
    blocks = (block.replace(feed_forward=experts), block)
    return config.replace(decoder=config.decoder.replace(blocks=blocks))


def latent_like(**fields: Any) -> TransformerConfig:
    """Keys and values of one latent vector a token (DeepSeek-V2)."""
    config = llama_like()
    assert config.decoder is not None
    usual = {"q_rank": 20, "positions": RotaryConfig(interleaved=True)}
    latent = LatentConfig(n_heads=4, kv_rank=24, nope_dim=10, rope_dim=6, value_dim=12, **usual | fields)
    blocks = tuple(block.replace(attention=latent) for block in config.decoder.blocks)
    return config.replace(decoder=config.decoder.replace(blocks=blocks))


def bert_like() -> TransformerConfig:
    """A post-norm encoder with segments, a pooler and a masked language model's head (BERT)."""
    block = BlockConfig(
        attention=AttentionConfig(n_heads=4, biases=ALL_BIASES),
        feed_forward=FeedForwardConfig(d_ff=48),
        norm=LayerNormConfig(eps=1e-12),
        order="post",
    )
    positions = LearnedPositionsConfig(max_positions=64)
    return TransformerConfig(
        d_model=32,
        vocab_size=VOCAB,
        embedding=EmbeddingConfig(positions=positions, n_segments=2, norm=LayerNormConfig(eps=1e-12)),
        encoder=StackConfig(blocks=(block,) * 2),
        pooler=PoolerConfig(activation="tanh"),
        head=TokenHeadConfig(bias=True, transform=TransformConfig(activation="gelu", norm=LayerNormConfig())),
        max_positions=64,
    )


def t5_like() -> TransformerConfig:
    """Relative buckets shared by all layers of a stack, unscaled scores, a scaled tied head (T5)."""
    attention = AttentionConfig(n_heads=4, head_dim=6, scale=1.0)
    block = BlockConfig(
        attention=attention,
        feed_forward=FeedForwardConfig(d_ff=48, activation="relu", bias=False),
        norm=RMSNormConfig(),
    )
    near = RelativeBucketsConfig(n_buckets=8, max_distance=16)
    encoder = StackConfig(blocks=(block,) * 2, norm=RMSNormConfig(), positions=near)
    crossed = block.replace(cross_attention=attention)
    return TransformerConfig(
        d_model=32,
        vocab_size=VOCAB,
        encoder=encoder,
        decoder=encoder.replace(blocks=(crossed,) * 2, positions=near.replace(two_sided=False)),
        head=TokenHeadConfig(scale=32**-0.5),
        max_positions=64,
    )


def translator_like() -> TransformerConfig:
    """The Transformer of 2017: post-norm, sinusoids, scaled embeddings, one table."""
    attention = AttentionConfig(n_heads=4, biases=ALL_BIASES)
    block = BlockConfig(
        attention=attention,
        feed_forward=FeedForwardConfig(d_ff=48, activation="relu"),
        norm=LayerNormConfig(),
        order="post",
    )
    return TransformerConfig(
        d_model=32,
        vocab_size=VOCAB,
        embedding=EmbeddingConfig(positions=SinusoidalConfig(), scale=32**0.5),
        encoder=StackConfig(blocks=(block,) * 2),
        decoder=StackConfig(blocks=(block.replace(cross_attention=attention),) * 2),
        head=TokenHeadConfig(),
        max_positions=64,
    )


DECODERS: dict[str, Callable[[], TransformerConfig]] = {
    "gpt": gpt_like,
    "llama": llama_like,
    "sliding": sliding_like,
    "mixed": mixed_like,
    "alibi": alibi_like,
    "output": output_like,
    "parallel": parallel_like,
    "experts": mixtral_like,
}
PAIRS: dict[str, Callable[[], TransformerConfig]] = {"t5": t5_like, "translator": translator_like}
ALL: dict[str, Callable[[], TransformerConfig]] = {**DECODERS, **PAIRS, "bert": bert_like, "latent": latent_like}


def lively(config: TransformerConfig, seed: int = 0) -> Transformer:
    """The model with weights large enough that every part of it shows in the logits."""
    model = config.build(seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model


def random_tokens(*shape: int, seed: int = 0) -> Tensor:
    """int64, batch position."""
    return torch.randint(0, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def run(
    model: Transformer,
    tokens: Tensor,
    valid: Tensor | None = None,
    cache: Cache | None = None,
    sources: Sequence[int] | None = None,
) -> Tensor:
    """The logits of the tokens; an encoder-decoder gets one of four sources of unequal lengths for each row."""
    if model.config.encoder is None or model.config.decoder is None:
        return model(tokens, valid=valid, cache=cache)
    rows = list(range(tokens.shape[0]) if sources is None else sources)
    source, source_valid = (
        random_tokens(4, 9, seed=5)[rows],
        (torch.arange(9) < torch.tensor([[9], [4], [7], [1]]))[rows],
    )
    return model(source, tokens, source_valid=source_valid, target_valid=valid, cache=cache)


def counted_flops(work: Callable[[], object]) -> int:
    """FLOPs of what runs, by torch's own counter; its table lacks the name that attention has on a CPU."""

    def attention(query: list[int], key: list[int], value: list[int], *_: object, **__: object) -> int:
        return int(sdpa_flop_count(query, key, value))

    here = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    with FlopCounterMode(display=False, custom_mapping=here) as counter:
        work()
    return counter.get_total_flops()
