"""Continuing rows of tokens, one token a row a step.

    generated = model.generate(tokens, max_tokens=32)                      # the most probable tokens
    generated = model.generate(tokens, valid=valid, sampling=SamplingConfig(temperature=0.8, seed=1))
    generated = model.generate(source)                                     # encoder-decoder
    generated = model.generate(source, beams=5, n_best=3)                  # the best texts: see ``beam.py``

A row gets the same tokens alone and in a batch, with and without a cache. Rows that have ended leave the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Unpack

import torch
from torch import Tensor

from glassformer.core.axes import SEQUENCE
from glassformer.core.errors import EditError
from glassformer.data.batch import Batch
from glassformer.generate.beam import search as searched
from glassformer.generate.beam_config import BeamOptions, beams_of, check_taps
from glassformer.generate.ensemble import Average
from glassformer.generate.generated import Generated, generated_of
from glassformer.generate.sampling import Sampler, SamplingConfig
from glassformer.generate.start import Start
from glassformer.generate.steps import Padded
from glassformer.generate.stop import Reason
from glassformer.inside.edits import EditSpec
from glassformer.models.transformer import Transformer

GREEDY = SamplingConfig()


def generate_tokens(
    model: Transformer,
    tokens: Tensor | Batch,
    *,
    max_tokens: int | None = None,
    valid: Tensor | None = None,
    sampling: SamplingConfig = GREEDY,
    stop_ids: Sequence[int] | None = None,
    edits: Iterable[EditSpec] | None = None,
    prefixes: Sequence[Sequence[int]] | None = None,
    models: Sequence[Transformer] = (),
    average: Average = "log_probabilities",
    use_cache: bool = True,
    fast: bool = True,
    first_row: int = 0,
    **search: Unpack[BeamOptions],
) -> Generated:
    """Continue rows of tokens, or answer the sources of an encoder-decoder.

    tokens: int64, batch position · valid: bool, batch position, True = a real token, padding on either side ·
    max_tokens: new tokens a row, None = 256 or what the model has room for · stop_ids: tokens that end a row, None =
    those of the model's checkpoint · edits: made in every step; positions count from the row's first token · prefixes:
    tokens with which the new ones of each row begin · models: others of the same vocabulary that say each token
    together with this one, by the ``average`` of their log-probabilities or probabilities · fast: use packed copies of
    the weights where the model allows it · first_row: the number of the first row, for its draws · search: the fields
    of a ``BeamConfig``, for instance beams=5; then ``n_best`` rows a prompt come back, with their scores.

    Raises:
        ConfigError: an option of beams out of its range, or without beams, or beams that draw.
        DataError: a row too long for the model or empty, an id outside of the vocabulary, scores that are no numbers.
        EditError: an edit that cannot be made, or that no step met.
        UnsupportedError: a model without a decoder or without a token head.
    """
    config = beams_of(search, sampling)
    with edited(model, edits, use_cache=use_cache, models=models):
        if config is not None:
            for one in (model, *models):
                check_taps(one)
            start = Start(
                model, tokens, max_tokens=max_tokens, valid=valid, stop_ids=stop_ids, use_cache=use_cache, fast=fast,
                first_row=first_row, models=models, average=average, prefixes=prefixes, min_tokens=sampling.min_tokens,
            )  # fmt: skip
            return searched(start, config, sampling.rules(start.ends, start.beginnings))
        decoding = Decoding(
            model, tokens, max_tokens=max_tokens, valid=valid, sampling=sampling, stop_ids=stop_ids,
            use_cache=use_cache, fast=fast, first_row=first_row, models=models, average=average, prefixes=prefixes,
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
        fast: bool = True, first_row: int = 0, models: Sequence[Transformer] = (),
        average: Average = "log_probabilities", prefixes: Sequence[Sequence[int]] | None = None,
    ) -> None:  # fmt: skip
        start = Start(
            model, tokens, max_tokens=max_tokens, valid=valid, stop_ids=stop_ids, use_cache=use_cache, fast=fast,
            first_row=first_row, models=models, average=average, prefixes=prefixes, min_tokens=sampling.min_tokens,
        )  # fmt: skip
        self.start, self.limits, self.ends = start, start.limits, start.ends
        rules = sampling.rules(self.ends, start.beginnings)
        self.sampler = Sampler(sampling, *start.prompt, rules=rules, first_row=first_row)
        self.new: list[list[int]] = [[] for _ in self.limits]
        self.reasons: list[Reason | None] = [None for _ in self.limits]
        self.rows = list(range(len(self.limits)))  # those that the batch holds
        self._prompt: Padded | None = start.prompt

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
        with self.start.computing():
            logits = self.start.steps(self._input(live))
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
        if len(live) < len(self.rows) and not self.start.watch:
            places = [place for place, row in enumerate(self.rows) if self.reasons[row] is None]
            kept = torch.tensor(places, device=self.start.device)
            self.start.steps.keep(kept, kept)
            self.rows = live
        newest = [self.new[row][-1:] or [0] for row in self.rows]
        real = None if len(live) == len(self.rows) else [[self.reasons[row] is None] for row in self.rows]
        valid = None if real is None else torch.tensor(real, device=self.start.device)
        return Padded(torch.tensor(newest, device=self.start.device), valid)

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
        return generated_of(self.new, reasons, self.start.pad, self.start.device)


@contextmanager
def edited(
    model: Transformer, edits: Iterable[EditSpec] | None, *, use_cache: bool = True, models: Sequence[Transformer] = ()
) -> Iterator[None]:
    """One trace with some edits around all steps.

    Raises:
        EditError: edits of an ensemble, which do not say of which model.
        EditError: without a cache, an edit whose positions count from the row's newest token: old ones would lose it.
    """
    made = list(edits or ())
    if made and models:
        do = "put a trace around the generation for each model"
        raise EditError("edits do not say which model", at=made[0].address, got=f"{1 + len(models)} models", do=do)
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
