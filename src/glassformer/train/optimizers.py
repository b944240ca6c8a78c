"""Which optimizer moves which parameter, and the state that a resumed run needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from glassformer.core.config import Config
from glassformer.core.errors import CheckpointError
from glassformer.train.muon import Muon


class OptimizerConfig(Config, base=True):
    """Base of the optimizers' descriptions."""

    weight_decay: float = 0.1

    def check(self) -> None:
        self.require(self.weight_decay >= 0, "weight_decay", "0 or more")

    def build(self, model: nn.Module, learning_rate: float) -> Optimizers:
        """The optimizer for every parameter of a model that is trained."""
        raise AssertionError(f"{type(self).__name__} lacks build")


class AdamWConfig(OptimizerConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101)."""

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8

    def check(self) -> None:
        super().check()
        self.require(all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers from 0 to below 1")
        self.require(0 < self.eps <= 1, "eps", "above 0 and at most 1")

    def build(self, model: nn.Module, learning_rate: float) -> Optimizers:
        trained = trained_parameters(model)
        return Optimizers([self.over(trained, learning_rate)], trained)

    def over(self, trained: Mapping[str, nn.Parameter], learning_rate: float) -> torch.optim.AdamW:
        """AdamW over some parameters."""
        groups = decay_groups(trained, self.weight_decay)
        return torch.optim.AdamW(groups, lr=learning_rate, betas=self.betas, eps=self.eps, fused=True)


class MuonConfig(OptimizerConfig):
    """Muon for the matrices inside the blocks, AdamW for all the rest (embeddings, heads, norms, biases).

    ``learning_rate`` is that of the matrices; the learning rate of the training is that of AdamW.
    """

    learning_rate: float = 0.02
    momentum: float = 0.95
    rounds: int = 5
    rest: AdamWConfig = AdamWConfig(weight_decay=0.0)

    def check(self) -> None:
        super().check()
        self.require(self.learning_rate > 0, "learning_rate", "above 0")
        self.require(0 <= self.momentum < 1, "momentum", "0 to below 1")
        self.require(1 <= self.rounds <= 20, "rounds", "1 to 20")

    def build(self, model: nn.Module, learning_rate: float) -> Optimizers:
        trained = trained_parameters(model)
        matrices = {name: weight for name, weight in trained.items() if is_hidden_matrix(model, name)}
        rest = {name: weight for name, weight in trained.items() if name not in matrices}
        optimizers: list[torch.optim.Optimizer] = []
        if matrices:
            muon = Muon(
                matrices.values(),
                lr=self.learning_rate,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                rounds=self.rounds,
            )
            optimizers.append(muon)
        if rest:
            optimizers.append(self.rest.over(rest, learning_rate))
        return Optimizers(optimizers, trained)


#: The optimizers by the word that the command line knows them by.
OPTIMIZERS: dict[str, type[OptimizerConfig]] = {"adamw": AdamWConfig, "muon": MuonConfig}


class Optimizers:
    """Several optimizers as one, with a state of plain named tensors."""

    def __init__(self, optimizers: list[torch.optim.Optimizer], trained: Mapping[str, nn.Parameter]) -> None:
        self.optimizers = optimizers
        self._names: dict[Tensor, str] = {weight: name for name, weight in trained.items()}
        self._full = [group["lr"] for group in self._groups()]

    def set_factor(self, factor: float) -> None:
        """Set every learning rate to this share of its full value."""
        for group, full in zip(self._groups(), self._full, strict=True):
            group["lr"] = full * factor

    def step(self) -> None:
        """Move the parameters by their gradients."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Everything an optimizer remembers, by ``parameter/word``; complete once there was a step."""
        return {
            f"{self._names[weight]}/{word}": torch.as_tensor(value)
            for optimizer in self.optimizers
            for weight, known in optimizer.state.items()
            for word, value in known.items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave.

        Raises:
            CheckpointError: It belongs to other parameters.
        """
        known = {name: weight for weight, name in self._names.items()}
        found: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            name, _, word = key.rpartition("/")
            if name not in known or (value.ndim and value.shape != known[name].shape):
                raise CheckpointError("the state of the optimizer belongs to another model", got=key)
            found.setdefault(name, {})[word] = value.to(known[name].device)
        for optimizer in self.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    if self._names[weight] in found:
                        optimizer.state[weight] = found[self._names[weight]]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name → parameter, of those that are trained; tied ones once."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def decay_groups(trained: Mapping[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices with weight decay; vectors (norms and biases) without."""
    matrices = [weight for weight in trained.values() if weight.ndim >= 2]
    vectors = [weight for weight in trained.values() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def is_hidden_matrix(model: nn.Module, name: str) -> bool:
    """Whether a parameter is a linear map inside a block: no table and no head, and no bias."""
    path, _, word = name.rpartition(".")
    return word == "weight" and "blocks" in path.split(".") and isinstance(model.get_submodule(path), nn.Linear)
