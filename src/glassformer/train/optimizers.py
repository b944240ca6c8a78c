"""Which optimizer moves which parameter: their descriptions."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from glassformer.core.config import Config
from glassformer.core.discovery import class_at
from glassformer.core.errors import ConfigError
from glassformer.train.adafactor import Adafactor
from glassformer.train.groups import GroupRule, Member, grouped, members
from glassformer.train.lion import Lion
from glassformer.train.muon import Muon
from glassformer.train.optimizer_set import Optimizers as Optimizers


class OptimizerConfig(Config, base=True):
    """Base of the optimizers' descriptions.

    weight_decay: of matrices · groups: what holds for some parameters, the first rule that matches · layer_decay: the
    rate of each layer as a share of that of the layer above.
    """

    weight_decay: float = 0.1
    groups: tuple[GroupRule, ...] = ()
    layer_decay: float = 1.0

    def check(self) -> None:
        self.require(self.weight_decay >= 0, "weight_decay", "0 or more")
        self.require(0 < self.layer_decay <= 1, "layer_decay", "above 0 and at most 1")

    def build(self, model: nn.Module, learning_rate: float) -> Optimizers:
        """The optimizer for every parameter of a model that is trained; what a rule freezes is marked in the model.

        Raises:
            ConfigError: A rule is about no parameter, or nothing is left to train.
        """
        found = members(model, self.groups, self.layer_decay)
        return Optimizers([self.over(found, learning_rate)], {one.name: one.weight for one in found})

    def over(self, found: Iterable[Member], learning_rate: float) -> torch.optim.Optimizer:
        """An optimizer of some parameters."""
        raise AssertionError(f"{type(self).__name__} lacks over")


class AdamWConfig(OptimizerConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101)."""

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8

    def check(self) -> None:
        super().check()
        self.require(all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers from 0 to below 1")
        self.require(0 < self.eps <= 1, "eps", "above 0 and at most 1")

    def over(self, found: Iterable[Member], learning_rate: float) -> torch.optim.AdamW:
        groups = grouped(found, learning_rate, self.weight_decay)
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
        self.require(not self.rest.groups and self.rest.layer_decay == 1, "rest", "groups and layer_decay beside it")

    def build(self, model: nn.Module, learning_rate: float) -> Optimizers:
        found = members(model, self.groups, self.layer_decay)
        matrices = [one for one in found if is_hidden_matrix(model, one.name)]
        rest = [one for one in found if not is_hidden_matrix(model, one.name)]
        optimizers: list[torch.optim.Optimizer] = [self.over(matrices, self.learning_rate)] if matrices else []
        optimizers += [self.rest.over(rest, learning_rate)] if rest else []
        return Optimizers(optimizers, {one.name: one.weight for one in found})

    def over(self, found: Iterable[Member], learning_rate: float) -> Muon:
        groups = grouped(found, learning_rate, self.weight_decay)
        return Muon(groups, lr=learning_rate, momentum=self.momentum, rounds=self.rounds)


class AdafactorConfig(OptimizerConfig):
    """Adafactor in the form that T5 was trained with (Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235).

    decay: the second moment forgets 1 - step^-decay · eps: beside squared gradients, and the least size of a parameter
    · clip: root mean square of an update · momentum: 0 keeps none · scaled: the rate is a share of each parameter's
    size. T5's own rate is ``learning_rate=0.01`` with ``InverseSqrtConfig(level=True)`` and a warm-up of 10,000 steps.
    """

    weight_decay: float = 0.0
    decay: float = 0.8
    eps: tuple[float, float] = (1e-30, 1e-3)
    clip: float = 1.0
    momentum: float = 0.0
    scaled: bool = True

    def check(self) -> None:
        super().check()
        self.require(0 < self.decay <= 1, "decay", "above 0 and at most 1")
        self.require(min(self.eps) > 0, "eps", "two numbers above 0")
        self.require(self.clip > 0, "clip", "above 0")
        self.require(0 <= self.momentum < 1, "momentum", "0 to below 1")

    def over(self, found: Iterable[Member], learning_rate: float) -> Adafactor:
        groups = grouped(found, learning_rate, self.weight_decay)
        same = {name: getattr(self, name) for name in ("decay", "eps", "clip", "momentum", "scaled")}
        return Adafactor(groups, lr=learning_rate, **same)


class LionConfig(OptimizerConfig):
    """The sign of a momentum (Chen et al. 2023, https://arxiv.org/abs/2302.06675); for a rate 3 to 10 times lower."""

    weight_decay: float = 1.0
    betas: tuple[float, float] = (0.9, 0.99)

    def check(self) -> None:
        super().check()
        self.require(all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers from 0 to below 1")

    def over(self, found: Iterable[Member], learning_rate: float) -> Lion:
        return Lion(grouped(found, learning_rate, self.weight_decay), lr=learning_rate, betas=self.betas)


#: Packages whose optimizers are imported when a description names them; those of others must be imported before.
PACKAGES = ("torch", "torchao", "schedulefree", "bitsandbytes", "pytorch_optimizer", "heavyball", "prodigyopt")


class ImportedConfig(OptimizerConfig):
    """An optimizer of another package, by its class: ``path="schedulefree.AdamWScheduleFree"``.

    settings: its other arguments, as pairs of name and value. One that has ``train()`` and ``eval()`` is in the second
    mode while the model is measured and saved.
    """

    path: str
    settings: tuple[tuple[str, Any], ...] = ()

    def check(self) -> None:
        super().check()
        self.require("." in self.path, "path", "a package and a class, as in torch.optim.SGD")
        ours = {"params", "lr", "weight_decay"} & {name for name, _ in self.settings}
        self.require(not ours, "settings", "no params, lr or weight_decay, which the training sets")

    def build(self, model: nn.Module, learning_rate: float) -> Optimizers:
        found = members(model, self.groups, self.layer_decay)
        named = {one.name: one.weight for one in found}
        return Optimizers([self.over(found, learning_rate)], named, any_shape=True)

    def over(self, found: Iterable[Member], learning_rate: float) -> torch.optim.Optimizer:
        """Build it.

        Raises:
            ConfigError: It is no optimizer that can be used like torch's, or does not take the settings.
        """
        kind: Any = class_at(self.path, PACKAGES)
        if not issubclass(kind, torch.optim.Optimizer):
            raise ConfigError("not an optimizer", got=self.path, expected="a subclass of torch.optim.Optimizer")
        if inspect.signature(kind.step).parameters["closure"].default is inspect.Parameter.empty:
            raise ConfigError(
                "an optimizer that computes losses itself", got=self.path, expected="one without a closure"
            )
        try:
            made: torch.optim.Optimizer = kind(
                grouped(found, learning_rate, self.weight_decay), lr=learning_rate, **dict(self.settings)
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.path} refuses its settings", got=error) from error
        if self.weight_decay and "weight_decay" not in made.defaults:
            raise ConfigError(f"{self.path} has no weight decay", got=self.weight_decay, expected="weight_decay=0.0")
        return made


#: The optimizers by the word that the command line knows them by.
OPTIMIZERS: dict[str, type[OptimizerConfig]] = {
    "adamw": AdamWConfig,
    "muon": MuonConfig,
    "adafactor": AdafactorConfig,
    "lion": LionConfig,
}


def is_hidden_matrix(model: nn.Module, name: str) -> bool:
    """Whether a parameter is a linear map inside a block: no table and no head, and no bias."""
    path, _, word = name.rpartition(".")
    return word == "weight" and "blocks" in path.split(".") and isinstance(model.get_submodule(path), nn.Linear)
