"""Rotary positions: queries and keys are turned by angles that grow with their position  (Su et al. 2021).

    (u, v) → (u cos a - v sin a, v cos a + u sin a),   a = position / theta^(2i / d)

Frequencies and the gain of every scaling are fixed by the description; angles are computed in float32. Only dynamic
NTK and LongRoPE depend on the length of a row, and then on that row alone, never on its neighbours in a batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.core.config import Config
from glassformer.core.errors import ConfigError, UnsupportedError
from glassformer.core.part import Part
from glassformer.parts.rows import Rows


class RotationConfig(Config, base=True):
    """Positions that turn queries and keys."""

    def build(self, head_dim: int) -> Part:
        """The part: positions and row lengths → a Rotation."""
        raise AssertionError(f"{type(self).__name__} lacks build")


class ScalingConfig(Config, base=True):
    """How frequencies are stretched for rows longer than the model was first trained on."""

    def frequencies(self, theta: float, dim: int, lengths: Tensor) -> Tensor:
        """Angles per position: batch|1 state, for rows of ``lengths`` (int64, batch|1)."""
        raise AssertionError(f"{type(self).__name__} lacks frequencies")

    def check_dim(self, dim: int) -> None:
        """Refuse a number of rotated dimensions that cannot be scaled so."""

    def gain(self) -> float:
        """What cosines and sines are multiplied by."""
        return 1.0

    def limit(self) -> int | None:
        """The length at which the frequencies change, or None where they never do."""
        return None


def plain_frequencies(theta: float, dim: int, device: torch.device) -> Tensor:
    """theta^(-2i/dim): state, float32."""
    return 1.0 / theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim)


class LinearScalingConfig(ScalingConfig):
    """Positions are divided by ``factor``  (Chen et al. 2023)."""

    factor: float

    def check(self) -> None:
        self.require(self.factor > 0, "factor", "more than 0")

    def frequencies(self, theta: float, dim: int, lengths: Tensor) -> Tensor:
        return plain_frequencies(theta, dim, lengths.device)[None] / self.factor


class DynamicScalingConfig(ScalingConfig):
    """The base grows with the length of the row once it passes ``original`` positions (dynamic NTK)."""

    factor: float
    original: int

    def check(self) -> None:
        self.require(self.factor >= 1, "factor", "at least 1")
        self.require(self.original > 0, "original", "more than 0")

    def check_dim(self, dim: int) -> None:
        if dim <= 2:
            raise ConfigError(
                "cannot be built", at="DynamicScalingConfig", got=f"{dim} rotated dimensions", expected="4 or more"
            )

    def frequencies(self, theta: float, dim: int, lengths: Tensor) -> Tensor:
        length = lengths.float().clamp(min=self.original)[:, None]
        grown = theta * (self.factor * length / self.original - (self.factor - 1)) ** (dim / (dim - 2))
        return 1.0 / grown ** (torch.arange(0, dim, 2, dtype=torch.float32, device=lengths.device) / dim)

    def limit(self) -> int | None:
        return self.original


class YarnScalingConfig(ScalingConfig):
    """Fast frequencies stay, slow ones are divided by ``factor``, with a ramp between  (Peng et al. 2023)."""

    factor: float
    original: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    def check(self) -> None:
        self.require(self.factor > 0, "factor", "more than 0")
        self.require(self.original > 0, "original", "more than 0")
        self.require(self.beta_fast > 0, "beta_fast", "more than 0")
        self.require(self.beta_slow > 0, "beta_slow", "more than 0")

    def gain(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self.magnitude(self.mscale) / self.magnitude(self.mscale_all_dim)
        return self.magnitude(1.0)

    def magnitude(self, mscale: float) -> float:
        """What a factor of the authors comes to: 1, or more where frequencies are divided."""
        return 1.0 if self.factor <= 1 else 0.1 * mscale * math.log(self.factor) + 1.0

    def frequencies(self, theta: float, dim: int, lengths: Tensor) -> Tensor:
        def turns(rotations: float) -> float:  # the dimension that turns so often over the original length
            return dim * math.log(self.original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

        low, high = turns(self.beta_fast), turns(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        steps = torch.arange(dim // 2, dtype=torch.float32, device=lengths.device)
        slow = ((steps - low) / (high - low or 0.001)).clamp(0, 1)
        plain = plain_frequencies(theta, dim, lengths.device)
        return (plain / self.factor * slow + plain * (1 - slow))[None]


class Llama3ScalingConfig(ScalingConfig):
    """Wavelengths above ``original / low`` grow by ``factor``, those below ``original / high`` stay  (Llama 3.1)."""

    factor: float
    original: int
    low: float = 1.0
    high: float = 4.0

    def check(self) -> None:
        self.require(self.factor > 0, "factor", "more than 0")
        self.require(self.original > 0, "original", "more than 0")
        self.require(0 < self.low < self.high, "low", f"more than 0 and less than high = {self.high}")

    def frequencies(self, theta: float, dim: int, lengths: Tensor) -> Tensor:
        plain = plain_frequencies(theta, dim, lengths.device)
        wavelength = 2 * math.pi / plain
        smooth = (self.original / wavelength - self.low) / (self.high - self.low)
        between = (1 - smooth) * plain / self.factor + smooth * plain
        far = torch.where(wavelength > self.original / self.low, plain / self.factor, between)
        return torch.where(wavelength < self.original / self.high, plain, far)[None]


class LongRoPEScalingConfig(ScalingConfig):
    """Each frequency has its own factor, one list for rows up to ``original`` and one for longer (Ding et al. 2024)."""

    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int
    factor: float
    attention_factor: float | None = None

    def check(self) -> None:
        self.require(len(self.short) == len(self.long), "long", f"{len(self.short)} factors, as short has")
        self.require(min(self.short + self.long, default=0) > 0, "short", "factors above 0")
        self.require(self.original > 1, "original", "more than 1")

    def check_dim(self, dim: int) -> None:
        self.require(len(self.short) == dim // 2, "short", f"{dim // 2} factors for {dim} rotated dimensions")

    def gain(self) -> float:
        if self.attention_factor is not None:
            return self.attention_factor
        return 1.0 if self.factor <= 1 else math.sqrt(1 + math.log(self.factor) / math.log(self.original))

    def frequencies(self, theta: float, dim: int, lengths: Tensor) -> Tensor:
        factors = torch.tensor((self.short, self.long), dtype=torch.float32, device=lengths.device)
        chosen = torch.where((lengths > self.original)[:, None], factors[1], factors[0])
        return plain_frequencies(theta, dim, lengths.device) / chosen

    def limit(self) -> int | None:
        return self.original


class ProportionalScalingConfig(ScalingConfig):
    """The first ``share`` of all pairs turns, at the speeds it has among all of them; the rest stays  (Gemma 4)."""

    share: float
    factor: float = 1.0

    def check(self) -> None:
        self.require(0 < self.share <= 1, "share", "more than 0, at most 1")
        self.require(self.factor > 0, "factor", "more than 0")

    def frequencies(self, theta: float, dim: int, lengths: Tensor) -> Tensor:
        plain = plain_frequencies(theta, dim, lengths.device)
        turns = torch.arange(dim // 2, device=lengths.device) < int(self.share * dim // 2)
        return (plain * turns)[None] / self.factor


class RotaryConfig(RotationConfig):
    """``dim``: how many dimensions of a head turn, None = all · ``interleaved``: pairs are neighbours, not halves."""

    theta: float = 10_000.0
    dim: int | None = None
    interleaved: bool = False
    scaling: ScalingConfig | None = None

    def check(self) -> None:
        self.require(self.theta > 1, "theta", "more than 1")
        self.require(self.dim is None or (self.dim > 0 and self.dim % 2 == 0), "dim", "an even number above 0")

    def build(self, head_dim: int) -> Rotary:
        self.require((self.dim or head_dim) <= head_dim, "dim", f"at most head_dim = {head_dim}")
        self.require((self.dim or head_dim) % 2 == 0, "dim", f"an even number; head_dim = {head_dim} is odd")
        if self.scaling is not None:
            self.scaling.check_dim(self.dim or head_dim)
        return Rotary(self, head_dim)


class Rotation(NamedTuple):
    """cosine, sine: float32, batch|1 1 position half · and how pairs lie in a head."""

    cosine: Tensor
    sine: Tensor
    interleaved: bool

    def turn(self, x: Tensor) -> Tensor:
        """batch head position head_dim → the same, the first 2 · half dimensions turned, in x's own type."""
        dim = 2 * self.cosine.shape[-1]
        part = x[..., :dim]
        if self.interleaved:
            first, second = part[..., 0::2], part[..., 1::2]
        else:
            first, second = part.chunk(2, -1)
        pair = (first * self.cosine - second * self.sine, second * self.cosine + first * self.sine)
        turned = torch.stack(pair, -1).flatten(-2) if self.interleaved else torch.cat(pair, -1)
        turned = turned.to(x.dtype)
        return turned if dim == x.shape[-1] else torch.cat((turned, x[..., dim:]), -1)


