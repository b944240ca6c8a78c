"""Token embeddings, with what is added to them before the first block."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.errors import DataError
from glassformer.core.part import Part
from glassformer.parts.dropout import Dropout
from glassformer.parts.norm import NoNorm, NormConfig
from glassformer.parts.positions import EmbeddingPositionsConfig
from glassformer.parts.rows import Frame, Rows, rows_of


class EmbeddingConfig(Config):
    """tokens · scale + positions + segments, normed and projected.

    width: of the table where it is not d_model (ALBERT, ELECTRA), with a projection behind · n_segments: token types ·
    positions_last: positions are added behind the projection, in its width (OPT-350m) · shared: of a target, whose
    token table is that of the source (BART).
    """

    positions: EmbeddingPositionsConfig | None = None
    scale: float = 1.0
    n_segments: int = 0
    norm: NormConfig | None = None
    width: int | None = None
    projection_bias: bool = True
    positions_last: bool = False
    shared: bool = False

    def check(self) -> None:
        self.require(0 <= self.n_segments <= 1 << 16, "n_segments", "0 … 65536")
        self.require(self.width is None or 0 < self.width <= 1 << 20, "width", "1 … 2^20")

    def build(self, vocab_size: int, d_model: int) -> Embedding:
        return Embedding(self, vocab_size, d_model)


class Embedding(Part):
    """tokens: int64, batch position → batch position model."""

    frame: Frame | None = None  # a trace puts one here

    def __init__(self, config: EmbeddingConfig, vocab_size: int, d_model: int) -> None:
        super().__init__()
        width = config.width or d_model
        self.scale = config.scale
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions_last = config.positions_last
        reached = d_model if config.positions_last else width
        self.positions = None if config.positions is None else config.positions.build(reached)
        self.segments = nn.Embedding(config.n_segments, width) if config.n_segments else None
        self.norm = NoNorm() if config.norm is None else config.norm.build(width)
        projects = config.width is not None and config.width != d_model
        self.projection = nn.Linear(width, d_model, bias=config.projection_bias) if projects else nn.Identity()
        self.axes = "batch position state" if projects else "batch position model"
        self.dropout = Dropout()

    def forward(self, tokens: Tensor, rows: Rows, segments: Tensor | None = None) -> Tensor:
        if self.frame is not None:
            self.frame.positions = rows.positions
        self._check_segments(tokens, segments)
        x = rows.blank(self.tokens(tokens))
        if self.scale != 1.0:
            x = x * torch.tensor(self.scale, dtype=x.dtype, device=x.device)  # rounded as the tables are (Gemma)
        if self.segments is not None:
            x = x + self.segments(torch.zeros_like(tokens) if segments is None else segments)
        if self.positions is not None and not self.positions_last:
            x = x + self.positions(rows.positions).to(x.dtype)
        out: Tensor = self.projection(self.dropout(self.norm(x, self.axes)))
        if self.positions is not None and self.positions_last:
            out = out + self.positions(rows.positions).to(x.dtype)
        return out

    def rows(self, tokens: Tensor, **said: Tensor | None) -> Rows:
        """The rows of tokens, of which ``said`` is what ``rows_of`` takes.

        Raises:
            DataError: not int64, batch position, or an id that is not in the table.
        """
        self._check(tokens)
        return rows_of((tokens.shape[0], tokens.shape[1]), tokens.device, **said)

    def sample(self, device: torch.device | str) -> Tensor:
        """A row of two tokens."""
        return torch.zeros(1, 2, dtype=torch.int64, device=device)

    def _check(self, tokens: Tensor) -> None:
        """Raise a ``DataError`` unless these are ids that are in the table."""
        if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32) or tokens.numel() == 0:
            raise DataError("tokens", got=f"{tokens.dtype} {tuple(tokens.shape)}", expected="int64, batch position")
        if tokens.device.type == "cpu":
            (low, high), count = (int(bound) for bound in tokens.aminmax()), self.tokens.num_embeddings
            if low < 0 or high >= count:
                got = low if low < 0 else high
                raise DataError("a token id outside of the vocabulary", got=got, expected=f"0 … {count - 1}")

    def _check_segments(self, tokens: Tensor, segments: Tensor | None) -> None:
        """Raise a ``DataError`` unless there are no segments or each is in the table."""
        if segments is None:
            return
        if self.segments is None:
            raise DataError("this model has no segments", do="leave them out")
        if segments.shape != tokens.shape or segments.dtype not in (torch.int64, torch.int32):
            got, expected = f"{segments.dtype} {tuple(segments.shape)}", f"torch.int64 {tuple(tokens.shape)}"
            raise DataError("segments", got=got, expected=expected)
        if segments.device.type == "cpu":
            (low, high), last = segments.aminmax(), self.segments.num_embeddings - 1
            if low < 0 or high > last:
                worst = int(low if low < 0 else high)
                raise DataError("a segment outside of the table", got=worst, expected=f"0 … {last}")
