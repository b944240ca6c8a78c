"""The shapes that are compared: the same model here, in ``transformers``, and written straight down."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import LearnedPositionsConfig
from glassformer.parts.stack import StackConfig


@dataclass(frozen=True)
class Shape:
    """A GPT-2 of some size, and the batch it is measured with."""

    name: str
    n_layers: int
    d_model: int
    n_heads: int
    vocab_size: int
    length: int
    batch: int
    max_positions: int | None = None

    @property
    def positions(self) -> int:
        """Rows of the position table."""
        return self.max_positions or self.length


SMALL = Shape("0.8 M", 4, 128, 4, 65, 64, 12)
MIDDLE = Shape("10.8 M", 6, 384, 6, 65, 256, 8)
LARGE = Shape("124 M", 12, 768, 12, 50_257, 512, 1, max_positions=1024)


def ours(shape: Shape) -> Transformer:
    """The shape as a description of this house."""
    norm = LayerNormConfig(eps=1e-5)
    block = BlockConfig(
        attention=AttentionConfig(n_heads=shape.n_heads, biases=("query", "key", "value", "output")),
        feed_forward=FeedForwardConfig(d_ff=4 * shape.d_model, activation="gelu_tanh"),
        norm=norm,
    )
    return TransformerConfig(
        d_model=shape.d_model,
        vocab_size=shape.vocab_size,
        max_positions=shape.positions,
        embedding=EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=shape.positions)),
        decoder=StackConfig(blocks=(block,) * shape.n_layers, norm=norm),
        head=TokenHeadConfig(tied=True),
    ).build()


def peer(shape: Shape) -> nn.Module:
    """The shape in ``transformers``, with its fused attention and without dropout."""
    config = transformers.GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.positions,
        n_embd=shape.d_model,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    model: nn.Module = transformers.GPT2LMHeadModel(config)
    return model


class StraightBlock(nn.Module):
    """A block with nothing in it but its arithmetic."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, self.n_heads = shape.d_model, shape.n_heads
        self.norm1, self.qkv, self.out = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.norm2, self.up, self.down = nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, d = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.n_heads, d // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(heads.transpose(1, 2).reshape(batch, length, d))
        x = x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))
        return x


class Straight(nn.Module):
    """An eager GPT written straight down, fused query-key-value, no names: what the taps are measured against."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocab_size, shape.d_model)
        self.positions = nn.Embedding(shape.positions, shape.d_model)
        self.blocks = nn.ModuleList(StraightBlock(shape) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(shape.d_model)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)
