"""Reading the residual stream with the model's own head: surprise in bits, and the logit lens (nostalgebraist 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.batch import Batch
from glassformer.models.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class Lens:
    """What each residual value says about a token at each position.

    tokens: int64, layer position rank, best first · probabilities: float32, the same · actual: float32, layer position,
    the probability of the expected token, NaN where none is expected.
    """

    tokens: Tensor
    probabilities: Tensor
    actual: Tensor

    def top(self, ranks: int) -> Lens:
        """The same for the best few ranks only."""
        return replace(self, tokens=self.tokens[..., :ranks], probabilities=self.probabilities[..., :ranks])


def says_tokens(model: Transformer) -> bool:
    """Whether the model has a head that scores the vocabulary at each position."""
    return model.head is not None and model.head.axes == "batch position vocab"


def residual_addresses(model: Transformer) -> list[str]:
    """The residual stream that the head reads, from the embedding to the last block; nothing without a head."""
    if not says_tokens(model):
        return []
    name, stack = ("encoder", model.config.encoder) if model.decoder is None else ("decoder", model.config.decoder)
    assert stack is not None
    return [f"{name}.embedding", *(f"{name}.blocks.{layer}.output" for layer in range(len(stack.blocks)))]


def read_out(model: Transformer, hidden: Tensor) -> Tensor:
    """A residual value (batch position model) as the model would read it at its end: batch position vocab.

    The statistics of the final norm are computed anew from ``hidden``; for the last block's output this is the
    model's output, bit for bit.

    Raises:
        UnsupportedError: the model has no head over its vocabulary.
    """
    if not says_tokens(model):
        raise UnsupportedError("a lens needs a head over the vocabulary", got=type(model.head).__name__)
    stack = model.encoder if model.decoder is None else model.decoder
    assert stack is not None and model.head is not None
    logits: Tensor = model.head(stack.norm(hidden))
    return logits


def logit_lens(model: Transformer, tokens: Tensor | Batch, *, top: int = 10) -> Lens:
    """What each layer of a decoder would have said next at each token of one row.

    Raises:
        DataError: more than one row.
        UnsupportedError: the model has no head over its vocabulary, or an encoder.
    """
    ids = tokens.tokens if isinstance(tokens, Batch) else tokens
    if ids.ndim != 2 or ids.shape[0] != 1:
        raise DataError("a lens reads one row", got=tuple(ids.shape), expected="1 position")
    if model.decoder is None or model.encoder is not None:
        raise UnsupportedError("this lens is for a decoder alone", do="read the values and use read_out")
    addresses = residual_addresses(model)
    with model.trace() as trace, torch.no_grad():
        for address in addresses:
            trace.read(address)
        model(ids)
    expected = torch.cat((ids[0, 1:], ids.new_full((1,), -1)))
    return guesses_of(model, [trace[address] for address in addresses], expected, top=top)


def guesses_of(model: Transformer, values: Sequence[Tensor], expected: Tensor, *, top: int = 5) -> Lens:
    """Guesses of several residual values, batch position model with one row each.

    expected: int64, position, the tokens that were really there, -1 where there is none.
    """
    found = [_guesses(read_out(model, value)[0], expected, top) for value in values]
    tokens, probabilities, actual = (torch.stack(each).cpu() for each in zip(*found, strict=True))
    return Lens(tokens=tokens, probabilities=probabilities, actual=actual)


def _guesses(logits: Tensor, expected: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (position vocab) → tokens, probabilities (position rank each), probability of the expected (position)."""
    shares = logits.float().softmax(dim=-1)
    best = shares.topk(min(top, shares.shape[-1]), dim=-1)
    expected = expected.to(logits.device)
    actual = shares.gather(-1, expected.clamp(min=0)[:, None])[:, 0]
    return best.indices, best.values, actual.masked_fill(expected < 0, torch.nan)


def bits_of(logits: Tensor, expected: Tensor) -> list[float | None]:
    """Surprise in bits, -log2 p, of logits (position vocab) at the expected tokens (int64, position; -1: none)."""
    expected = expected.to(logits.device)
    logs = logits.float().log_softmax(dim=-1).gather(-1, expected.clamp(min=0)[:, None])[:, 0]
    bits = (-logs / math.log(2)).tolist()
    return [bit if token >= 0 else None for bit, token in zip(bits, expected.tolist(), strict=True)]


def masked_bits(
    model: Transformer, tokens: Tensor, mask: int, hidden: Sequence[int], *, rows: int = 16
) -> list[float | None]:
    """Surprise in bits of a masked language model at some of the tokens, each masked in turn (Salazar et al. 2020).

    tokens: int64, position · hidden: the positions to mask, the others give None · rows: masked at once.
    """
    bits: list[float | None] = [None] * tokens.shape[0]
    for start in range(0, len(hidden), rows):
        places = torch.tensor(hidden[start : start + rows], device=tokens.device)
        each = torch.arange(len(places), device=tokens.device)
        batch = tokens.repeat(len(places), 1)
        batch[each, places] = mask
        assert model.head is not None
        logits = model.head(model.hidden(batch)[each, places][None])[0]
        for place, bit in zip(places.tolist(), bits_of(logits, tokens[places]), strict=True):
            bits[place] = bit
    return bits
