"""The two forms of a model in training: what is moved, and what is measured and saved.

    trained      a matrix and a change of low rank       the weights of this step
    published    their sum                               a moving average of all steps

The published form is a plain model that opens anywhere. Beside what the optimizer remembers, the state holds what that
form does not say of the trained one, so that a resumed run has it again bit for bit.

    /trained/NAME    a parameter as it is trained
    /average/NAME    its moving average
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from glassformer.core.errors import CheckpointError
from glassformer.models.adapters import adapters_of, merged
from glassformer.models.transformer import Transformer
from glassformer.train.ema import Averages
from glassformer.train.groups import trained_parameters
from glassformer.train.optimizer_set import Optimizers

_TRAINED, _AVERAGE = "/trained/", "/average/"


class Forms:
    """The forms of a model and of its optimizer's weights.

    Args:
        model: With an adapter or without.
        optimizers: Of its trained parameters.
        ema: Share of the moving averages that stays at each step; None where there are none.
    """

    def __init__(self, model: Transformer, optimizers: Optimizers, ema: float | None = None) -> None:
        self.model, self.optimizers = model, optimizers
        self.averages = None if ema is None else Averages(trained_parameters(model), ema)

    def update(self) -> None:
        """Take the weights of a step into the averages."""
        if self.averages is not None:
            self.averages.update()

    @contextmanager
    def published(self) -> Iterator[None]:
        """A block in which the model is what is measured and saved; afterwards it is as before, bit for bit."""
        with ExitStack() as stack:
            stack.enter_context(self.optimizers.measuring())
            if self.averages is not None:
                stack.enter_context(self.averages.measuring())
            if adapters_of(self.model):
                stack.enter_context(merged(self.model))
            yield

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs beside the published form."""
        averages = {} if self.averages is None else self.averages.state()
        hidden = {f"{_TRAINED}{name}": weight.detach() for name, weight in self._hidden().items()}
        return {**self.optimizers.state(), **hidden, **{f"{_AVERAGE}{name}": one for name, one in averages.items()}}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave, after the published form was loaded.

        Raises:
            CheckpointError: It belongs to other parameters.
        """
        trained, averages = (_those(state, prefix) for prefix in (_TRAINED, _AVERAGE))
        hidden = self._hidden()
        if {name: weight.shape for name, weight in hidden.items()} != {
            name: one.shape for name, one in trained.items()
        }:
            raise CheckpointError("the trained weights belong to another model", got=f"{len(trained)} tensors")
        for name, weight in hidden.items():
            weight.copy_(trained[name])
        if self.averages is not None:
            self.averages.load(averages)
        ours = (_TRAINED, _AVERAGE)
        self.optimizers.load({name: value for name, value in state.items() if not name.startswith(ours)})

    def _hidden(self) -> dict[str, Tensor]:
        """The parameters that the published form does not hold as they are: adapted ones, and those with averages."""
        paths = adapters_of(self.model)
        averaged = trained_parameters(self.model) if self.averages is not None else {}
        return {
            name: weight
            for name, weight in self.model.named_parameters()
            if name in averaged or (name.rpartition(".")[0] in paths and not name.endswith(".bias"))
        }


def _those(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
