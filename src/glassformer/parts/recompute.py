"""Less memory for activations: the backward pass computes them again  (Chen et al. 2016).

blocks      keep the input of each block; its forward is computed twice
products    keep the results of matrix products and of attention too, and compute only what is cheap again
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

Recompute = Literal["blocks", "products"]
_ATEN = torch.ops.aten
_PRODUCTS = {
    _ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default, _ATEN.baddbmm.default,
    _ATEN._scaled_dot_product_flash_attention_for_cpu.default, _ATEN._scaled_dot_product_flash_attention.default,
    _ATEN._scaled_dot_product_efficient_attention.default, _ATEN._scaled_dot_product_cudnn_attention.default,
}  # fmt: skip


def recomputed(how: Recompute | None, block: Callable[..., Tensor], x: Tensor, view: Any, cross: Any) -> Tensor:
    """What a block gives, with less kept for the backward pass."""
    contexts: dict[str, Any] = {}
    if how == "products":
        contexts["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    out: Tensor = checkpoint(block, x, view, None, cross, use_reentrant=False, **contexts)
    return out


class Products(TorchDispatchMode):
    """Counts what ``products`` keeps between ``begin`` and ``end``: ``held``, in bytes."""

    held: int = 0
    is_on: bool = False

    def begin(self) -> None:
        """Count from now on."""
        self.is_on = True

    def end(self) -> None:
        """No longer."""
        self.is_on = False

    def __torch_dispatch__(self, operation: Any, kinds: Any, arguments: Any = (), keywords: Any = None) -> Any:
        out = operation(*arguments, **(keywords or {}))
        if self.is_on and operation in _PRODUCTS:
            self.held += sum(one.nbytes for one in (out if isinstance(out, tuple) else (out,)) if one is not None)
        return out


def _policy(context: Any, operation: Any, *arguments: Any, **keywords: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in _PRODUCTS else CheckpointPolicy.PREFER_RECOMPUTE
