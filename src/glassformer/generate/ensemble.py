"""Several models that write one text: the mean of what they say about each next token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from glassformer.core.errors import DataError
from glassformer.generate.steps import Padded, Steps
from glassformer.models.transformer import Transformer

#: What the mean is taken of: log-probabilities (a geometric mean, not normalised again), or probabilities.
Average = Literal["log_probabilities", "probabilities"]


class Together:
    """The steps of several models as one: new tokens → averaged log-probabilities, batch vocab."""

    normalised = True

    def __init__(self, steps: Sequence[Steps], average: Average) -> None:
        self.steps, self.average = steps, average

    def __call__(self, new: Padded) -> Tensor:
        said = torch.stack([steps(new).float().log_softmax(-1) for steps in self.steps])
        return said.mean(0) if self.average == "log_probabilities" else said.logsumexp(0) - math.log(len(said))

    def keep(self, rows: Tensor, sources: Tensor | None, shared: int = 0) -> None:
        for steps in self.steps:
            steps.keep(rows, sources, shared)


def check_fit(model: Transformer, others: Sequence[Transformer], average: str) -> None:
    """Refuse models that cannot write a text with another one.

    Raises:
        DataError: another vocabulary, an encoder that only one has, another first token, no such average.
    """
    if average not in ("log_probabilities", "probabilities"):
        raise DataError("average", got=repr(average), expected="'log_probabilities' or 'probabilities'")
    for number, other in enumerate(others, 1):
        for what, ours, theirs in (
            ("vocab_size", model.config.vocab_size, other.config.vocab_size),
            ("an encoder", model.encoder is not None, other.encoder is not None),
            ("the decoder's first token", _first(model), _first(other)),
        ):
            if ours != theirs:
                raise DataError(f"{what} of an ensemble", at=f"models[{number - 1}]", got=theirs, expected=ours)


def _first(model: Transformer) -> int | None:
    """The token with which the decoder of an encoder-decoder starts."""
    special = model.special
    return None if model.encoder is None else special.start if special.decoder_start is None else special.decoder_start
