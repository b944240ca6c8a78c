"""What looking costs: every residual read, and the patterns of one layer at 1,024 tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks import shapes
from benchmarks.paired import Figure, interleave, median, ratio
from glassformer.core.machine import gemm_rate
from glassformer.models.transformer import Transformer

REPEATS = 15


@torch.no_grad()
def figures() -> Iterator[Figure]:
    """Untapped seconds / tapped seconds, so that 1 is free; the aims are 1 / 1.05 and 1 / 1.6."""
    model = shapes.ours(shapes.LARGE)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, shapes.LARGE.vocab_size, (1, 256), generator=generator)
    limit = gemm_rate(256, 768, 3072) * 1e9
    names = ["blocks.*.input", "blocks.*.middle", "blocks.*.output"]
    cases = {"plain": lambda: model(tokens), "reading": lambda: _read(model, tokens, names)}
    times = interleave(cases, repeats=REPEATS)
    share = model.summary().flops_per_token * 256 / median(times, "reading") / limit
    rate = ratio(times, "reading", "plain")
    yield Figure(
        "forward, every residual read",
        median(times, "reading") * 1e3,
        "ms",
        "the untapped forward",
        rate,
        1 / 1.05,
        share,
        "GEMM rate",
    )
    yield from _patterns(limit)


def _read(model: Transformer, tokens: Tensor, names: list[str]) -> None:
    with model.trace() as trace:
        for name in names:
            trace.read(name)
        model(tokens)


def _patterns(limit: float) -> Iterator[Figure]:
    """One layer at the width of the 124 M shape, 1,024 tokens, all its patterns."""
    shape = shapes.Shape("one layer", 1, 768, 12, 65, 1024, 1)
    layer = shapes.ours(shape)
    tokens = torch.randint(0, shape.vocab_size, (1, shape.length), generator=torch.Generator().manual_seed(0))
    reading = partial(_read, layer, tokens, ["blocks.0.attention.pattern"])
    times = interleave({"plain": lambda: layer(tokens), "reading": reading}, repeats=REPEATS)
    share = layer.summary().flops_per_token * shape.length / median(times, "reading") / limit
    rate = ratio(times, "reading", "plain")
    yield Figure(
        "one layer at 1,024 tokens, all patterns read",
        median(times, "reading") * 1e3,
        "ms",
        "the layer",
        rate,
        1 / 1.6,
        share,
        "GEMM rate",
    )
