"""One vector a text: what stands behind an encoder that was trained to embed sentences  (Reimers and Gurevych 2019).

    token vectors → pool → dense, norm, normalize ... → text vector

The token vectors of several texts stand one behind the other, without padding: token model; ``lengths`` (int64, text)
says how many belong to each.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.part import Part
from glassformer.parts.activations import ACTIVATIONS, Activation
from glassformer.parts.norm import LayerNormConfig

Pooled = Literal["first", "last", "mean", "mean_sqrt", "weighted", "max"]


class StepConfig(Config, base=True):
    """What is done with the vectors of texts: text state → text state."""

    def build(self, width: int) -> nn.Module:
        """The step for vectors of this width."""
        raise AssertionError(f"{type(self).__name__} lacks build")

    def width(self, before: int) -> int:
        """The width of the vectors behind the step."""
        return before


class DenseStepConfig(StepConfig):
    """activation(dense(x)), with x added where ``residual`` says so."""

    d_out: int
    activation: Activation = "tanh"
    bias: bool = True
    residual: bool = False

    def check(self) -> None:
        self.require(0 < self.d_out <= 1 << 20, "d_out", "1 … 2^20")

    def build(self, width: int) -> DenseStep:
        return DenseStep(self, width)

    def width(self, before: int) -> int:
        return self.d_out


class NormStepConfig(StepConfig):
    """A LayerNorm."""

    norm: LayerNormConfig = LayerNormConfig()

    def build(self, width: int) -> nn.Module:
        return self.norm.build(width)


class NormalizeStepConfig(StepConfig):
    """Vectors of length one."""

    def build(self, width: int) -> Normalize:
        return Normalize()


class SentenceConfig(Config):
    """How the token vectors of a text become one.

    pool: several are put side by side · pool_prompt: whether the tokens of a prompt are pooled, too · max_tokens: of
    the longest text that the encoder was trained for · prompts: name and text, put in front of a text.
    """

    pool: tuple[Pooled, ...]
    steps: tuple[StepConfig, ...] = ()
    pool_prompt: bool = True
    max_tokens: int | None = None
    prompts: tuple[tuple[str, str], ...] = ()
    default_prompt: str | None = None

    def check(self) -> None:
        self.require(len(self.pool) > 0, "pool", "at least one way")
        self.require(self.max_tokens is None or self.max_tokens > 0, "max_tokens", "at least 1")
        known = dict(self.prompts)
        self.require(self.default_prompt in (None, *known), "default_prompt", f"one of {', '.join(known) or 'none'}")

    def build(self, d_model: int) -> Sentence:
        return Sentence(self, d_model)


class Sentence(Part):
    """token model → text state."""

    def __init__(self, config: SentenceConfig, d_model: int) -> None:
        super().__init__()
        self.config, self.d_model = config, d_model
        width, steps = d_model * len(config.pool), []
        for step in config.steps:
            steps.append(step.build(width))
            width = step.width(width)
        self.steps = nn.ModuleList(steps)
        self.width = width

    def forward(self, x: Tensor, lengths: Tensor, prompt: int = 0) -> Tensor:
        """``prompt``: how many tokens at the beginning of each text are not to be pooled."""
        out = torch.cat([POOLS[name](x, lengths, prompt) for name in self.config.pool], -1)
        for step in self.steps:
            out = step(out)
        return self.tap("output", out, "batch state")


class DenseStep(Part):
    """text state → text state."""

    def __init__(self, config: DenseStepConfig, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, config.d_out, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        projects = config.residual and config.d_out != width
        self.residual = nn.Linear(width, config.d_out, bias=False) if projects else nn.Identity()
        self.adds = config.residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.activation(self.linear(x))
        return out + self.residual(x) if self.adds else out


class Normalize(Part):
    """x / |x|."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(x, dim=-1)


def _starts(lengths: Tensor) -> Tensor:
    """The place of each text's first token: int64, text."""
    return lengths.cumsum(0) - lengths


def _sums(x: Tensor, lengths: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums of each text's vectors (text state) and of their weights (text 1); weights: token."""
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=x.device), lengths)
    sums = x.new_zeros(len(lengths), x.shape[-1]).index_add(0, owner, x * weights[:, None])
    total = x.new_zeros(len(lengths)).index_add(0, owner, weights)
    return sums, total[:, None].clamp(min=1e-9)


def _places(x: Tensor, lengths: Tensor) -> Tensor:
    """Each token's place in its text: int64, token."""
    return torch.arange(len(x), device=x.device) - torch.repeat_interleave(_starts(lengths), lengths)


def _pooled(x: Tensor, lengths: Tensor, prompt: int) -> Tensor:
    """1 for tokens behind the prompt, else 0: token."""
    return (_places(x, lengths) >= prompt).to(x.dtype)


def _first(x: Tensor, lengths: Tensor, prompt: int) -> Tensor:
    return x[_starts(lengths) + torch.where(lengths > prompt, prompt, 0)]


def _last(x: Tensor, lengths: Tensor, prompt: int) -> Tensor:
    return x[lengths.cumsum(0) - 1]


def _mean(x: Tensor, lengths: Tensor, prompt: int) -> Tensor:
    sums, total = _sums(x, lengths, _pooled(x, lengths, prompt))
    return sums / total


def _mean_sqrt(x: Tensor, lengths: Tensor, prompt: int) -> Tensor:
    sums, total = _sums(x, lengths, _pooled(x, lengths, prompt))
    return sums / total.sqrt()


def _weighted(x: Tensor, lengths: Tensor, prompt: int) -> Tensor:
    """Later tokens weigh more: 1, 2, 3, …  (Muennighoff 2022)."""
    sums, total = _sums(x, lengths, _pooled(x, lengths, prompt) * (_places(x, lengths) + 1).to(x.dtype))
    return sums / total


def _max(x: Tensor, lengths: Tensor, prompt: int) -> Tensor:
    hidden = _pooled(x, lengths, prompt) == 0
    return torch.stack([part.amax(0) for part in x.masked_fill(hidden[:, None], -torch.inf).split(lengths.tolist())])


POOLS = {
    "first": _first, "last": _last, "mean": _mean, "mean_sqrt": _mean_sqrt, "weighted": _weighted, "max": _max,
}  # fmt: skip
