"""The activations of published feed-forwards, by the names their configs use; the GELUs are never aliased.

gelu: x Φ(x) exactly (Hendrycks and Gimpel 2016) · gelu_tanh: its tanh form (GPT-2, Gemma, T5 v1.1) · quick_gelu:
x σ(1.702 x) (CLIP) · silu: x σ(x) · relu_squared (So et al. 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "gelu_10", "relu", "relu_squared", "silu", "tanh", "identity"]


def quick_gelu(x: Tensor) -> Tensor:
    """x σ(1.702 x), CLIP's approximation."""
    return x * torch.sigmoid(1.702 * x)


def relu_squared(x: Tensor) -> Tensor:
    """relu(x)² (Primer)."""
    return F.relu(x).square()


def gelu_10(x: Tensor) -> Tensor:
    """gelu clipped to [-10, 10], for integer quantisation."""
    return F.gelu(x).clamp(-10, 10)


def identity(x: Tensor) -> Tensor:
    """x itself."""
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": quick_gelu,
    "gelu_10": gelu_10,
    "relu": F.relu,
    "relu_squared": relu_squared,
    "silu": F.silu,
    "tanh": torch.tanh,
    "identity": identity,
}
