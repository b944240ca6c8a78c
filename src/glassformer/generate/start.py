"""What every way of decoding begins with: checked prompts, how long each may get, and the steps that answer scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from glassformer.data.batch import Batch
from glassformer.generate.ensemble import Average, Together, check_fit
from glassformer.generate.prompt import beginnings_of, limits_of, prompt_of
from glassformer.generate.steps import Cached, Forward, Steps, Whole
from glassformer.models.transformer import Transformer


class Start:
    """Prompts that are to be continued by one model or by several; arguments as in ``generate_tokens``."""

    def __init__(
        self, model: Transformer, tokens: Tensor | Batch, *, max_tokens: int | None, valid: Tensor | None,
        stop_ids: Sequence[int] | None, use_cache: bool, fast: bool, first_row: int,
        models: Sequence[Transformer] = (), average: Average = "log_probabilities",
        prefixes: Sequence[Sequence[int]] | None = None, min_tokens: int | None = None,
    ) -> None:  # fmt: skip
        check_fit(model, models, average)
        every = (model, *models)
        source, self.prompt, self.lengths = prompt_of(model, tokens, valid, first_row)
        longest = [one.config.max_positions for one in every if one.config.max_positions is not None]
        self.limits = limits_of(min(longest, default=None), self.lengths, max_tokens, min_tokens, first_row)
        self.ends = frozenset(model.special.end if stop_ids is None else stop_ids)
        vocab_size = model.config.vocab_size
        self.beginnings = beginnings_of(prefixes, self.limits, self.ends, vocab_size, self.device, first_row)
        self.pad, self.first_row = model.special.pad or 0, first_row
        forwards = [Forward(one, source) for one in every]
        self._watches = [forward.watch for forward in forwards]
        self._training = [part for one in every for part in one.modules() if part.training]
        # what a trace reads stays an ordinary tensor
        self._mode = torch.no_grad if self.watch else torch.inference_mode
        room = max(length + limit for length, limit in zip(self.lengths, self.limits, strict=True))
        most = max(self.limits)
        steps: list[Steps] = [Cached(one, room, most, fast=fast) if use_cache else Whole(one) for one in forwards]
        self.steps: Steps = Together(steps, average) if models else steps[0]

    @property
    def device(self) -> torch.device:
        """Where the prompts are."""
        return self.prompt.tokens.device

    @property
    def watch(self) -> bool:
        """Whether somebody reads or changes values now."""
        return any(self._watches)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Without gradients, and parts that are in training are out of it for a while."""
        for part in self._training:
            part.training = False
        try:
            with self._mode():
                yield
        finally:
            for part in self._training:
                part.training = True