class Rotary(Part):
    """Computes the rotation of some positions, once a forward for all layers that share it."""

    def __init__(self, config: RotaryConfig, head_dim: int) -> None:
        super().__init__()
        self.config, self.dim = config, config.dim or head_dim

    @property
    def limit(self) -> int | None:
        """The row length at which the frequencies change, or None."""
        return None if self.config.scaling is None else self.config.scaling.limit()

    def check_growth(self, before: Tensor, after: Tensor) -> None:
        """Refuse rows whose stored keys were turned by other frequencies than their next ones; int64, batch, lengths.

        Raises:
            UnsupportedError: a row passes the length at which its frequencies change.
        """
        scaling, limit = self.config.scaling, self.limit
        if scaling is None or limit is None or int(after.amax()) <= limit:
            return
        was, now = (scaling.frequencies(self.config.theta, self.dim, lengths) for lengths in (before, after))
        if bool(((was != now).any(-1) & (before > 0)).any()):
            got, expected = f"{int(after.amax())} tokens", f"at most {limit} in a cache that began shorter"
            do = "compute the row again without a cache, or in a new one"
            raise UnsupportedError(
                "the rotary frequencies change with the row's length", got=got, expected=expected, do=do
            )

    def check_packed(self, lengths: Tensor) -> None:
        """Refuse packed documents whose frequencies would depend on their neighbours.

        Raises:
            UnsupportedError: one is longer than the length at which frequencies change.
        """
        if self.limit is not None and int(lengths.amax()) > self.limit:
            got, expected = f"{int(lengths.amax())} tokens", f"at most {self.limit} in packed rows"
            do = "give each document a row of its own"
            raise UnsupportedError(
                "the rotary frequencies change with a document's length", got=got, expected=expected, do=do
            )

    def of(self, rows: Rows) -> Rotation:
        """The rotation of the tokens of some rows."""
        rotation: Rotation = self(rows.positions, rows.lengths)
        return rotation

    def forward(self, positions: Tensor, lengths: Tensor) -> Rotation:
        scaling, theta = self.config.scaling, self.config.theta
        if scaling is None:
            frequencies, gain = plain_frequencies(theta, self.dim, positions.device)[None], 1.0
        else:
            frequencies, gain = scaling.frequencies(theta, self.dim, lengths), scaling.gain()
        angles = (positions[..., None].float() * frequencies[:, None])[:, None]
        return Rotation(angles.cos() * gain, angles.sin() * gain, self.config.interleaved)
