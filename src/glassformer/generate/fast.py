"""A decoder's forward as straight-line code over packed weights: the same numbers as the model's own, sooner.

Masks, rotations and caches are the model's own. What a model has that is not known here is named by ``refuses``, and
``Watch`` says whether somebody reads or changes values now; in both cases the model's own forward is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from glassformer.core.machine import memory
from glassformer.core.part import Part
from glassformer.generate.packing import Fingerprint, identity, linear_map, packs
from glassformer.generate.straight import KNOWN, straight
from glassformer.models.transformer import Transformer
from glassformer.parts.block import Block, ParallelBlock
from glassformer.parts.cache import Cache
from glassformer.parts.head import TokenHead
from glassformer.parts.mask import Mask
from glassformer.parts.rows import rows_of
from glassformer.parts.stack import Stack

T = TypeVar("T")

#: Steps after which packed weights have saved the time of packing them, about.
WORTH = 16

#: The share of the memory that weights and their packed copies may take.
MOST_MEMORY = 0.75


def refuses(model: Transformer) -> str:
    """Why the model's own forward must be used, or an empty string."""
    if type(model) is not Transformer or type(model.decoder) is not Stack or type(model.head) is not TokenHead:
        return "not a Transformer with a decoder and a token head"
    if type(model.head.proj) is not nn.Linear:
        return f"head.proj is a {type(model.head.proj).__name__}"
    return blocks_refuse(model.decoder, "decoder") or weights_refuse(packed_weights(model))


def blocks_refuse(stack: Stack, name: str) -> str:
    """Why the blocks of a stack cannot be computed here, or an empty string."""
    for path, part, known in _computed(stack, name):
        if type(part) not in known:
            return f"{path} is a {type(part).__name__}"
    return "experts are chosen for whole rows" if stack.by_row else ""


def _computed(stack: Stack, stack_name: str) -> Iterator[tuple[str, nn.Module, tuple[type, ...]]]:
    """Every module that is computed here instead of by its own forward, with the classes that it may have.

    Dropout does nothing here, and positions are computed by the model's own parts.
    """
    for layer, block in enumerate(stack.blocks):
        name = f"{stack_name}.blocks.{layer}"
        yield name, block, (Block, ParallelBlock)
        for path, part in block.named_modules(prefix=name):
            if part is not block and not path.endswith(("dropout", "positions")):
                yield path, part, KNOWN


def weights_refuse(weights: list[Tensor]) -> str:
    """Why these weights cannot be packed, or an empty string."""
    for weight in weights:
        if weight.device.type != "cpu" or weight.dtype is not torch.float32:
            return f"weights are {weight.dtype} on {weight.device.type}, not torch.float32 on cpu"
        if weight.is_inference():
            return "weights that were made in inference mode do not count their changes"
    limit, size = memory(), sum(weight.nbytes for weight in weights)
    if limit is not None and 2 * size > MOST_MEMORY * limit:
        return f"weights of {size / 1e9:.1f} GB and their packed copies are too much for {limit / 1e9:.1f} GB of memory"
    return "" if packs() else "torch has no oneDNN here"


def packed_weights(model: Transformer) -> list[Tensor]:
    """The weights of which a ``FastDecoder`` may hold copies."""
    assert model.decoder is not None and model.head is not None
    return [*model.decoder.blocks.parameters(), *model.head.parameters()]


class Watch:
    """True while somebody reads or changes values of a model, through a trace or a hook; cheap to ask at every step."""

    def __init__(self, model: nn.Module) -> None:
        modules, everywhere = list(model.modules()), nn.modules.module
        self.attributes = [vars(part) for part in modules]
        self.tables = [vars(part) for part in modules if isinstance(part, Part)]
        self.hooks = [everywhere._global_forward_hooks, everywhere._global_forward_pre_hooks]
        self.hooks += [hooks for part in modules for hooks in (part._forward_hooks, part._forward_pre_hooks)]

    def __bool__(self) -> bool:
        tapped = any("taps" in table for table in self.tables)
        return tapped or any(self.hooks) or any("forward" in attributes for attributes in self.attributes)


class Kept(Generic[T]):
    """What was made of a model's weights, for as long as they stay the same; a copy of the model gets none."""

    def __init__(self) -> None:
        self.made: T | None = None
        self.fingerprint: Fingerprint | None = None
        self.steps = 0

    def of(self, weights: list[Tensor], steps: int, make: Callable[[], T]) -> T | None:
        """What is made of the weights as they are now, once so many steps with them are worth making it."""
        now = Fingerprint.of(weights)
        if self.fingerprint is None or not now.matches(self.fingerprint):
            self.made, self.fingerprint, self.steps = None, now, 0
        self.steps += steps
        if self.made is None and self.steps >= WORTH:
            self.made = make()
        return self.made

    def __deepcopy__(self, memo: object) -> Self:
        return type(self)()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()


def fast_decoder(model: Transformer, steps: int) -> FastDecoder | None:
    """The packed decoder for so many steps of a model in which ``refuses`` finds nothing.

    The model keeps it until its weights change; None while too few steps were asked for to be worth packing.
    """
    kept: Kept[FastDecoder] = vars(model).setdefault("packed", Kept())
    with torch.inference_mode():
        return kept.of(packed_weights(model), steps, lambda: FastDecoder(model))


class FastDecoder:
    """tokens (batch position) and a cache → the logits of each row's last token, batch vocab."""

    def __init__(self, model: Transformer) -> None:
        assert isinstance(model.decoder, Stack) and isinstance(model.head, TokenHead)
        self.embedding = model.embedding if model.decoder_embedding is None else model.decoder_embedding
        self.stack = model.decoder  # not the model itself, which keeps this object
        self.blocks = [straight(block) for block in self.stack.blocks]
        self.transform, self.proj = model.head.transform, linear_map(model.head.proj)
        self.scale, self.soft_cap = model.head.scale, model.head.soft_cap

    def __call__(self, tokens: Tensor, valid: Tensor | None, cache: Cache) -> Tensor:
        """``valid``: bool, batch position, None where all are real · an encoder's memory is in the cache already."""
        batch, length = tokens.shape
        step = cache.advance(rows_of((batch, length), tokens.device, valid=valid), length)
        stack, rows = self.stack, step.rows
        views = stack.views(rows, Mask.causal(), cache, step)
        crosses = stack.cross_views(rows, cache.memory, cache.memory_rows, step)
        x = self.embedding(tokens, rows)
        for layer, block in enumerate(self.blocks):
            cross = crosses.get(stack.cross_kinds[layer])
            pick = partial(_last, valid) if length > 1 and layer == len(self.blocks) - 1 else identity
            x = block(x, views[stack.kinds[layer]], cache.stores[layer], cross, cache.cross_stores[layer], pick)
        return self._logits(stack.norm(x[:, 0]))

    def _logits(self, x: Tensor) -> Tensor:
        x = self.transform(x)
        logits = self.proj(x if self.scale == 1.0 else x * self.scale)
        return logits if self.soft_cap is None else self.soft_cap * torch.tanh(logits / self.soft_cap)


def _last(valid: Tensor | None, x: Tensor) -> Tensor:
    """``last_of`` with its axis kept: batch position model → batch 1 model."""
    return last_of(x, valid)[:, None]


def last_of(x: Tensor, valid: Tensor | None) -> Tensor:
    """What stands at the last real token of each row: batch position model → batch model."""
    if valid is None or x.shape[1] == 1:
        return x[:, -1]
    places = torch.arange(x.shape[1], device=x.device)
    return x[torch.arange(x.shape[0], device=x.device), (places * valid).argmax(-1)]
