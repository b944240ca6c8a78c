"""What a generation starts from: rows of tokens, checked, and how many new tokens each has room for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.batch import Batch
from glassformer.generate.steps import Padded
from glassformer.models.transformer import Transformer
from glassformer.parts.head import TokenHead
from glassformer.parts.rows import rows_of

#: New tokens of a row where nobody says how many; fewer where the model's longest row ends before.
MAX_TOKENS = 256


def prompt_of(
    model: Transformer, tokens: Tensor | Batch, valid: Tensor | None, first_row: int
) -> tuple[Padded | None, Padded, list[int]]:
    """The source of an encoder-decoder, what its decoder starts from or the prompt itself, and the prompt's lengths.

    Raises:
        DataError: a row without a token, a wrong shape or type, an id outside of the vocabulary, no first token.
        UnsupportedError: a model without a decoder or without a token head.
    """
    if model.decoder is None:
        raise UnsupportedError("an encoder continues nothing", do="use a model with a decoder")
    if not isinstance(model.head, TokenHead):
        raise UnsupportedError("this model's head says no tokens", do="use a model with a token head")
    rows = _checked(model.config.vocab_size, tokens, valid)
    lengths = _lengths(rows, first_row)
    if model.encoder is None:
        return None, rows, lengths
    start = next((one for one in (model.special.decoder_start, model.special.start) if one is not None), None)
    if start is None:
        raise DataError(
            "this model does not say how its decoder starts", expected="decoder_start_token_id in config.json"
        )
    batch = len(lengths)
    return rows, Padded(rows.tokens.new_full((batch, 1), start)), [1] * batch


def _checked(vocab_size: int, tokens: Tensor | Batch, valid: Tensor | None) -> Padded:
    if isinstance(tokens, Batch):
        valid = tokens.valid if valid is None else valid
        tokens = tokens.tokens
    if tokens.ndim != 2 or tokens.dtype not in (torch.int64, torch.int32) or tokens.numel() == 0:
        raise DataError("tokens", got=f"{tokens.dtype} {tuple(tokens.shape)}", expected="int64, batch position")
    low, high = (int(bound) for bound in tokens.aminmax())
    if low < 0 or high >= vocab_size:
        got, expected = low if low < 0 else high, f"0 … {vocab_size - 1}"
        raise DataError("a token id outside of the vocabulary", got=got, expected=expected)
    rows = rows_of((tokens.shape[0], tokens.shape[1]), tokens.device, valid=valid)
    return Padded(tokens.long(), None if rows.valid is None or bool(rows.valid.all()) else rows.valid)


def _lengths(rows: Padded, first_row: int) -> list[int]:
    batch, length = rows.tokens.shape
    lengths: list[int] = [length] * batch if rows.valid is None else rows.valid.sum(-1).tolist()
    if 0 in lengths:
        raise DataError("a row without a token", at=f"row {first_row + lengths.index(0)}", expected="at least one")
    return lengths


def check_max_tokens(max_tokens: int | None) -> None:
    """Refuse what is no number of tokens."""
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise DataError("max_tokens", got=max_tokens, expected="a whole number, at least 1")


def limits_of(
    longest: int | None, lengths: list[int], max_tokens: int | None, min_tokens: int | None, first_row: int
) -> list[int]:
    """How many new tokens each row of so many tokens gets, where the model's longest row is ``longest``.

    Raises:
        DataError: there is no room for what was asked, or for one token.
    """
    check_max_tokens(max_tokens)
    if max_tokens is not None and min_tokens is not None and min_tokens > max_tokens:
        raise DataError("min_tokens", got=min_tokens, expected=f"at most max_tokens = {max_tokens}")
    limits = []
    for row, length in enumerate(lengths):
        room = MAX_TOKENS if longest is None else longest - length
        wanted = min(MAX_TOKENS, max(1, room)) if max_tokens is None else max_tokens
        if longest is not None and wanted > room:
            got, expected = f"{length} + {wanted} tokens", f"at most {longest} together"
            do = "shorten the prompt" if room < 1 else f"ask for at most {room} new tokens, or shorten the prompt"
            raise DataError("prompt and new tokens are longer than the model", at=f"row {first_row + row}", got=got,
                            expected=expected, do=do)  # fmt: skip
        limits.append(wanted)
    return limits


def beginnings_of(
    prefixes: Sequence[Sequence[int]] | None, limits: list[int], ends: Collection[int], vocab_size: int,
    device: torch.device, first_row: int,
) -> Tensor | None:  # fmt: skip
    """The tokens with which each row's new ones must begin: int64, row position, filled up with -1.

    Raises:
        DataError: not one for each row, an id outside of the vocabulary, an end token, more than the row has room for.
    """
    if prefixes is None:
        return None
    if len(prefixes) != len(limits):
        expected = f"one for each of {len(limits)} rows, which may be empty"
        raise DataError("prefixes", got=len(prefixes), expected=expected)
    for row, (prefix, limit) in enumerate(zip(prefixes, limits, strict=True)):
        at = f"prefixes, row {first_row + row}"
        if len(prefix) > limit:
            raise DataError("longer than the new tokens", at=at, got=len(prefix), expected=f"at most {limit}")
        for token in prefix:
            if not 0 <= token < vocab_size:
                expected = f"0 … {vocab_size - 1}"
                raise DataError("a token id outside of the vocabulary", at=at, got=token, expected=expected)
            if token in ends:
                raise DataError("an end token ends a row", at=at, got=token, do="leave it out, or say other stop_ids")
    longest = max(map(len, prefixes))
    filled = [[*prefix, *[-1] * (longest - len(prefix))] for prefix in prefixes]
    return torch.tensor(filled, dtype=torch.int64, device=device).view(len(prefixes), longest)
