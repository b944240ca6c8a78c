"""Continuing rows of tokens, one token a row a step.

    generated = model.generate(tokens, max_tokens=32)                      # the most probable tokens
    generated = model.generate(tokens, valid=valid, sampling=SamplingConfig(temperature=0.8, seed=1))
    generated = model.generate(source)                                     # encoder-decoder

A row gets the same tokens alone and in a batch, with and without a cache. Rows that have ended leave the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glassformer.core.axes import SEQUENCE
from glassformer.core.errors import EditError
from glassformer.data.batch import Batch
from glassformer.generate.prompt import limits_of, prompt_of
from glassformer.generate.sampling import Sampler, SamplingConfig
from glassformer.generate.steps import Cached, Forward, Padded, Steps, Whole
from glassformer.generate.stop import Reason
from glassformer.inside.edits import EditSpec
from glassformer.models.transformer import Transformer

GREEDY = SamplingConfig()


@dataclass(frozen=True, eq=False)
class Generated:
    """The new tokens of each row, an end token included.

    tokens: int64, batch position, filled up behind · lengths: int64, batch · reasons: why each row ended.
    """

    tokens: Tensor
    lengths: Tensor
    reasons: tuple[Reason, ...]

    def rows(self) -> list[list[int]]:
        """The new tokens of each row, without what fills it up."""
        return [row[:length] for row, length in zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)]


def generate_tokens(
    model: Transformer,
    tokens: Tensor | Batch,
    *,
    max_tokens: int | None = None,
    valid: Tensor | None = None,
    sampling: SamplingConfig = GREEDY,
    stop_ids: Sequence[int] | None = None,
    edits: Iterable[EditSpec] | None = None,
    use_cache: bool = True,
    fast: bool = True,
    first_row: int = 0,
) -> Generated:
    """Continue rows of tokens, or answer the sources of an encoder-decoder.

    tokens: int64, batch position · valid: bool, batch position, True = a real token, padding on either side ·
    max_tokens: new tokens a row, None = 256 or what the model has room for · stop_ids: tokens that end a row, None =
    those of the model's checkpoint · edits: made in every step; positions count from the row's first token · fast: use
    packed copies of the weights where the model allows it · first_row: the number of the first row, for its draws.

    Raises:
        DataError: a row too long for the model or empty, an id outside of the vocabulary, scores that are no numbers.
        EditError: an edit that cannot be made, or that no step met.
        UnsupportedError: a model without a decoder or without a token head.
    """
    with edited(model, edits, use_cache=use_cache):
        decoding = Decoding(
            model, tokens, max_tokens=max_tokens, valid=valid, sampling=sampling, stop_ids=stop_ids,
            use_cache=use_cache, fast=fast, first_row=first_row,
        )  # fmt: skip
        for _ in decoding:
            continue
    return decoding.generated()


class Decoding:
    """Rows that are being continued; iterate for the steps, each a dict of row → its new token.

    Arguments as in ``generate_tokens``. Between steps rows may be ended with ``stop``.
    """

    def __init__(
        self, model: Transformer, tokens: Tensor | Batch, *, max_tokens: int | None = None, valid: Tensor | None = None,
        sampling: SamplingConfig = GREEDY, stop_ids: Sequence[int] | None = None, use_cache: bool = True,
        fast: bool = True, first_row: int = 0,
    ) -> None:  # fmt: skip
        source, prompt, lengths = prompt_of(model, tokens, valid, first_row)
        self.limits = limits_of(model.config.max_positions, lengths, max_tokens, first_row)
        self.ends = frozenset(model.special.end if stop_ids is None else stop_ids)
        self.pad = model.special.pad or 0
        self.sampler = Sampler(sampling, model.config.vocab_size, *prompt, first_row=first_row)
        self.new: list[list[int]] = [[] for _ in lengths]
        self.reasons: list[Reason | None] = [None for _ in lengths]
        self.rows = list(range(len(lengths)))  # those that the batch holds
        self._prompt: Padded | None = prompt
        self._device = prompt.tokens.device
        forward = Forward(model, source)
        self._watch = forward.watch
        self._training = [part for part in model.modules() if part.training]
        # what a trace reads stays an ordinary tensor
        self._mode = torch.no_grad if self._watch else torch.inference_mode
        room = max(length + limit for length, limit in zip(lengths, self.limits, strict=True))
        self._steps: Steps = Cached(forward, room, max(self.limits), fast=fast) if use_cache else Whole(forward)

    def __iter__(self) -> Iterator[dict[int, int]]:
        while self.live():
            yield self.step()

    def live(self) -> list[int]:
        """The rows that go on."""
        return [row for row in self.rows if self.reasons[row] is None]

    def stop(self, row: int) -> None:
        """End a row because of its text, also if its newest token has ended it."""
        self.reasons[row] = "stop"

    def step(self) -> dict[int, int]:
        """One more token for each row that goes on."""
        live = self.live()
        with self._mode(), _without_dropout(self._training):
            logits = self._steps(self._input(live))
            if len(live) < len(self.rows):
                logits = logits[[place for place, row in enumerate(self.rows) if self.reasons[row] is None]]
            chosen = self.sampler(logits, live).tolist()
        for row, token in zip(live, chosen, strict=True):
            self._record(row, token)
        return dict(zip(live, chosen, strict=True))

    def _input(self, live: list[int]) -> Padded:
        """The prompt at first, then the newest tokens.

        Rows that have ended leave the batch, or become padding where somebody looks at the batch and its rows.
        """
        if self._prompt is not None:
            prompt, self._prompt = self._prompt, None
            return prompt
        if len(live) < len(self.rows) and not self._watch:
            places = [place for place, row in enumerate(self.rows) if self.reasons[row] is None]
            self._steps.keep(torch.tensor(places, device=self._device))
            self.rows = live
        newest = [self.new[row][-1:] or [0] for row in self.rows]
        real = None if len(live) == len(self.rows) else [[self.reasons[row] is None] for row in self.rows]
        valid = None if real is None else torch.tensor(real, device=self._device)
        return Padded(torch.tensor(newest, device=self._device), valid)

    def _record(self, row: int, token: int) -> None:
        self.new[row].append(token)
        if token in self.ends:
            self.reasons[row] = "end"
        elif len(self.new[row]) == self.limits[row]:
            self.reasons[row] = "length"

    def generated(self) -> Generated:
        """All rows, once none goes on."""
        reasons = tuple(reason for reason in self.reasons if reason is not None)
        assert len(reasons) == len(self.new), "some rows go on"
        longest = max(map(len, self.new))
        filled = [row + [self.pad] * (longest - len(row)) for row in self.new]
        tokens = torch.tensor(filled, dtype=torch.int64, device=self._device)
        lengths = torch.tensor([len(row) for row in self.new], device=self._device)
        return Generated(tokens, lengths, reasons)


@contextmanager
def _without_dropout(training: list[nn.Module]) -> Iterator[None]:
    """Parts that are in training are out of it for a while."""
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def edited(model: Transformer, edits: Iterable[EditSpec] | None, *, use_cache: bool = True) -> Iterator[None]:
    """One trace with some edits around all steps.

    Raises:
        EditError: without a cache, an edit whose positions count from the row's newest token: old ones would lose it.
    """
    made = list(edits or ())
    for edit in made:
        axes = [axis for axis, index in edit.selection.items() if axis in SEQUENCE and _counts_back(index)]
        if axes and not use_cache:
            got = f"{axes[0]}={edit.selection[axes[0]]}"
            raise EditError("counts from the newest token", at=edit.address, got=got, do="generate with the cache")
    if not made:
        yield
        return
    with model.trace() as trace:
        trace.apply(made)
        yield


def _counts_back(index: object) -> bool:
    if isinstance(index, slice):
        return any(bound is not None and bound < 0 for bound in (index.start, index.stop))
    return bool((torch.as_tensor(index) < 0).any())
