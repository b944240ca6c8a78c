"""Linear maps in the layout that oneDNN multiplies fastest, and the proof that a packed weight is still the model's.

Of few rows torch's own ``linear`` reads a weight at half the speed of memory on a CPU, of many it is some 15 % slower.
Packed weights are copies: a model of n bytes takes up to 2 n while its packed ones are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.parts.activations import ACTIVATIONS

Map = Callable[[Tensor], Tensor]

#: Activations that oneDNN computes on the way, with its names for them.
FUSED: dict[Map, tuple[str, str]] = {
    ACTIVATIONS["gelu"]: ("gelu", "none"),
    ACTIVATIONS["gelu_tanh"]: ("gelu", "tanh"),
    ACTIVATIONS["relu"]: ("relu", ""),
    ACTIVATIONS["silu"]: ("swish", ""),
}

#: Weights of fewer elements are left to torch: calling oneDNN costs more than it saves.
SMALLEST = 1 << 17

#: Of each weight one element in so many is compared, and at least one of each of its rows.
SPARSENESS = 509


def identity(x: Tensor) -> Tensor:
    """x itself."""
    return x


def packs() -> bool:
    """Whether this build of torch has the packed layout, and its user has not switched it off."""
    return bool(torch._C._has_mkldnn and torch.backends.mkldnn.enabled)


def linear_map(*linears: nn.Linear, activation: Map = identity) -> Map:
    """x → the outputs of some linear maps side by side, as one product; the last axis of x is theirs."""
    weight, bias = _side_by_side(linears)
    if weight.numel() < SMALLEST:
        return lambda x: activation(F.linear(x, weight, bias))
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    product = torch.ops.mkldnn._linear_pointwise.default
    if activation in FUSED:
        name, form = FUSED[activation]
        return lambda x: product(x, packed, bias, name, [], form)
    return lambda x: activation(product(x, packed, bias, "none", [], ""))


def _side_by_side(linears: tuple[nn.Linear, ...]) -> tuple[Tensor, Tensor | None]:
    """One weight and one bias; a map without a bias gets zeros where another has one."""
    if len(linears) == 1:
        bias = linears[0].bias
        return linears[0].weight.detach(), None if bias is None else bias.detach()
    weight = torch.cat([linear.weight.detach() for linear in linears])
    if all(linear.bias is None for linear in linears):
        return weight, None
    biases = [weight.new_zeros(len(one.weight)) if one.bias is None else one.bias.detach() for one in linears]
    return weight, torch.cat(biases)


class Fingerprint(NamedTuple):
    """What tells that weights are the ones of before: where they are, how often changed, and some of their numbers.

    Some optimizers (fused AdamW) and writes through ``.data`` change weights without counting it: hence the numbers.
    """

    places: tuple[tuple[int, int, torch.Size], ...]
    some: Tensor

    @classmethod
    def of(cls, weights: Iterable[Tensor]) -> Fingerprint:
        """The fingerprint of weights that count their changes."""
        held = [weight.detach() for weight in weights]
        places = tuple((weight.data_ptr(), weight._version, weight.shape) for weight in held)
        return cls(places, torch.cat([_some(weight) for weight in held]))

    def matches(self, other: Fingerprint) -> bool:
        """Whether no weight has changed."""
        return self.places == other.places and torch.equal(self.some, other.some)


def _some(weight: Tensor) -> Tensor:
    """At least one element of each row, from columns in turn."""
    step = max(1, min(SPARSENESS, weight.shape[-1] - 1))
    return weight.reshape(-1)[::step]
