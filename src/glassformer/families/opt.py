"""OPT (Zhang et al. 2022): learned positions behind two unused rows; the 350m embeds in a smaller width, post-norm."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _plain as plain
from glassformer.families._shared import ACTIVATIONS, EVERYWHERE, activation_name, head_name as head_name, tokens_of
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.head import TokenHeadConfig, TransformConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("opt",)
ARCHITECTURES = {
    "OPTForCausalLM": "tokens",
    "OPTModel": "hidden",
    "OPTForSequenceClassification": "classify",
    "OPTForQuestionAnswering": "span",
}
PREFIX = "model."
JUNK = ()
TIED_COPIES = {"lm_head.weight": "decoder.embed_tokens.weight"}
SPECIAL = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an OPT config.json."""
    d_model, positions = keys.size("hidden_size", 768), keys.size("max_position_embeddings", 2048)
    keys.ignore("layerdrop", "init_std", "activation_dropout")
    biased = keys.take("enable_bias", bool, True)
    affine = keys.take("layer_norm_elementwise_affine", bool, True)
    norm = LayerNormConfig(weight=affine, bias=affine)
    before = keys.take("do_layer_norm_before", bool, True)
    ended = not keys.take("_remove_final_layer_norm", bool, False) and before
    block = BlockConfig(
        attention=AttentionConfig(n_heads=keys.size("num_attention_heads", 12), biases=EVERYWHERE if biased else ()),
        feed_forward=FeedForwardConfig(
            d_ff=keys.size("ffn_dim", 3072),
            activation=keys.choose("activation_function", ACTIVATIONS, "relu"),
            bias=biased,
        ),
        norm=norm,
        order="pre" if before else "post",
    )
    stack = StackConfig(blocks=(block,) * keys.size("num_hidden_layers", 12, most=10_000), norm=norm if ended else None)
    embedding = EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=positions, offset=2))
    config = plain.decoder_of(
        keys, head, stack, d_model=d_model, vocab_size=50272, longest=positions, embedding=embedding
    )
    width = keys.size("word_embed_proj_dim", d_model)
    return config if width == d_model else _projected(config, width, keys)


def _projected(config: TransformerConfig, width: int, keys: Keys) -> TransformerConfig:
    """The same model whose tokens, at both ends, are narrower than the rest."""
    head = config.head
    if not isinstance(head, TokenHeadConfig):
        at, expected = f"{keys.path}: word_embed_proj_dim", f"{config.d_model} without a head of token scores"
        raise CheckpointError("not supported", at=at, got=width, expected=expected)
    embedding = config.embedding.replace(width=width, projection_bias=False, positions_last=True)
    transform = TransformConfig(activation="identity", width=width, bias=False)
    return config.replace(embedding=embedding, head=head.replace(transform=transform))


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an OPT config.json; what they cannot say is found by reading them back."""
    block = plain.first_block(config)
    feed_forward, norm = plain.feed_forward_of(block), plain.norm_of(block)
    pre = getattr(block, "order", "pre") == "pre"
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": plain.layers_of(config),
        "num_attention_heads": block.attention.n_heads,
        "ffn_dim": feed_forward.d_ff,
        "activation_function": activation_name(feed_forward.activation),
        "enable_bias": feed_forward.bias,
        "layer_norm_elementwise_affine": norm.weight,
        "do_layer_norm_before": pre,
        "_remove_final_layer_norm": pre and config.decoder is not None and config.decoder.norm is None,
        "word_embed_proj_dim": tokens_of(config).width or config.d_model,
        "max_position_embeddings": plain.longest_of(config),
        **plain.write_ends(config),
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """OPT's names."""
    norm = "before" if getattr(plain.first_block(config), "order", "pre") == "pre" else "sum"
    names = {
        "self_attn_layer_norm": f"attention_norm.{norm}",
        **{f"self_attn.{name}_proj": f"attention.{name}_proj" for name in "qkv"},
        "self_attn.out_proj": "attention.o_proj",
        "final_layer_norm": f"feed_forward_norm.{norm}",
        "fc1": "feed_forward.up_proj",
        "fc2": "feed_forward.down_proj",
    }
    ends = {
        "embed_tokens": "embedding.tokens",
        "project_in": "embedding.projection",
        "project_out": "head.transform.dense",
        "final_layer_norm": "decoder.norm",
    }
    return [
        Rename(f"{PREFIX}decoder.embed_positions.weight", "embedding.positions.weight"),
        *plain.named_rules(f"{PREFIX}decoder.", ends, "layers", names),
        *plain.head_rules(config),
    ]
