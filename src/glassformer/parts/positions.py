"""How positions enter: added to the embedding, turned into queries and keys, or added to the scores.

    EmbeddingPositionsConfig   LearnedPositionsConfig, SinusoidalConfig      embedding + positions
    RotationConfig             RotaryConfig                                  query, key turned by their position
    ScorePositionsConfig       ALiBiConfig, RelativeBucketsConfig            scores + bias of the distance

Positions are int64, batch|1 position; those of padding are -1 and their values do not matter.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError
from glassformer.core.part import Part


class EmbeddingPositionsConfig(Config, base=True):
    """Positions that are added to the embedding."""

    def build(self, width: int) -> Part:
        """The part: positions, batch|1 position → batch|1 position model."""
        raise AssertionError(f"{type(self).__name__} lacks build")


class LearnedPositionsConfig(EmbeddingPositionsConfig):
    """A table of learned vectors; row ``offset + p`` belongs to position p (OPT and RoBERTa keep 2 rows in front)."""

    max_positions: int
    offset: int = 0

    def check(self) -> None:
        self.require(0 < self.max_positions <= 1 << 24, "max_positions", "1 … 2^24")
        self.require(0 <= self.offset < 16, "offset", "0 … 15")

    def build(self, width: int) -> LearnedPositions:
        return LearnedPositions(self, width)


class LearnedPositions(Part):
    """Looks the vectors up."""

    def __init__(self, config: LearnedPositionsConfig, width: int) -> None:
        super().__init__()
        self.offset, self.max_positions = config.offset, config.max_positions
        self.weight = nn.Parameter(torch.empty(config.max_positions + config.offset, width))

    def forward(self, positions: Tensor) -> Tensor:
        return nn.functional.embedding(positions.clamp(min=0) + self.offset, self.weight)


class SinusoidalConfig(EmbeddingPositionsConfig):
    """sin(p / theta^(2i/d)) and cos(p / theta^(2i/d))  (Vaswani et al. 2017, section 3.5).

    ``layout``: "interleaved" as in the paper, sine and cosine in turn, or "halves", all sines first · ``inclusive``:
    d/2 - 1 steps instead of d/2, so that the last wavelength is theta itself (tensor2tensor, Whisper, M2M-100).
    """

    theta: float = 10_000.0
    layout: Literal["interleaved", "halves"] = "interleaved"
    inclusive: bool = False
    offset: int = 0

    def check(self) -> None:
        self.require(self.theta > 1, "theta", "more than 1")

    def build(self, width: int) -> Sinusoidal:
        least = 4 if self.inclusive else 2
        if width % 2 or width < least:
            raise ConfigError(
                "cannot be built", at="SinusoidalConfig", got=f"width {width}", expected=f"even, {least} or more"
            )
        return Sinusoidal(self, width)


class Sinusoidal(Part):
    """Computes the vectors; there is no table and nothing to save."""

    def __init__(self, config: SinusoidalConfig, width: int) -> None:
        super().__init__()
        self.config, self.width = config, width

    def forward(self, positions: Tensor) -> Tensor:
        half = self.width // 2
        steps = half - 1 if self.config.inclusive else half
        powers = torch.arange(half, dtype=torch.float32, device=positions.device) / steps
        angles = (positions + self.config.offset)[..., None].float() * self.config.theta**-powers
        pair = (angles.sin(), angles.cos())
        return torch.stack(pair, -1).flatten(-2) if self.config.layout == "interleaved" else torch.cat(pair, -1)


class ScorePositionsConfig(Config, base=True):
    """Positions that are added to the scores."""

    def build(self, n_heads: int) -> Part:
        """The part: positions of queries and keys → bias, batch|1 head query key."""
        raise AssertionError(f"{type(self).__name__} lacks build")


class ALiBiConfig(ScorePositionsConfig):
    """-slope · |distance|, with slopes 2^(-8h/n) a head  (Press et al. 2022).

    gain: multiplies the slopes · exponent: the 8, of the last head's slope (MPT-StoryWriter: 16).
    """

    gain: float = 1.0
    exponent: float = 8.0

    def check(self) -> None:
        self.require(0 < self.exponent <= 1 << 10, "exponent", "above 0, at most 1024")

    def build(self, n_heads: int) -> ALiBi:
        return ALiBi(self, n_heads)


class ALiBi(Part):
    """The linear bias: batch|1 head query key."""

    def __init__(self, config: ALiBiConfig, n_heads: int) -> None:
        super().__init__()
        self.gain, self.exponent, self.n_heads = config.gain, config.exponent, n_heads

    def slopes(self) -> list[float]:
        """One slope a head; for counts that are no power of two, every other slope of the next power is put behind."""
        power = 2 ** math.floor(math.log2(self.n_heads))
        first = [2 ** (-self.exponent * (head + 1) / power) for head in range(power)]
        rest = [2 ** (-self.exponent * (head + 0.5) / power) for head in range(self.n_heads - power)]
        return [self.gain * slope for slope in first + rest]

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        distance = (query[:, :, None] - key[:, None, :]).abs()[:, None]
        return -torch.tensor(self.slopes(), device=query.device)[:, None, None] * distance


class RelativeBucketsConfig(ScorePositionsConfig):
    """A learned bias a head for each bucket of distances, exact near and logarithmic far  (Raffel et al. 2020)."""

    n_buckets: int = 32
    max_distance: int = 128
    two_sided: bool = True

    def check(self) -> None:
        self.require(2 <= self.n_buckets <= 1 << 16, "n_buckets", "2 … 65536")
        exact = self.n_buckets // (4 if self.two_sided else 2)
        self.require(0 < exact < self.max_distance, "max_distance", f"more than the {exact} exact buckets")

    def build(self, n_heads: int) -> RelativeBuckets:
        return RelativeBuckets(self, n_heads)


class RelativeBuckets(Part):
    """The bucketed bias: 1|batch head query key. ``weight``: bucket head."""

    def __init__(self, config: RelativeBucketsConfig, n_heads: int) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.n_buckets, n_heads))

    def buckets(self, distance: Tensor) -> Tensor:
        """key - query → bucket; half of the buckets belong to keys ahead where both sides are told apart."""
        n, first = self.config.n_buckets, torch.zeros_like(distance)
        if self.config.two_sided:
            n //= 2
            first = (distance > 0) * n
        near = distance.abs() if self.config.two_sided else -distance.clamp(max=0)
        exact = n // 2
        growth = (near.float().clamp(min=1) / exact).log() / math.log(self.config.max_distance / exact)
        far = (exact + (growth * (n - exact)).long()).clamp(max=n - 1)
        return first + torch.where(near < exact, near, far)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        buckets = self.buckets(key[:, None, :] - query[:, :, None])
        return nn.functional.embedding(buckets, self.weight).permute(0, 3, 1, 2)
