"""Several optimizers as one: their rates, their groups that begin later, and a state of plain named tensors.

NAME/word            what an optimizer remembers of a parameter
NAME/word:int        the same, where it is a number of Python's (int, float, bool)
/group/0/word:float  what it counts for a whole group
/weight/NAME         the weights that are trained, where others are measured and saved (schedule-free)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from glassformer.core.errors import CheckpointError, UnsupportedError

_GROUP, _WEIGHT = "/group/", "/weight/"
_NUMBERS: dict[type, torch.dtype] = {bool: torch.bool, int: torch.int64, float: torch.float64}
_NOT_KEPT = ("lr", "initial_lr")


class Optimizers:
    """What moves the parameters of a model.

    Args:
        optimizers: Their groups may have a ``begins``: the progress at which they are first moved.
        trained: Name → parameter, of those that they move.
        any_shape: Whether they may remember tensors of other shapes than ours do.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        trained: Mapping[str, nn.Parameter],
        *,
        any_shape: bool = False,
    ) -> None:
        self.optimizers = list(optimizers)
        self._any_shape = any_shape
        self._names: dict[Tensor, str] = {weight: name for name, weight in trained.items()}
        self._full = [group["lr"] for group in self._groups()]
        self._switch("train")
        self._at_first = [_numbers(group) for group in self._groups()]

    def set_factor(self, factor: float) -> None:
        """Set every learning rate to this share of its full value."""
        for group, full in zip(self._groups(), self._full, strict=True):
            group["lr"] = full * factor

    def set_progress(self, progress: float) -> None:
        """Let the parameters that begin later have gradients from their time on; to be called before each step."""
        for group in self._groups():
            if group.get("begins", 0.0) > 0:
                for weight in group["params"]:
                    weight.requires_grad_(progress >= group["begins"])

    def step(self) -> None:
        """Move the parameters by their gradients."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """A block in which the model has the weights that are to be measured and saved, for instance their averages.

        Only optimizers with ``train()`` and ``eval()`` have others than they train. These return bit for bit.
        """
        kept = [(weight, weight.detach().clone()) for weight in self._switched()]
        self._switch("eval")
        try:
            yield
        finally:
            self._switch("train")
            for weight, before in kept:
                weight.data.copy_(before)

    def state(self) -> dict[str, Tensor]:
        """Everything an optimizer remembers; complete once there was a step."""
        found: dict[str, Tensor] = {}
        for optimizer in self.optimizers:
            for weight, known in optimizer.state.items():
                for word, value in known.items():
                    _put(found, f"{self._names[weight]}/{word}", value, optimizer)
        for number, (group, before) in enumerate(zip(self._groups(), self._at_first, strict=True)):
            for word, value in _numbers(group).items():
                if value != before.get(word):
                    _put(found, f"{_GROUP}{number}/{word}", value, group)
        if found:
            found |= {f"{_WEIGHT}{self._names[weight]}": weight.detach() for weight in self._switched()}
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave.

        Raises:
            CheckpointError: It belongs to other parameters.
        """
        known = {name: weight for weight, name in self._names.items()}
        groups, found = self._groups(), dict[str, dict[str, Any]]()
        for group, before in zip(groups, self._at_first, strict=True):
            group.update(before)
        for key, value in state.items():
            owner, _, word = key.rpartition("/")
            if key.startswith(_WEIGHT) and key.removeprefix(_WEIGHT) in known:
                known[key.removeprefix(_WEIGHT)].data.copy_(value)
            elif owner.startswith(_GROUP) and int(owner.removeprefix(_GROUP)) < len(groups):
                _take(groups[int(owner.removeprefix(_GROUP))], word, value)
            elif owner in known and (self._any_shape or _belongs(value, known[owner])):
                _take(found.setdefault(owner, {}), word, value)
            else:
                raise CheckpointError("the state of the optimizer belongs to another model", got=key)
        for optimizer in self.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    if self._names[weight] in found:
                        optimizer.state[weight] = _placed(found[self._names[weight]], weight, group)

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def _switched(self) -> list[nn.Parameter]:
        """The parameters of which an optimizer trains others than are to be measured."""
        switching = [optimizer for optimizer in self.optimizers if hasattr(optimizer, "eval")]
        return [weight for one in switching for group in one.param_groups for weight in group["params"]]

    def _switch(self, mode: str) -> None:
        for optimizer in self.optimizers:
            if hasattr(optimizer, "train") and hasattr(optimizer, "eval"):
                getattr(optimizer, mode)()


def _numbers(group: Mapping[str, Any]) -> dict[str, Any]:
    """What a group holds that may count something."""
    return {word: value for word, value in group.items() if type(value) in _NUMBERS and word not in _NOT_KEPT}


def _put(found: dict[str, Tensor], key: str, value: Any, owner: object) -> None:
    """Keep one value under a key that says of what type it is."""
    if isinstance(value, Tensor):
        found[key] = value
    elif type(value) in _NUMBERS:
        found[f"{key}:{type(value).__name__}"] = torch.tensor(value, dtype=_NUMBERS[type(value)])
    else:
        got = f"{key}: {type(value).__name__}"
        what = f"{type(owner).__name__} remembers what cannot be saved"
        raise UnsupportedError(what, got=got, expected="tensors and numbers", do="choose another optimizer")


def _take(found: dict[str, Any], word: str, value: Tensor) -> None:
    """Take one value as it was when it was kept."""
    plain, _, kind = word.partition(":")
    found[plain] = value.item() if kind else value


def _belongs(value: Tensor, weight: Tensor) -> bool:
    """Whether a tensor can be about a parameter: a single number, its shape, or means over one of its last two axes."""
    shape = tuple(weight.shape)
    return value.ndim == 0 or tuple(value.shape) in (shape, shape[:-1], shape[:-2] + shape[-1:])


def _placed(known: dict[str, Any], weight: Tensor, group: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors on the parameter's device; a single number only where the optimizer computes with it there."""
    moves_all = bool(group.get("fused") or group.get("capturable"))
    return {
        word: value.to(weight.device) if isinstance(value, Tensor) and (value.ndim or moves_all) else value
        for word, value in known.items()
    }
