"""What a model costs, by formula; the tests compare each with counted FLOPs and bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from glassformer.parts.attention import Attending
from glassformer.parts.disentangled import DisentangledAttention, DistanceVectors
from glassformer.parts.experts import Experts
from glassformer.parts.grid import LearnedGrid
from glassformer.parts.head import LabelHead, Pooler
from glassformer.parts.patches import PatchEmbedding
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

    A token of an image is one of its positions; images are of the size that the model is made for.

    FLOPs per token = 2 · (entries of every matrix the token passes)
                    + 4 · n_heads · head_dim · (keys it attends to), a layer: scores and their mix, all keys counted.
    KV bytes per token = 2 · n_kv_heads · head_dim · bytes a number, a layer; of latent attention what it keeps instead.

    The token of an encoder-decoder is one of the source and one of the target; what a row passes once (a pooler, a
    classifier, the projections of distances) is shared by its tokens.
    """
    context = _context(model, context)
    tables = [part for part in model.modules() if isinstance(part, nn.Embedding | LearnedPositions | LearnedGrid)]
    in_tables = {id(part.weight): part.weight.numel() for part in tables}
    once = row_entries(model)
    flops = 2 * (matrix_entries(model) - once + (once + image_multiplications(model)) // context)
    for stack in (model.encoder, model.decoder):
        flops += 0 if stack is None else attention_flops(stack, context) + distance_flops(stack, context)
    bytes_each = next(model.parameters()).element_size()
    return Summary(
        parameters=sum(weight.numel() for weight in model.parameters()),
        embedding_parameters=sum(in_tables.values()),
        flops_per_token=flops,
        kv_bytes_per_token=0 if model.decoder is None else kv_numbers(model.decoder) * bytes_each,
        context=context,
    )


def _context(model: Transformer, context: int | None) -> int:
    """Positions of a row; of images as many as the description says."""
    if isinstance(model.embedding, PatchEmbedding):
        return model.embedding.config.n_positions
    return context or min(model.config.max_positions or 1024, 1024)


def image_multiplications(model: Transformer) -> int:
    """Of an image's patches; of the convolutions in front of them."""
    return model.embedding.multiplications if isinstance(model.embedding, PatchEmbedding) else 0


def matrix_entries(part: nn.Module) -> int:
    """The entries of every matrix in a part that a token passes, of experts the chosen ones."""
    chosen = sum(experts.active_entries for experts in part.modules() if isinstance(experts, Experts))
    return round(chosen) + sum(linear.weight.numel() for linear in part.modules() if isinstance(linear, nn.Linear))


def row_entries(model: Transformer) -> int:
    """The entries of the matrices that a row passes once: those of poolers and of heads that read what they make."""
    once = [
        part
        for part in model.modules()
        if isinstance(part, Pooler) or (isinstance(part, LabelHead) and part.reads_pooled)
    ]
    return sum(matrix_entries(part) for part in once)


def distance_flops(stack: Stack, context: int) -> int:
    """Of disentangled attention, a layer and token: each vector of a distance with the token's query, key or both, and
    their projections, less those that ``matrix_entries`` takes for a token's."""
    total = 0
    for block in stack.blocks if isinstance(stack.positions, DistanceVectors) else ():
        attention = attention_of(block, "attention")
        assert isinstance(attention, DisentangledAttention) and isinstance(stack.positions, DistanceVectors)
        scored = attention.n_heads * attention.head_dim * len(attention.terms)
        vectors, d_model = stack.positions.weight.shape
        own = sum(matrix_entries(proj) for proj in attention.distance_projections)
        total += 2 * (vectors * scored + vectors * d_model * scored // context - own)
    return total


def attention_flops(stack: Stack, context: int) -> int:
    """4 · n_heads · head_dim · keys for each layer and token; a window sees at most its own size of keys."""
    total = 0
    for block, window in zip(stack.blocks, stack.windows, strict=True):
        attention = attention_of(block, "attention")
        width = attention.n_heads * (attention.key_dim + attention.value_dim)
        total += 2 * width * (context if window is None else min(window, context))
        if stack.crosses:
            cross = attention_of(block, "cross_attention")
            total += 2 * cross.n_heads * (cross.key_dim + cross.value_dim) * context
    return total


def kv_numbers(stack: Stack) -> int:
    """The numbers that a cache keeps for one token."""
    return sum(attention_of(block, "attention").kept for block in stack.blocks)


def attention_of(block: nn.Module, name: str) -> Attending:
    """The attention of that name in a block."""
    part = block.get_submodule(name)
    assert isinstance(part, Attending)
    return part
