"""MPNet (Song et al. 2020): RoBERTa with the relative buckets of T5, which all layers share."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.families import _encoders as encoders
from glassformer.families._shared import head_name, head_of, label_rules
from glassformer.families.roberta import unused as unused
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.head import PoolerConfig
from glassformer.parts.positions import LearnedPositionsConfig, RelativeBucketsConfig

MODEL_TYPES = ("mpnet",)
ARCHITECTURES = {
    "MPNetModel": "hidden",
    "MPNetForMaskedLM": "tokens",
    "MPNetForSequenceClassification": "classify",
    "MPNetForTokenClassification": "tag",
    "MPNetForQuestionAnswering": "span",
    "MPNetForMultipleChoice": "choice",
}
PREFIX = "mpnet."
JUNK = encoders.JUNK
TIED_COPIES = encoders.copies_of_masked("lm_head")
SPECIAL = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
LABELS = {"classify": "classifier.out_proj", "tag": "classifier", "choice": "classifier", "span": "qa_outputs"}
POOLED = frozenset({"hidden", "choice"})
#: Fixed in transformers, whatever pad_token_id and relative_attention_num_buckets say.
OFFSET, N_BUCKETS = 2, 32


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an MPNet config.json; a pooler counts if its tensors are there."""
    keys.only("pruned_heads", {})
    keys.only("relative_attention_num_buckets", N_BUCKETS)
    block = encoders.read_block(keys)
    positions = keys.size("max_position_embeddings", 512) - OFFSET
    pooled = head == "classify" or encoders.has_pooler(keys, head, POOLED)
    stack = encoders.read_stack(keys, block)
    return TransformerConfig(
        d_model=keys.size("hidden_size", 768),
        vocab_size=keys.size("vocab_size", 30527),
        max_positions=positions,
        embedding=EmbeddingConfig(
            positions=LearnedPositionsConfig(max_positions=positions, offset=OFFSET), norm=block.norm
        ),
        encoder=stack.replace(positions=RelativeBucketsConfig(n_buckets=N_BUCKETS)),
        pooler=PoolerConfig(activation="tanh") if pooled else None,
        head=head_of(head, keys, tokens=encoders.read_masked(keys, block, "gelu")),
    )


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an MPNet config.json; what they cannot say is found by reading them back."""
    keys = encoders.write_block(config)
    return {
        **keys,
        "max_position_embeddings": keys["max_position_embeddings"] + OFFSET,
        "relative_attention_num_buckets": N_BUCKETS,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """MPNet's names; the dense layer of its classifier is our pooler."""
    dense = "classifier.dense" if head_name(config) == "classify" else f"{PREFIX}pooler.dense"
    attention = {name: f"attn.{name}" for name in "qkvo"}
    return [
        *encoders.embedding_rules(PREFIX),
        Rename(f"{PREFIX}encoder.relative_attention_bias.weight", "encoder.positions.weight"),
        *encoders.block_rules(PREFIX, attention, norm="attention.LayerNorm"),
        Rename(f"{dense}.*", "pooler.dense.*"),
        *encoders.masked_rules(config, "lm_head", dense="dense", norm="layer_norm"),
        *label_rules(LABELS, config),
    ]
