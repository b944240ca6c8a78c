"""ALBERT (Lan et al. 2020): BERT with narrow embeddings and layers that share their weights, group by group."""

from __future__ import annotations

from typing import Any

from glassformer.checkpoints.keys import Keys
from glassformer.checkpoints.rules import Rename, Rule
from glassformer.core.errors import CheckpointError
from glassformer.families import _encoders as encoders
from glassformer.families._shared import head_name, head_of, label_rules, need, the, tokens_of
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.head import PoolerConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig

MODEL_TYPES = ("albert",)
ARCHITECTURES = {
    "AlbertModel": "hidden",
    "AlbertForMaskedLM": "tokens",
    "AlbertForPreTraining": "pretrain",
    "AlbertForSequenceClassification": "classify",
    "AlbertForTokenClassification": "tag",
    "AlbertForQuestionAnswering": "span",
    "AlbertForMultipleChoice": "choice",
}
PREFIX = "albert."
JUNK = encoders.JUNK
TIED_COPIES = encoders.copies_of_masked("predictions")
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
LABELS = {"classify": "classifier", "tag": "classifier", "choice": "classifier", "span": "qa_outputs"}
POOLED = frozenset({"hidden", "pretrain", "classify", "choice"})
#: Of the first ALBERT, in configs that were converted from it.
OTHER = ("down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks", "layers_to_keep")


def to_config(keys: Keys, head: str) -> TransformerConfig:
    """The description of an ALBERT config.json; a pooler or a head of pre-training counts if its tensors are there."""
    encoders.refuse_decoders(keys)
    keys.ignore(*OTHER)
    block = encoders.read_block(keys, activation="gelu_new", n_heads=64)
    d_model, width = keys.size("hidden_size", 4096), keys.size("embedding_size", 128)
    positions = keys.size("max_position_embeddings", 512)
    if width == d_model:  # transformers keeps a projection then, which our embedding has not
        expected = f"another width than hidden_size = {d_model}"
        raise CheckpointError("not supported", at=f"{keys.path}: embedding_size", got=width, expected=expected)
    if keys.tensors is not None and head == "tokens" and "sop_classifier.classifier.weight" in keys.tensors:
        head = "pretrain"
    pooled = encoders.has_pooler(keys, head, POOLED, "pooler.weight")
    sources = _read_sources(keys)
    return TransformerConfig(
        d_model=d_model,
        vocab_size=keys.size("vocab_size", 30000),
        max_positions=positions,
        embedding=EmbeddingConfig(
            positions=LearnedPositionsConfig(max_positions=positions),
            n_segments=keys.size("type_vocab_size", 2),
            norm=block.norm,
            width=width,
        ),
        encoder=StackConfig(blocks=(block,) * len(sources), weights_of=_plain(sources)),
        pooler=PoolerConfig(activation="tanh") if pooled else None,
        head=head_of(head, keys, tokens=encoders.read_masked(keys, block, encoders.activation_of(block), width)),
    )


def sources_of(layers: int, groups: int, inner: int) -> tuple[int, ...]:
    """For each block the one whose weights it has: a group of ``inner`` blocks is applied as one layer, many times."""
    group_of = [int(layer / (layers / groups)) for layer in range(layers)]
    first = {group: layer for layer, group in reversed(list(enumerate(group_of)))}
    return tuple(first[group] * inner + block for group in group_of for block in range(inner))


def _read_sources(keys: Keys) -> tuple[int, ...]:
    layers = keys.size("num_hidden_layers", 12, most=10_000)
    groups = keys.size("num_hidden_groups", 1, most=layers)
    inner = keys.size("inner_group_num", 1, most=10_000 // layers)
    if layers == groups and inner > 1:  # then no repetition tells a group from its inner layers
        at, got = f"{keys.path}: inner_group_num", f"{inner}, in groups that are used once"
        raise CheckpointError("not supported", at=at, got=got, expected="1")
    return sources_of(layers, groups, inner)


def _plain(sources: tuple[int, ...]) -> tuple[int, ...] | None:
    return None if sources == tuple(range(len(sources))) else sources


def _groups(config: TransformerConfig) -> tuple[int, int, int]:
    """How many layers, groups and layers inside of a group share weights so."""
    stack = the(StackConfig, config.encoder, "encoder")
    count = len(stack.blocks)
    sources = stack.weights_of or tuple(range(count))
    for inner in (size for size in range(1, count + 1) if count % size == 0):
        layers, groups = count // inner, len(set(sources)) // inner
        if 0 < groups <= layers and sources_of(layers, groups, inner) == sources:
            return layers, groups, inner
    need(False, "encoder.weights_of", sources, "groups of equal size")
    raise AssertionError


def from_config(config: TransformerConfig) -> dict[str, Any]:
    """The keys of an ALBERT config.json; what they cannot say is found by reading them back."""
    need(tokens_of(config).n_segments > 0, "embedding.n_segments", 0, "token types")
    need(tokens_of(config).width is not None, "embedding.width", None, "a width of its own")
    layers, groups, inner = _groups(config)
    return {
        **encoders.write_block(config, {"gelu_tanh": "gelu_new"}),
        "num_hidden_layers": layers,
        "num_hidden_groups": groups,
        "inner_group_num": inner,
        "embedding_size": tokens_of(config).width,
        "type_vocab_size": tokens_of(config).n_segments,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """ALBERT's names: those of a group belong to the first layer that uses it."""
    layers, groups, inner = _groups(config)
    firsts = sorted(set(sources_of(layers, groups, inner)))
    pretrain = head_name(config) == "pretrain"
    found = [
        *encoders.embedding_rules(PREFIX),
        Rename(f"{PREFIX}encoder.embedding_hidden_mapping_in.*", "embedding.projection.*"),
        Rename(f"{PREFIX}pooler.*", "pooler.dense.*"),
        *encoders.masked_rules(config, "predictions", dense="dense", norm="LayerNorm"),
        *([Rename("sop_classifier.classifier.*", "head.sentence.proj.*")] if pretrain else []),
        *label_rules(LABELS, config),
    ]
    for place, block in enumerate(firsts):
        group = f"{PREFIX}encoder.albert_layer_groups.{place // inner}.albert_layers.{place % inner}"
        found += _block_rules(group, f"encoder.blocks.{block}")
    return found


def _block_rules(theirs: str, ours: str) -> list[Rule]:
    attention = {"q": "query", "k": "key", "v": "value", "o": "dense"}
    return [
        *(Rename(f"{theirs}.attention.{name}.*", f"{ours}.attention.{x}_proj.*") for x, name in attention.items()),
        Rename(f"{theirs}.attention.LayerNorm.*", f"{ours}.attention_norm.sum.*"),
        Rename(f"{theirs}.ffn.*", f"{ours}.feed_forward.up_proj.*"),
        Rename(f"{theirs}.ffn_output.*", f"{ours}.feed_forward.down_proj.*"),
        Rename(f"{theirs}.full_layer_layer_norm.*", f"{ours}.feed_forward_norm.sum.*"),
    ]
