"""What a model costs, by formula; the tests compare each with counted FLOPs and bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from glassformer.parts.attention import Attention
from glassformer.parts.head import LabelHead, Pooler
from glassformer.parts.positions import LearnedPositions

if TYPE_CHECKING:
    from glassformer.models.transformer import Transformer
    from glassformer.parts.stack import Stack


@dataclass(frozen=True)
class Summary:
    """parameters: shared tensors counted once · flops_per_token: of a forward, at ``context`` tokens a row ·
    kv_bytes_per_token: that a cache keeps for each token, in float32 times 4, in 16 bit times 2 (``kv_bytes``)."""

    parameters: int
    embedding_parameters: int
    flops_per_token: int
    kv_bytes_per_token: int
    context: int

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{_short(self.parameters)} parameters ({_short(self.embedding_parameters)} in embeddings) · "
            f"{_short(self.flops_per_token)} FLOPs per token at {self.context:,} tokens · "
            f"{self.kv_bytes_per_token:,} KV bytes per token"
        )


def _short(number: int) -> str:
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return str(number)


def summarise(model: Transformer, context: int | None = None) -> Summary:
    """The costs of a model for rows of ``context`` tokens (None: as long as the model is made for, at most 1,024).

    FLOPs per token = 2 · (entries of every matrix the token passes)
                    + 4 · n_heads · head_dim · (keys it attends to), a layer: scores and their mix, all keys counted.
    KV bytes per token = 2 · n_kv_heads · head_dim · bytes a number, a layer.

    The token of an encoder-decoder is one of the source and one of the target; what a row passes once (a pooler, a
    classifier) is shared by its tokens.
    """
    context = context or min(model.config.max_positions or 1024, 1024)
    tables = [part for part in model.modules() if isinstance(part, nn.Embedding | LearnedPositions)]
    in_tables = {id(part.weight): part.weight.numel() for part in tables}
    once = row_entries(model)
    flops = 2 * (matrix_entries(model) - once + once // context)
    for stack in (model.encoder, model.decoder):
        flops += 0 if stack is None else attention_flops(stack, context)
    bytes_each = next(model.parameters()).element_size()
    return Summary(
        parameters=sum(weight.numel() for weight in model.parameters()),
        embedding_parameters=sum(in_tables.values()),
        flops_per_token=flops,
        kv_bytes_per_token=0 if model.decoder is None else kv_numbers(model.decoder) * bytes_each,
        context=context,
    )


def matrix_entries(part: nn.Module) -> int:
    """The entries of every matrix in a part."""
    return sum(linear.weight.numel() for linear in part.modules() if isinstance(linear, nn.Linear))


def row_entries(model: Transformer) -> int:
    """The entries of the matrices that a row passes once: those of poolers and of heads that read what they make."""
    once = [
        part
        for part in model.modules()
        if isinstance(part, Pooler) or (isinstance(part, LabelHead) and part.reads_pooled)
    ]
    return sum(matrix_entries(part) for part in once)


def attention_flops(stack: Stack, context: int) -> int:
    """4 · n_heads · head_dim · keys for each layer and token; a window sees at most its own size of keys."""
    total = 0
    for block, window in zip(stack.blocks, stack.windows, strict=True):
        attention = attention_of(block, "attention")
        total += 4 * attention.n_heads * attention.head_dim * (context if window is None else min(window, context))
        if stack.crosses:
            cross = attention_of(block, "cross_attention")
            total += 4 * cross.n_heads * cross.head_dim * context
    return total


def kv_numbers(stack: Stack) -> int:
    """2 · n_kv_heads · head_dim for each layer: the numbers that a cache keeps for one token."""
    attentions = [attention_of(block, "attention") for block in stack.blocks]
    return sum(2 * attention.n_kv_heads * attention.head_dim for attention in attentions)


def attention_of(block: nn.Module, name: str) -> Attention:
    """The attention of that name in a block."""
    part = block.get_submodule(name)
    assert isinstance(part, Attention)
    return part
