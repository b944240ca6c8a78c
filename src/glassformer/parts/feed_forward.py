"""The position-wise feed-forward, plain and gated."""

from __future__ import annotations

from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.part import Part
from glassformer.parts.activations import ACTIVATIONS, Activation
from glassformer.parts.dropout import Dropout


class MixerConfig(Config, base=True):
    """What stands in the second half of a block: a feed-forward, a mixture of experts, a part of another package."""

    @property
    def reads_places(self) -> bool:
        """Whether the part takes, behind its input, the ``Places`` of the tokens."""
        return False

    def build(self, d_model: int) -> Part:
        """The part: batch position model → batch position model."""
        raise AssertionError(f"{type(self).__name__} lacks build")


class FeedForwardConfig(MixerConfig):
    """down(activation(up(x)))  (Vaswani et al. 2017, section 3.3)."""

    d_ff: int
    activation: Activation = "gelu"
    bias: bool = True

    def check(self) -> None:
        self.require(0 < self.d_ff <= 1 << 22, "d_ff", "1 … 2^22")

    def build(self, d_model: int) -> FeedForward:
        return FeedForward(self, d_model)


class GatedConfig(MixerConfig):
    """down(activation(gate(x)) · up(x)), for instance SwiGLU  (Shazeer 2020)."""

    d_ff: int
    activation: Activation = "silu"
    bias: bool = False

    def check(self) -> None:
        self.require(0 < self.d_ff <= 1 << 22, "d_ff", "1 … 2^22")

    def build(self, d_model: int) -> Gated:
        return Gated(self, d_model)


class FeedForward(Part):
    """Two linear maps with an activation between: batch position model → the same."""

    def __init__(self, config: FeedForwardConfig, d_model: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(d_model, config.d_ff, bias=config.bias)
        self.down_proj = nn.Linear(config.d_ff, d_model, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = Dropout()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.tap("hidden", self.activation(self.up_proj(x)), "batch position hidden")
        return self.tap("output", self.down_proj(self.dropout(hidden)), "batch position model")


class Gated(Part):
    """A feed-forward whose hidden values are gated: batch position model → the same."""

    def __init__(self, config: GatedConfig, d_model: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(d_model, config.d_ff, bias=config.bias)
        self.up_proj = nn.Linear(d_model, config.d_ff, bias=config.bias)
        self.down_proj = nn.Linear(config.d_ff, d_model, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = Dropout()

    def forward(self, x: Tensor) -> Tensor:
        gate = self.tap("gate", self.activation(self.gate_proj(x)), "batch position hidden")
        hidden = self.tap("hidden", gate * self.up_proj(x), "batch position hidden")
        return self.tap("output", self.down_proj(self.dropout(hidden)), "batch position model")
