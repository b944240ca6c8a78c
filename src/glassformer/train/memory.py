"""What a step of training holds in memory, known before it runs.

    weights + gradients + what the optimizer remembers + what the backward pass keeps of one micro-batch + the most that
    comes and goes: the scores of a chunk of the vocabulary, or what a block keeps while it is computed again

The forward runs on the meta device, where tensors have shapes and no numbers, and what autograd would keep is counted,
each storage once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from glassformer.data.batch import IGNORED, Batch
from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.parts.head import TokenHeadConfig
from glassformer.parts.recompute import Products, Recompute
from glassformer.train.objective import ObjectiveConfig
from glassformer.train.optimizers import OptimizerConfig
from glassformer.train.token_loss import MOST_SCORES


@dataclass(frozen=True)
class Memory:
    """Bytes of a step.

    Args:
        weights: Parameters.
        gradients: One a trained parameter.
        optimizer: What it remembers.
        activations: What the backward pass keeps of one micro-batch.
        passing: Tensors that come and go.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    passing: int

    @property
    def total(self) -> int:
        """All of it, at its highest."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.passing


def step_memory(
    config: TransformerConfig,
    objective: ObjectiveConfig,
    batch: Batch,
    optimizer: OptimizerConfig,
    *,
    recompute: Recompute | None = None,
    trained: Callable[[str], bool] = lambda name: True,
) -> Memory:
    """The memory of a step over one micro-batch.

    Args:
        config: The model.
        objective: What is learned.
        batch: Of the shape of a micro-batch, with its labels; the numbers in it do not count.
        optimizer: What moves the weights.
        recompute: What is computed again.
        trained: Which parameters are.
    """
    model = config.build(device="meta", seed=None).train()
    for name, weight in model.named_parameters():
        weight.requires_grad_(trained(name))
    weights = [*{id(weight): weight for weight in model.parameters()}.values()]
    with torch.device("meta"):
        kept, blocks = _kept(model, objective, batch, recompute)
    return Memory(
        weights=sum(map(_bytes, weights)),
        gradients=sum(_bytes(weight) for weight in weights if weight.requires_grad),
        optimizer=_remembered(model, optimizer),
        activations=kept,
        passing=max(_scores(model, batch), blocks),
    )


def _scores(model: Transformer, batch: Batch) -> int:
    """Bytes of the scores over the vocabulary that are held at once, with their softmax and the gradients of both."""
    if not isinstance(model.config.head, TokenHeadConfig):
        return 0
    return 3 * 4 * min(MOST_SCORES, _labelled(batch) * model.config.vocab_size)


def _remembered(model: Transformer, optimizer: OptimizerConfig) -> int:
    """Bytes of an optimizer's state after a step."""
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    optimizers = optimizer.build(model, 1.0)
    for one in optimizers.optimizers:
        for group in one.param_groups:
            group.update({"fused": False, "foreach": False} if "foreach" in group else {})  # not on the meta device
    optimizers.step()
    held = sum(_bytes(value) for value in optimizers.state().values())
    optimizers.zero_grad()
    return held


def _kept(model: Transformer, objective: ObjectiveConfig, batch: Batch, recompute: Recompute | None) -> tuple[int, int]:
    """Bytes that the backward pass keeps, and of these what the largest block adds while it is computed again."""
    found = {how: _watched(model, objective, batch, how) for how in {None, recompute}}
    kept, _ = found[recompute]
    if recompute == "products":
        products = Products()  # type: ignore[no-untyped-call]  # torch's base class has no types
        with products, _hooked(model, products.begin, products.end):
            _watched(model, objective, batch, None)
        kept += products.held
    return kept, 0 if recompute is None else found[None][1]


def _watched(
    model: Transformer, objective: ObjectiveConfig, batch: Batch, recompute: Recompute | None
) -> tuple[int, int]:
    """Bytes that are kept in all, and by the block that keeps most."""
    own = {weight.untyped_storage()._cdata for weight in model.parameters()}
    storages: dict[int, Tensor] = {}
    by_block: list[int] = []

    def keep(value: Tensor) -> Tensor:
        place = value.untyped_storage()._cdata
        if place not in own:
            storages[place] = value  # holding it keeps its address from being used again
        return value

    def size() -> int:
        return sum(value.untyped_storage().nbytes() for value in storages.values())

    def begin() -> None:
        by_block.append(-size())

    def end() -> None:
        by_block.append(by_block.pop() + size())

    for stack in (model.encoder, model.decoder):
        if stack is not None:
            stack.recompute = recompute
    saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
    with _Shapes(_labelled(batch)), saved, _hooked(model, begin, end):
        objective.loss_sum(model, batch.to("meta"))
    return size(), max(by_block, default=0)


@contextmanager
def _hooked(model: Transformer, begin: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Do something before and after each block."""
    stacks = [stack for stack in (model.encoder, model.decoder) if stack is not None]
    blocks = [block for stack in stacks for block in stack.blocks]
    hooks = [block.register_forward_pre_hook(lambda *_: begin()) for block in blocks]
    hooks += [block.register_forward_hook(lambda *_: end()) for block in blocks]
    yield
    for hook in hooks:
        hook.remove()


class _Shapes(TorchFunctionMode):
    """On the meta device: attention as the fused kernel of a processor keeps it, and as many labels as there are."""

    def __init__(self, n_labels: int) -> None:
        super().__init__()
        self.n_labels = n_labels

    def __torch_function__(self, function: Any, kinds: Any, arguments: Any = (), keywords: Any = None) -> Any:
        said = dict(keywords or {})
        if function is torch.nonzero:
            return torch.zeros(self.n_labels, 1, dtype=torch.int64, device="meta")
        learned = getattr(said.get("attn_mask"), "requires_grad", False)  # torch has no fused kernel for such a mask
        if function is functional.scaled_dot_product_attention and not learned:
            mask, dropout = said.pop("attn_mask", None), said.pop("dropout_p", 0.0)
            kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            return kernel(*arguments, dropout_p=dropout, attn_mask=mask, **said)[0]
        return function(*arguments, **said)


def _labelled(batch: Batch) -> int:
    """Positions with a label; all where there are none, as in language modelling."""
    labels = batch.labels.get("tokens")
    return batch.tokens.numel() if labels is None else int((labels != IGNORED).sum())


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()
