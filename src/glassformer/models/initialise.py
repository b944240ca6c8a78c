"""Weights to begin with: normal(0, 0.02), what blocks add to the residual stream scaled down  (Radford et al. 2019).

Convolutions, whose inputs may be few, are drawn by their number instead: normal(0, inputs^-0.5).

Each tensor is drawn from a generator of its own, seeded by the seed and the tensor's name, so that the start does not
depend on the order of construction or on how a model is spread over machines.
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from glassformer.core.part import Part
from glassformer.parts.layer_scale import LayerScale

if TYPE_CHECKING:
    from glassformer.models.transformer import Transformer

STD = 0.02
INTO_THE_STREAM = ("o_proj.weight", "down_proj.weight", "down_proj")


def generator_for(seed: int, name: str) -> torch.Generator:
    """A generator that depends on nothing but the seed and the name."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@torch.no_grad()
def initialise(model: Transformer, seed: int) -> None:
    """Draw all weights of a model in place; norms begin as the plain ones and biases at zero."""
    layers = sum(len(stack.blocks) for stack in (model.config.encoder, model.config.decoder) if stack is not None)
    norms = {id(weight) for part in model.modules() if _is_norm(part) for weight in part.parameters(recurse=False)}
    factors = {id(part.weight): part.start for part in model.modules() if isinstance(part, LayerScale)}
    for name, weight in model.named_parameters():
        if id(weight) in norms:
            plain = 1.0 - float(getattr(model.get_submodule(name.rpartition(".")[0]), "offset", 0.0))
            weight.fill_(plain if name.endswith("weight") else 0.0)
        elif id(weight) in factors:
            weight.fill_(factors[id(weight)])
        elif name.endswith("bias"):
            weight.zero_()
        else:
            std = STD / math.sqrt(2 * layers) if name.endswith(INTO_THE_STREAM) else STD
            std = weight[0].numel() ** -0.5 if weight.ndim == 4 else std
            drawn = torch.empty(weight.shape).normal_(0.0, std, generator=generator_for(seed, name))
            weight.copy_(drawn)


def _is_norm(part: nn.Module) -> bool:
    return isinstance(part, Part) and hasattr(part, "gain")
