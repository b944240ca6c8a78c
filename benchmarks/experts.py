"""A mixture without dropped tokens, forward and backward at 4,096 tokens, against the loop over its experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.paired import Figure, interleave, median, ratio
from glassformer.core.machine import gemm_rate
from glassformer.parts.experts import Experts, ExpertsConfig
from glassformer.parts.feed_forward import GatedConfig
from glassformer.parts.routing import TopKRouterConfig

TOKENS, REPEATS = 4096, 7


@dataclass(frozen=True)
class Mixture:
    """Experts of some number and width."""

    n_experts: int
    top_k: int
    d_model: int
    d_ff: int
    wanted: float


#: Few wide experts as in Mixtral, many narrow ones as in DeepSeek.
SHAPES = (Mixture(8, 2, 512, 1792, 1.0), Mixture(64, 6, 512, 352, 2.0))


def figures() -> Iterator[Figure]:
    """A ratio a shape; the limit is the rate of one matrix product of as many rows as an expert has."""
    for shape in SHAPES:
        router = TopKRouterConfig(n_experts=shape.n_experts, top_k=shape.top_k, renormalise=True)
        config = ExpertsConfig(router=router, expert=GatedConfig(d_ff=shape.d_ff))
        part = config.build(shape.d_model)
        torch.manual_seed(0)
        for weight in part.parameters():
            torch.nn.init.normal_(weight, std=0.02)
        x = torch.randn(1, TOKENS, shape.d_model)
        cases = {name: partial(_step, part, x, name) for name in ("grouped", "looped")}
        times = interleave(cases, repeats=REPEATS)
        seconds = median(times, "grouped")
        flops = 3 * 2 * TOKENS * shape.top_k * 3 * shape.d_model * shape.d_ff
        rows = TOKENS * shape.top_k // shape.n_experts
        share = flops / seconds / (gemm_rate(rows, shape.d_model, shape.d_ff) * 1e9)
        name = f"{shape.n_experts} experts of {shape.d_ff}, top {shape.top_k}, forward and backward"
        rate = ratio(times, "grouped", "looped")
        yield Figure(name, TOKENS / seconds, "tokens/s", "the loop", rate, shape.wanted, share, "GEMM rate")


def _step(part: Experts, x: torch.Tensor, way: str) -> None:
    """Route, compute, and take all gradients."""
    x = x.detach().requires_grad_()
    scores = part.router.scores(part.router_proj(x))
    choice = part.router.choose(scores, part.router.preference(scores, part.selection_bias), None, False)
    getattr(part, way)(x, choice).sum().backward()
    part.zero_grad(set_to_none=True)
