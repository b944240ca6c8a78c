"""The scores of each row's next token, step by step: with a cache, or by computing whole rows again.

Both are called with the prompt first and then with the tokens that were chosen, and answer the logits behind each row's
last real token. A cache changes speed, never tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from glassformer.core.errors import UnsupportedError
from glassformer.generate.fast import Watch, fast_decoder, last_of, refuses
from glassformer.models.transformer import Transformer
from glassformer.parts.cache import Cache
from glassformer.parts.rotary import Rotary


class Padded(NamedTuple):
    """tokens: int64, batch position · valid: bool, batch position, None where all are real."""

    tokens: Tensor
    valid: Tensor | None = None

    def with_more(self, more: Padded) -> Padded:
        """The same rows with further tokens behind; their padding comes to stand on the right."""
        tokens = torch.cat((self.tokens, more.tokens), 1)
        if self.valid is None and more.valid is None:
            return Padded(tokens)
        valid = torch.cat((_filled(self), _filled(more)), 1)
        order = valid.long().sort(dim=-1, descending=True, stable=True).indices[:, : int(valid.sum(-1).amax())]
        return Padded(tokens.gather(1, order), valid.gather(1, order))

    def kept(self, rows: Tensor) -> Padded:
        """Some of the rows: int64, batch."""
        return Padded(self.tokens[rows], None if self.valid is None else self.valid[rows])


def _filled(rows: Padded) -> Tensor:
    return torch.ones_like(rows.tokens, dtype=torch.bool) if rows.valid is None else rows.valid


class Steps(Protocol):
    """What answers the scores behind each row: new tokens → logits, batch vocab; ``normalised``: log-probabilities."""

    normalised: bool

    def __call__(self, new: Padded) -> Tensor: ...

    def keep(self, rows: Tensor, sources: Tensor | None, shared: int = 0) -> None:
        """Row i goes on as row ``rows[i]`` did: int64, batch.

        sources: which sources of an encoder-decoder stay (int64, source), None = all; beams of one source stand side
        by side · shared: positions up to there are the same in row i and ``rows[i]``.
        """
        ...


class Forward:
    """The model's own forward, for the logits of the last tokens alone; ``source`` is an encoder-decoder's."""

    def __init__(self, model: Transformer, source: Padded | None) -> None:
        self.model, self.source, self.watch = model, source, Watch(model)

    def __call__(self, rows: Padded, cache: Cache | None = None) -> Tensor:
        said: dict[str, Any] = {"tokens": rows.tokens, "valid": rows.valid, "cache": cache}
        if self.source is not None:
            said = {"tokens": self.source.tokens, "target": rows.tokens, "cache": cache}
            said |= {"source_valid": self.source.valid, "target_valid": rows.valid}
        if rows.tokens.shape[1] == 1 or self.watch:
            return last_of(self.model(**said), rows.valid)
        assert self.model.head is not None
        logits: Tensor = self.model.head(last_of(self.model.hidden(**said), rows.valid)[:, None])
        return logits[:, 0]

    def keep(self, rows: Tensor) -> None:
        self.source = None if self.source is None else self.source.kept(rows)


class Whole:
    """Computes all tokens of all rows at every step."""

    normalised = False

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.rows: Padded | None = None

    def __call__(self, new: Padded) -> Tensor:
        self.rows = new if self.rows is None else self.rows.with_more(new)
        return self.forward(self.rows)

    def keep(self, rows: Tensor, sources: Tensor | None, shared: int = 0) -> None:
        assert self.rows is not None
        self.rows = self.rows.kept(rows)
        self.forward.keep(rows)


class Cached:
    """Computes the new tokens of all rows; ``room``: the length of the longest row at the end · ``steps``: at most.

    Where a row's length changes its rotary frequencies, its stored keys are computed again.
    """

    normalised = False

    def __init__(self, forward: Forward, room: int, steps: int, *, fast: bool) -> None:
        self.forward, self.room = forward, room
        model = forward.model
        self.fast = fast_decoder(model, steps) if fast and not forward.watch and not refuses(model) else None
        self.cache: Cache | None = None
        self.turns = any(isinstance(part, Rotary) and part.limit is not None for part in model.modules())
        if self.turns and forward.source is not None:
            self.fast = None  # what is computed again has a memory a row, and the fast decoder one a source
        self.rows: Padded | None = None

    def __call__(self, new: Padded) -> Tensor:
        if self.turns:
            self.rows = new if self.rows is None else self.rows.with_more(new)
            if self.cache is not None and not self._follows(self.cache, new):
                self.cache, new = None, self.rows
        if self.cache is None:
            self.cache = self.forward.model.cache(new.tokens.shape[0], self.room)
        encoded = self.forward.source is None or self.cache.memory is not None
        if self.fast is None or self.forward.watch or not encoded:
            return self.forward(new, self.cache)
        return self.fast(new.tokens, new.valid, self.cache)

    def _follows(self, cache: Cache, new: Padded) -> bool:
        """Whether the stored keys are those of the rows as long as they will be."""
        assert self.forward.model.decoder is not None
        more = new.tokens.shape[1] if new.valid is None else new.valid.sum(-1)
        try:
            self.forward.model.decoder.check_growth(cache.lengths, cache.lengths + more)
        except UnsupportedError:
            return False
        return True

    def keep(self, rows: Tensor, sources: Tensor | None, shared: int = 0) -> None:
        assert self.cache is not None
        batch, stay = len(self.cache.lengths), sources is None
        if len(rows) == batch and stay:
            self.cache.branch(rows, shared)
        else:
            self.cache.reorder_tokens(rows)
        if self.fast is None:  # the model's own forward wants a memory for each row
            sources = None if stay and len(rows) == batch else rows
        if sources is not None:
            self.cache.reorder_memory(sources)
        if sources is not None or len(rows) != batch:
            self.forward.keep(rows)
        self.rows = None if self.rows is None else self.rows.kept(rows)
