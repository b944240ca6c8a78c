"""An encoder's forward as straight-line code over packed weights: the same numbers as the model's own, sooner."""

from __future__ import annotations

import torch
from torch import Tensor

from glassformer.generate.fast import Kept, blocks_refuse, weights_refuse
from glassformer.generate.packing import identity
from glassformer.generate.straight import straight
from glassformer.models.transformer import Transformer
from glassformer.parts.mask import Mask
from glassformer.parts.rows import rows_of
from glassformer.parts.stack import Stack


def refuses(model: Transformer) -> str:
    """Why the model's own forward must be used, or an empty string."""
    stack = _stack(model)
    if type(model) is not Transformer or type(stack) is not Stack:
        return "not a Transformer with one stack"
    return blocks_refuse(stack, "encoder") or weights_refuse(list(stack.blocks.parameters()))


def fast_encoder(model: Transformer) -> FastEncoder:
    """The packed encoder of a model in which ``refuses`` finds nothing; the model keeps it until its weights change."""
    kept: Kept[FastEncoder] = vars(model).setdefault("packed_encoder", Kept())
    with torch.inference_mode():
        found = kept.of(list(_stack(model).blocks.parameters()), 1 << 20, lambda: FastEncoder(model))
    assert found is not None
    return found


def _stack(model: Transformer) -> Stack:
    stack = model.decoder if model.encoder is None else model.encoder
    assert stack is not None
    return stack


class FastEncoder:
    """tokens and documents (int64, batch position) → the last hidden states: batch position model."""

    def __init__(self, model: Transformer) -> None:
        self.embedding, self.stack = model.embedding, _stack(model)  # not the model itself, which keeps this object
        self.mask = Mask.causal() if model.encoder is None else Mask()
        self.blocks = [straight(block) for block in self.stack.blocks]

    def __call__(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        with torch.inference_mode():
            rows = rows_of((tokens.shape[0], tokens.shape[1]), tokens.device, documents=documents)
            views = self.stack.views(rows, self.mask & rows.mask(), None, None)
            x = self.embedding(tokens, rows)
            for layer, block in enumerate(self.blocks):
                x = block(x, views[self.stack.kinds[layer]], None, None, None, identity)
            out: Tensor = self.stack.norm(x)
        return out.clone()
