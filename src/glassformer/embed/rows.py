"""Rows of tokens → their last hidden states without padding: token model, one row behind the other.

    packed      all rows as documents of one row       attention stays inside each document
    by length   rows of one length as one batch        for models whose scores cannot be cut (relative buckets)

Where weights stay as they are and nobody looks, the blocks run as straight-line code over packed weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from glassformer.embed.fast import fast_encoder, refuses
from glassformer.generate.fast import Watch
from glassformer.models.transformer import Transformer
from glassformer.parts.attention import Attention
from glassformer.parts.positions import ScorePositionsConfig

#: Rows (lists of token ids, sorted by length) → hidden states: token model.
Hidden = Callable[[Sequence[list[int]]], Tensor]


def hidden_states(model: Transformer) -> Hidden:
    """How the rows of this model are computed."""
    stack = model.encoder if model.encoder is not None else model.decoder
    assert stack is not None
    packs = stack.positions is None and all(_packs(block.get_submodule("attention")) for block in stack.blocks)
    rows = _packed if packs else _by_length
    fast = not refuses(model) and not Watch(model)
    run = fast_encoder(model) if fast else model.hidden
    device = next(model.embedding.parameters()).device
    return lambda found: rows(run, found, device)


def _packs(attention: torch.nn.Module) -> bool:
    """Whether an attention's scores can be cut into documents."""
    return type(attention) is Attention and not isinstance(attention.config.positions, ScorePositionsConfig)


def _packed(run: Callable[..., Tensor], rows: Sequence[list[int]], device: torch.device) -> Tensor:
    tokens = torch.tensor([token for row in rows for token in row], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    documents = torch.repeat_interleave(torch.arange(len(rows), device=device), lengths)
    return run(tokens[None], documents=documents[None])[0]


def _by_length(run: Callable[..., Tensor], rows: Sequence[list[int]], device: torch.device) -> Tensor:
    batches = (torch.tensor(list(members), device=device) for _, members in groupby(rows, key=len))
    return torch.cat([run(batch).flatten(0, 1) for batch in batches])
