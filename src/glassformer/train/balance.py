"""Even loads for the experts of a model: what their routers add to the loss, and the bias that they choose by.

    balance · n_experts · Σ share of the tokens that chose e · mean share of e        (Fedus et al. 2022, equation 4)
    z · mean of (log Σ exp logits)²                                                   (Zoph et al. 2022, equation 5)
    selection_bias[e] ± 0.001 after each step, up where e had fewer tokens than the mean     (Wang et al. 2024)

Only real tokens count. Layers of one description are taken together, as transformers does; where a step is cut into
micro-batches, the loads are those of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.parts.experts import Experts, ExpertsConfig

SPEED = 1e-3


def experts_of(model: nn.Module) -> list[Experts]:
    """Every mixture of experts of a model, in the order of its layers."""
    return [part for part in model.modules() if isinstance(part, Experts)]


@contextmanager
def watching(parts: list[Experts]) -> Iterator[None]:
    """The routers inside keep what they do in a forward; how many tokens each expert had is kept for ``settle``."""
    for part in parts:
        part.watched = True
    try:
        yield
        for part in parts:
            if part.selection_bias is not None:
                part.load = chosen([part]) if part.load is None else part.load + chosen([part])
    finally:
        for part in parts:
            part.watched, part.routing = False, None


def router_loss(parts: list[Experts]) -> Tensor | float:
    """What the last forward's routers add to the mean loss; to be asked for while they are watched."""
    return sum((_loss(config, group) for config, group in _by_config(parts) if config.balance or config.z), 0.0)


def _by_config(parts: Iterable[Experts]) -> Iterable[tuple[ExpertsConfig, list[Experts]]]:
    groups: dict[ExpertsConfig, list[Experts]] = {}
    for part in parts:
        groups.setdefault(part.config, []).append(part)
    return groups.items()


def _loss(config: ExpertsConfig, group: list[Experts]) -> Tensor:
    logits = torch.cat([_real(part, part.routing.logits) for part in group if part.routing is not None])
    share = config.router.shares(logits).mean(0)
    balance = config.router.n_experts * (chosen(group) / len(logits) * share).sum()
    return config.balance * balance + config.z * logits.logsumexp(-1).square().mean()


def chosen(group: list[Experts]) -> Tensor:
    """How many tokens chose each expert: float, expert."""
    n_experts = group[0].router.n_experts
    ids = torch.cat([_real(part, part.routing.experts).flatten() for part in group if part.routing is not None])
    return F.one_hot(ids, n_experts + 1)[:, :n_experts].sum(0).float()


def _real(part: Experts, value: Tensor) -> Tensor:
    """batch position … → token …, without padding."""
    valid = None if part.routing is None else part.routing.valid
    return value.flatten(0, 1) if valid is None else value[valid.expand(value.shape[:2])]


@torch.no_grad()
def settle(model: nn.Module, *, is_taken: bool, total: Callable[[Tensor], Tensor] = lambda load: load) -> None:
    """Move the biases after a step that was taken, and forget its loads; ``total``: the sum over all processes."""
    for part in experts_of(model):
        if part.selection_bias is not None and is_taken:
            load = total(torch.zeros_like(part.selection_bias) if part.load is None else part.load)
            part.selection_bias.add_(SPEED * torch.sign(load.mean() - load))
        part.load = None
