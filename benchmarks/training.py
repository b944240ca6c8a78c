"""A training step (forward, backward, clip, fused AdamW) with taps present and idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import shapes
from benchmarks.paired import Figure, interleave, median, ratio
from glassformer.core.machine import gemm_rate

REPEATS = {shapes.SMALL: 60, shapes.MIDDLE: 15, shapes.LARGE: 7}


def figures() -> Iterator[Figure]:
    """Two ratios a shape: to ``transformers`` and to the straight-line model."""
    for shape, repeats in REPEATS.items():
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, shape.vocab_size, (shape.batch, shape.length + 1), generator=generator)
        model, theirs, straight = shapes.ours(shape), shapes.peer(shape), shapes.Straight(shape)
        cases = {
            "ours": _step(model, model, tokens),
            "transformers": _step(theirs, lambda ids, peer=theirs: peer(ids, use_cache=False).logits, tokens),
            "straight": _step(straight, straight, tokens),
        }
        times = interleave(cases, repeats=repeats, warmup=2)
        n_tokens, seconds = shape.batch * shape.length, median(times, "ours")
        flops = 3 * model.summary().flops_per_token * n_tokens  # the backward costs two forwards
        limit = gemm_rate(1024, shape.d_model, 4 * shape.d_model) * 1e9
        share = flops / seconds / limit
        name = f"train {shape.name}"
        for peer, wanted in (("transformers", 1.25), ("straight", 1.0)):
            said = "transformers GPT-2 (sdpa)" if peer == "transformers" else "a straight-line eager GPT"
            rate = ratio(times, "ours", peer)
            yield Figure(name, n_tokens / seconds, "tokens/s", said, rate, wanted, share, "GEMM rate")


def _step(model: nn.Module, logits: Callable[[Tensor], Tensor], tokens: Tensor) -> Callable[[], object]:
    """One optimiser step on one batch."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-4, fused=True)

    def step() -> None:
        loss = F.cross_entropy(logits(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
