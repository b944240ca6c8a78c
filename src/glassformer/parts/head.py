"""Heads: what a model computes from its last hidden states."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError, UnsupportedError
from glassformer.core.part import Part
from glassformer.parts.activations import ACTIVATIONS, Activation
from glassformer.parts.dropout import Dropout
from glassformer.parts.norm import NoNorm, NormConfig
from glassformer.parts.rows import Rows


class HeadConfig(Config, base=True):
    """What every head has; a head of another package derives from this."""

    def build(self, d_model: int, embedding: nn.Embedding | None) -> Part:
        """The part: hidden states (batch position model) and one vector a row (batch model) or None → what it computes.

        ``d_model``: of what it reads · ``embedding``: of tokens, where there are any, for heads that score them.
        """
        raise AssertionError(f"{type(self).__name__} lacks build")

    @property
    def reads_pooled(self) -> bool:
        """Whether the head reads one vector a row instead of one a token."""
        return False


class TransformConfig(Config):
    """A dense layer, an activation and a norm, if any, in front of a head (BERT's masked LM)."""

    activation: Activation
    norm: NormConfig | None = None
    width: int | None = None
    bias: bool = True

    def check(self) -> None:
        self.require(self.width is None or 0 < self.width <= 1 << 20, "width", "1 … 2^20")


class TokenHeadConfig(HeadConfig):
    """Scores over the vocabulary, for causal, masked and sequence-to-sequence language models.

    tied: shares the table of the token embedding · scale: of the scores before the bias (T5: d_model^-0.5) · soft_cap:
    cap · tanh(scores / cap).
    """

    tied: bool = True
    bias: bool = False
    scale: float = 1.0
    soft_cap: float | None = None
    transform: TransformConfig | None = None

    def check(self) -> None:
        self.require(self.soft_cap is None or self.soft_cap > 0, "soft_cap", "more than 0")

    def width(self, d_model: int) -> int:
        """Of what is multiplied with the table: the transform's or d_model."""
        return (self.transform and self.transform.width) or d_model

    def build(self, d_model: int, embedding: nn.Embedding | None) -> TokenHead:
        if embedding is None:
            raise ConfigError(
                "cannot be built", at="TokenHeadConfig", got="no tokens", expected="a model that reads tokens"
            )
        width, table = self.width(d_model), embedding.embedding_dim
        self.require(not self.tied or width == table, "tied", f"False, or a transform of width {table}, not {width}")
        return TokenHead(self, d_model, embedding)


class TokenHead(Part):
    """batch position model → batch position vocab."""

    axes = "batch position vocab"

    def __init__(self, config: TokenHeadConfig, d_model: int, embedding: nn.Embedding) -> None:
        super().__init__()
        self.scale, self.soft_cap = config.scale, config.soft_cap
        self.transform = nn.Identity() if config.transform is None else Transform(config.transform, d_model)
        self.proj = nn.Linear(config.width(d_model), embedding.num_embeddings, bias=config.bias)
        self.tie(embedding if config.tied else None)

    def tie(self, embedding: nn.Embedding | None) -> None:
        """Share the table of the embedding: vocab model."""
        if embedding is not None:
            self.proj.weight = embedding.weight

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        x = self.transform(x)
        logits: Tensor = self.proj(x if self.scale == 1.0 else x * self.scale)
        return logits if self.soft_cap is None else self.soft_cap * torch.tanh(logits / self.soft_cap)


class Transform(Part):
    """norm(activation(dense(x))): batch position model → batch position model, or its own width."""

    def __init__(self, config: TransformConfig, d_model: int) -> None:
        super().__init__()
        width = config.width or d_model
        self.dense = nn.Linear(d_model, width, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.norm = NoNorm() if config.norm is None else config.norm.build(width)
        self.axes = "batch position model" if width == d_model else "batch position state"

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.activation(self.dense(x)), self.axes)
        return self.tap("output", out, self.axes)


class PoolerConfig(Config):
    """One vector a row: of the first or the last token, the mean or maximum over the real tokens, or the first and the
    mean side by side (DINOv2).

    front: first tokens that a mean or maximum leaves out, in rows without padding · activation: of a dense layer behind
    (BERT: tanh); None: no layer · bias: of that layer · norm: behind it.
    """

    take: Literal["first", "last", "mean", "max", "first_mean"] = "first"
    front: int = 0
    activation: Activation | None = None
    bias: bool = True
    norm: NormConfig | None = None

    def check(self) -> None:
        leaves_out = self.take in ("mean", "max", "first_mean")
        self.require(0 <= self.front <= (1 << 16 if leaves_out else 0), "front", "0, or more for a mean or maximum")

    def width(self, d_model: int) -> int:
        """Of the vector."""
        return 2 * d_model if self.take == "first_mean" else d_model

    def build(self, d_model: int) -> Pooler:
        return Pooler(self, d_model)


class Pooler(Part):
    """batch position model → batch model, or batch state where that is wider."""

    def __init__(self, config: PoolerConfig, d_model: int) -> None:
        super().__init__()
        self.take, self.front, width = TAKES[config.take], config.front, config.width(d_model)
        self.axes = "batch model" if width == d_model else "batch state"
        self.dense = None if config.activation is None else nn.Linear(width, width, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation or "identity"]
        self.norm = NoNorm() if config.norm is None else config.norm.build(width)

    def forward(self, x: Tensor, rows: Rows) -> Tensor:
        pooled = self.take(x, rows, self.front)
        pooled = pooled if self.dense is None else self.dense(pooled)
        return self.tap("output", self.norm(self.activation(pooled), self.axes), self.axes)


def _at(x: Tensor, places: Tensor) -> Tensor:
    """The hidden state of one place (int64, batch|1) a row."""
    return x[torch.arange(x.shape[0], device=x.device), places]


def _first(x: Tensor, rows: Rows, front: int) -> Tensor:
    return x[:, 0] if rows.valid is None else _at(x, rows.valid.long().argmax(-1))


def _last(x: Tensor, rows: Rows, front: int) -> Tensor:
    return x[:, -1] if rows.valid is None else _at(x, rows.last())


def _mean(x: Tensor, rows: Rows, front: int) -> Tensor:
    if rows.valid is None:
        return x[:, front:].mean(1)
    _refuse_padding(front)
    weights = rows.valid.to(x.dtype)[..., None]
    return (x * weights).sum(1) / weights.sum(1).clamp(min=1)


def _max(x: Tensor, rows: Rows, front: int) -> Tensor:
    if rows.valid is None:
        return x[:, front:].amax(1)
    _refuse_padding(front)
    return x.masked_fill(~rows.valid[..., None], -torch.inf).amax(1)


def _first_mean(x: Tensor, rows: Rows, front: int) -> Tensor:
    return torch.cat((_first(x, rows, 0), _mean(x, rows, front)), -1)


def _refuse_padding(front: int) -> None:
    if front:
        raise UnsupportedError("a mean that leaves out first tokens", got="padding", expected="rows of one length")


TAKES = {"first": _first, "last": _last, "mean": _mean, "max": _max, "first_mean": _first_mean}


class ClassifyHeadConfig(HeadConfig):
    """One row of scores a sequence, from the model's pooled vector: classes, several labels, or a regression."""

    n_labels: int
    bias: bool = True

    def check(self) -> None:
        self.require(0 < self.n_labels <= 1 << 24, "n_labels", "1 … 2^24")

    @property
    def reads_pooled(self) -> bool:
        return True

    def build(self, d_model: int, embedding: nn.Embedding | None) -> LabelHead:
        return LabelHead(d_model, self.n_labels, self.bias, "batch label")


class ChoiceHeadConfig(HeadConfig):
    """One score a row, where some rows are the choices of one question: batch, to be seen as question choice."""

    @property
    def reads_pooled(self) -> bool:
        return True

    def build(self, d_model: int, embedding: nn.Embedding | None) -> LabelHead:
        return LabelHead(d_model, 1, True, "batch label")


class TagHeadConfig(HeadConfig):
    """One row of scores a token: named entities, parts of speech, replaced tokens (ELECTRA); ``transform``: before."""

    n_labels: int
    bias: bool = True
    transform: TransformConfig | None = None

    def check(self) -> None:
        self.require(0 < self.n_labels <= 1 << 24, "n_labels", "1 … 2^24")

    def build(self, d_model: int, embedding: nn.Embedding | None) -> LabelHead:
        return LabelHead(d_model, self.n_labels, self.bias, "batch position label", self.transform)


class SpanHeadConfig(HeadConfig):
    """Two scores a token, for the start and the end of an answer: batch position 2; ``transform``: before."""

    bias: bool = True
    transform: TransformConfig | None = None

    def build(self, d_model: int, embedding: nn.Embedding | None) -> LabelHead:
        return LabelHead(d_model, 2, self.bias, "batch position label", self.transform)


class NextSentenceHeadConfig(HeadConfig):
    """Two scores a sequence: whether its second segment follows the first  (Devlin et al. 2019)."""

    @property
    def reads_pooled(self) -> bool:
        return True

    def build(self, d_model: int, embedding: nn.Embedding | None) -> LabelHead:
        return LabelHead(d_model, 2, True, "batch label")


class PretrainHeadConfig(HeadConfig):
    """BERT's two heads of pre-training: it computes the token scores; ``sentence_logits`` is a value with a name."""

    tokens: TokenHeadConfig

    @property
    def tied(self) -> bool:
        """Whether the token scores share the table of the embedding."""
        return self.tokens.tied

    @property
    def reads_pooled(self) -> bool:
        return True

    def build(self, d_model: int, embedding: nn.Embedding | None) -> PretrainHead:
        return PretrainHead(self, d_model, embedding)


class PretrainHead(Part):
    """batch position model and batch model → batch position vocab, with batch label on the side."""

    axes = "batch position vocab"

    def __init__(self, config: PretrainHeadConfig, d_model: int, embedding: nn.Embedding | None) -> None:
        super().__init__()
        self.tokens = config.tokens.build(d_model, embedding)
        self.sentence = LabelHead(d_model, 2, True, "batch label")

    def tie(self, embedding: nn.Embedding) -> None:
        """Share the table of the embedding: vocab model."""
        self.tokens.tie(embedding)

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        self.tap("sentence_logits", self.sentence(x, pooled), "batch label")
        out: Tensor = self.tokens(x)
        return out


class LabelHead(Part):
    """A linear map to labels, of each token or of the pooled vector, with dropout in front."""

    def __init__(
        self, d_model: int, n_labels: int, bias: bool, axes: str, transform: TransformConfig | None = None
    ) -> None:
        super().__init__()
        self.axes = axes
        self.reads_pooled = axes == "batch label"
        self.transform = nn.Identity() if transform is None else Transform(transform, d_model)
        width = d_model if transform is None or transform.width is None else transform.width
        self.proj = nn.Linear(width, n_labels, bias=bias)
        self.dropout = Dropout()

    def forward(self, x: Tensor, pooled: Tensor | None = None) -> Tensor:
        states = pooled if self.reads_pooled and pooled is not None else x
        out: Tensor = self.proj(self.dropout(self.transform(states)))
        return out
