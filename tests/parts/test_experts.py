"""Mixtures of experts: two ways of computing them, routers, edits of what they choose, capacity, what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from glassformer.core.errors import ConfigError, EditError, UnsupportedError
from glassformer.inside import edits
from glassformer.models.summary import summarise
from glassformer.parts.experts import ClampedGatedConfig, Experts, ExpertsConfig
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig
from glassformer.parts.mask import Places
from glassformer.parts.routing import (
    Choice,
    ExpertChoiceRouterConfig,
    ExpertGroupsConfig,
    SparseMixerRouterConfig,
    TopKRouterConfig,
)
from tests.builders import counted_flops, lively, mixtral_like, random_tokens

TWO_OF_SIX = TopKRouterConfig(n_experts=6, top_k=2)
GROUPS = ExpertGroupsConfig(n_groups=3, kept=2, score="best_two")
ROUTERS = {
    "softmax": TWO_OF_SIX,
    "renormalised": TWO_OF_SIX.replace(renormalise=True, bias=True),
    "sigmoid": TWO_OF_SIX.replace(score="sigmoid", selection_bias=True, groups=GROUPS, scale=2.5, renormalise=True),
    "switch": TopKRouterConfig(n_experts=6, top_k=1, capacity=2),
    "sparse mixer": SparseMixerRouterConfig(n_experts=6, tolerance=0.3),
    "expert choice": ExpertChoiceRouterConfig(n_experts=6, factor=1.5),
}
EXPERTS = {
    "gated": GatedConfig(d_ff=10),
    "gated with biases": GatedConfig(d_ff=10, bias=True, activation="gelu"),
    "plain": FeedForwardConfig(d_ff=10),
    "clamped": ClampedGatedConfig(d_ff=10, limit=0.5),
}
SHARED = GatedConfig(d_ff=6)


def built(router=TWO_OF_SIX, expert=EXPERTS["gated"], **fields) -> Experts:
    part = ExpertsConfig(router=router, expert=expert, **fields).build(8)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in part.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return part.eval()


def values(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()


def choice_of(part: Experts, x: torch.Tensor, valid: torch.Tensor | None = None) -> Choice:
    router = part.router
    scores = router.scores(part._logits(x))
    choice = router.choose(scores, router.preference(scores, part.selection_bias), valid, part.training)
    return router.limit(choice, valid)


def gradients(part: Experts, out: torch.Tensor, x: torch.Tensor) -> list[torch.Tensor]:
    """Of a fixed sum, of the input and of every weight that is trained."""
    trained = [weight for weight in part.parameters() if weight.requires_grad]
    total = (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum()
    found = torch.autograd.grad(total, [x, *trained], allow_unused=True)
    return [torch.zeros_like(of) if one is None else one for one, of in zip(found, [x, *trained], strict=True)]


# Two ways of computing the same


@pytest.mark.parametrize("expert", EXPERTS)
@pytest.mark.parametrize("router", ROUTERS)
def test_sorted_tokens_give_what_the_loop_gives(router, expert):
    part, x = built(ROUTERS[router], EXPERTS[expert]), values(3, 7, 8)
    fast, slow = (way(x, choice_of(part, x)) for way in (part.grouped, part.looped))
    assert slow.abs().max() > 0.1
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-6)
    for mine, other in zip(gradients(part, fast, x), gradients(part, slow, x), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=2e-6 * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("expert", EXPERTS)
@pytest.mark.parametrize("router", ["sigmoid", "switch"])
def test_a_compiled_part_is_one_graph_and_gives_the_same(router, expert):
    torch._dynamo.reset()
    part, x = built(ROUTERS[router], EXPERTS[expert], shared=SHARED, shared_gate=True), values(3, 7, 8)
    compiled = torch.compile(part, fullgraph=True, backend="aot_eager")
    out, expected = compiled(x), part(x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    for mine, other in zip(gradients(part, out, x), gradients(part, expected, x), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_a_token_alone_passes_no_other_expert():
    part = built(shared=SHARED)
    with torch.no_grad():
        x = values(1, 1, 8)
        (chosen,) = choice_of(part, x).experts.tolist()[0]
        expected = part(x)
        for weight in (part.gate_proj, part.up_proj, part.down_proj):
            for expert in set(range(6)) - set(chosen):
                weight[expert] = math.nan
        assert torch.equal(part(x), expected)


def test_rows_without_any_chosen_expert_give_zeros():
    part, x = built(), values(2, 3, 8)
    nobody = Choice(torch.full((2, 3, 2), 6), torch.zeros(2, 3, 2))
    assert not part.grouped(x, nobody).any() and not part.looped(x, nobody).any()


# Routers


def test_renormalised_weights_are_the_softmax_over_the_chosen_logits():
    part, x = built(TWO_OF_SIX.replace(renormalise=True)), values(2, 5, 8)
    logits = part._logits(x)
    choice = choice_of(part, x)
    torch.testing.assert_close(choice.weights, logits.gather(-1, choice.experts).softmax(-1))
    torch.testing.assert_close(choice.experts, logits.topk(2, -1).indices)


def test_the_bias_of_a_choice_changes_no_weight():
    router = TWO_OF_SIX.replace(score="sigmoid", selection_bias=True)
    scores = torch.tensor([[[0.9, 0.8, 0.7, 0.1, 0.1, 0.1]]])
    bias = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 5.0])
    choice = router.choose(scores, router.preference(scores, bias), None, False)
    assert choice.experts.tolist() == [[[5, 0]]]
    torch.testing.assert_close(choice.weights, torch.tensor([[[0.1, 0.9]]]))


def test_experts_of_other_groups_are_not_chosen():
    scores = torch.tensor([[[0.5, 0.5, 0.9, 0.0, 0.3, 0.3]]])
    for score, expected in (("best", {2, 0}), ("best_two", {0, 1})):
        groups = ExpertGroupsConfig(n_groups=3, kept=2 if score == "best" else 1, score=score)
        router = TWO_OF_SIX.replace(groups=groups)
        choice = router.choose(scores, router.preference(scores, None), None, False)
        assert set(choice.experts.flatten().tolist()) <= {0, 1, 2, 3} and expected <= {
            *choice.experts.flatten().tolist(),
            0,
        }


def test_an_expert_takes_no_more_of_a_row_than_its_capacity():
    part, x = built(ROUTERS["switch"]), values(3, 9, 8)
    every = choice_of(built(ROUTERS["switch"].replace(capacity=None)), x).experts
    kept = choice_of(part, x).experts
    for row, all_of_row in zip(kept.tolist(), every.tolist(), strict=True):
        taken = [0] * 6
        for (mine,), (wanted,) in zip(row, all_of_row, strict=True):
            taken[wanted] += 1
            assert mine == (wanted if taken[wanted] <= 2 else 6)
    dropped = (kept == 6)[..., 0]
    assert dropped.any() and not dropped.all()
    assert not part(x)[dropped].any(), "what no expert takes passes on the residual stream alone"


@pytest.mark.parametrize("router", ROUTERS)
def test_padding_takes_nobodys_place(router):
    part, x = built(ROUTERS[router]), values(2, 6, 8)
    rows = torch.cat((torch.full((2, 5, 8), 9.0), x.detach(), torch.full((2, 3, 8), -9.0)), 1)
    positions = torch.tensor([[-1] * 5 + [*range(6)] + [-1] * 3]).expand(2, -1)
    places = Places(query=positions, key=positions, new_key=positions)
    torch.testing.assert_close(part(rows, places)[:, 5:11], part(x), rtol=0, atol=1e-6)


def test_each_expert_chooses_its_tokens():
    part, x = built(ROUTERS["expert choice"]), values(2, 9, 8)
    taken = choice_of(part, x).dense(6) > 0
    assert taken.sum(1).tolist() == [[math.ceil(9 * 1.5 / 6)] * 6] * 2
    scores = part._logits(x).softmax(-1)
    worst = scores.masked_fill(~taken, 2.0).amin(1)
    best_left = scores.masked_fill(taken, -1.0).amax(1)
    assert (worst >= best_left).all()


def test_the_sparse_mixer_draws_in_training_and_keeps_the_gradient_of_its_weights():
    router = SparseMixerRouterConfig(n_experts=4, tolerance=10.0)
    logits = torch.randn(1, 2000, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()
    torch.manual_seed(0)
    drawn = router.choose(logits, logits, None, True)
    quiet = router.choose(logits, logits, None, False)
    assert 0.2 < (drawn.experts[..., 0] == quiet.experts[..., 0]).float().mean() < 0.95
    shares = logits.softmax(-1).gather(-1, drawn.experts[..., :1])[..., 0]
    ratio = drawn.weights[..., 0] / shares
    assert {round(float(one), 3) for one in ratio.detach().flatten()} == {1.0, 0.333}
    (mine,) = torch.autograd.grad(drawn.weights[..., 0].sum(), logits, retain_graph=True)
    (plain,) = torch.autograd.grad(shares.sum(), logits)
    torch.testing.assert_close(mine, plain)


def test_jitter_changes_what_a_router_reads_in_training_alone():
    part, x = built(TWO_OF_SIX.replace(jitter=0.5)), values(1, 4, 8)
    assert torch.equal(part(x), part(x))
    torch.manual_seed(0)
    assert not torch.equal(part.train()(x), part(x))


# Values and edits

AT = "decoder.blocks.0.feed_forward"
TOKENS = random_tokens(2, 6)


@pytest.fixture(scope="module")
def model():
    return lively(mixtral_like())


def test_what_is_read_adds_up(model):
    with model.trace() as trace, torch.no_grad():
        for name in ("router", "preference", "chosen", "expert_outputs", "expert_hidden", "output"):
            trace.read(f"{AT}.{name}")
        logits = model(TOKENS)
        assert torch.equal(logits, model(TOKENS))
    read = trace.values()
    chosen, outputs = read[f"{AT}.chosen"], read[f"{AT}.expert_outputs"]
    assert ((chosen > 0).sum(-1) == 2).all()
    torch.testing.assert_close(chosen.sum(-1), torch.ones(2, 6))
    torch.testing.assert_close(torch.einsum("bpe,bpem->bpm", chosen, outputs), read[f"{AT}.output"])
    torch.testing.assert_close(read[f"{AT}.router"].softmax(-1), read[f"{AT}.preference"])
    with torch.no_grad():
        assert torch.equal(model(TOKENS), logits)


def test_edits_of_weights_and_outputs(model):
    with model.trace() as trace, torch.no_grad():
        trace.read(f"{AT}.expert_outputs")
        model(TOKENS)
    outputs = trace[f"{AT}.expert_outputs"]
    with model.trace() as trace, torch.no_grad():
        trace.zero(f"{AT}.chosen")
        trace.set(f"{AT}.chosen", 0.5, expert=3, position=2)
        trace.read(f"{AT}.output")
        model(TOKENS)
    expected = torch.zeros_like(outputs[:, :, 0])
    expected[:, 2] = 0.5 * outputs[:, 2, 3]
    torch.testing.assert_close(trace[f"{AT}.output"], expected)
    with model.trace() as trace, torch.no_grad():
        trace.read(f"{AT}.chosen")
        trace.set(f"{AT}.expert_outputs", 1.0)
        trace.read(f"{AT}.output")
        model(TOKENS)
    torch.testing.assert_close(trace[f"{AT}.output"], torch.ones(2, 6, 32))


@pytest.mark.parametrize("saved", [False, True])
def test_experts_are_forced_and_forbidden(model, saved, tmp_path):
    with model.trace() as trace, torch.no_grad():
        trace.read(f"{AT}.chosen")
        trace.read(f"{AT}.router")
        model(TOKENS)
    before, scores = trace[f"{AT}.chosen"], trace[f"{AT}.router"].softmax(-1)
    with model.trace() as trace, torch.no_grad():
        trace.route(AT, "forbid", expert=1)
        trace.route(AT, "force", expert=3, position=-1, batch=1)
        trace.read(f"{AT}.chosen")
        logits = model(TOKENS)
    if saved:
        edits.save(trace.edits, tmp_path / "e.json")
        with model.trace() as trace, torch.no_grad():
            trace.apply(edits.load(tmp_path / "e.json"))
            trace.read(f"{AT}.chosen")
            assert torch.equal(model(TOKENS), logits)
    after = trace[f"{AT}.chosen"]
    assert before[..., 1].any() and not after[..., 1].any()
    assert ((after > 0).sum(-1) == 2).all()
    assert after[1, -1, 3] > 0
    taken = after > 0
    torch.testing.assert_close(after, scores * taken / (scores * taken).sum(-1, keepdim=True))
    untouched = before[..., 1] == 0
    untouched[1, -1] = False
    assert torch.equal(after[untouched], before[untouched]) and untouched.any()


def test_where_all_but_one_are_forbidden_that_one_does_it_alone(model):
    with model.trace() as trace, torch.no_grad():
        trace.route(AT, "forbid", expert=[0, 1, 2])
        trace.read(f"{AT}.chosen")
        model(TOKENS)
    torch.testing.assert_close(trace[f"{AT}.chosen"], torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(2, 6, 4))


def test_a_route_is_for_experts(model):
    with pytest.raises(EditError, match=r"route is for experts · got .*output"):
        edits.EditSpec.of("route", "decoder.blocks.0.output", {"force": 1.0}, {})
    with pytest.raises(EditError, match="route · got 'prefer' · expected force or forbid"), model.trace() as trace:
        trace.route(AT, "prefer", expert=1)


# Costs, refusals


@pytest.mark.parametrize("router", ["softmax", "sparse mixer"])
def test_flops_are_those_of_the_experts_that_are_passed(router):
    experts = ExpertsConfig(router=ROUTERS[router], expert=GatedConfig(d_ff=24), shared=SHARED, shared_gate=True)
    model, tokens = lively(mixtral_like(experts)), random_tokens(2, 32)
    with torch.no_grad():
        counted = counted_flops(lambda: model(tokens)) / 64
    found = summarise(model, 32)
    assert found.flops_per_token == counted
    assert found.parameters - lively(mixtral_like()).summary().parameters > 2 * 3 * 24 * 32


def test_a_cache_is_refused_where_a_choice_hangs_on_the_whole_row():
    switch = mixtral_like(ExpertsConfig(router=ROUTERS["switch"].replace(capacity=7), expert=EXPERTS["plain"]))
    model = lively(switch)
    cache = model.cache(2)
    whole = model(random_tokens(2, 7))
    steps = [model(some, cache=cache) for some in random_tokens(2, 7).split((4, 1, 1, 1), 1)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-4)
    with pytest.raises(
        UnsupportedError, match="chosen for a whole row, not in a cache · got 8 tokens · expected at most 7"
    ):
        model(random_tokens(2, 1), cache=cache)
    with pytest.raises(UnsupportedError, match="not in packed rows"):
        model(random_tokens(1, 9), documents=torch.tensor([[0] * 4 + [1] * 5]))
    model = lively(mixtral_like(ExpertsConfig(router=ROUTERS["expert choice"], expert=EXPERTS["plain"])))
    with pytest.raises(UnsupportedError, match="chosen for a whole row, not in a cache"):
        model(random_tokens(2, 3), cache=model.cache(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TopKRouterConfig(n_experts=4, top_k=5), "TopKRouterConfig.top_k"),
        (lambda: TopKRouterConfig(n_experts=0, top_k=1), "n_experts"),
        (lambda: TWO_OF_SIX.replace(capacity=0), "capacity"),
        (lambda: TWO_OF_SIX.replace(jitter=1.0), "jitter"),
        (lambda: TWO_OF_SIX.replace(groups=ExpertGroupsConfig(n_groups=4, kept=1)), "a number that divides"),
        (lambda: TWO_OF_SIX.replace(groups=ExpertGroupsConfig(n_groups=6, kept=1)), "1 groups of 1 experts"),
        (lambda: TWO_OF_SIX.replace(groups=ExpertGroupsConfig(n_groups=6, kept=3, score="best_two")), "at least 2"),
        (lambda: ExpertGroupsConfig(n_groups=2, kept=3), "kept"),
        (lambda: SparseMixerRouterConfig(n_experts=1), "n_experts"),
        (lambda: SparseMixerRouterConfig(n_experts=2, tolerance=-1.0), "tolerance"),
        (lambda: ExpertChoiceRouterConfig(n_experts=2, factor=3.0), "factor"),
        (lambda: ClampedGatedConfig(d_ff=4, limit=0.0), "limit"),
        (lambda: ExpertsConfig(router=TWO_OF_SIX, expert=SHARED, shared_gate=True), "shared_gate"),
        (lambda: ExpertsConfig(router=TWO_OF_SIX, expert=SHARED, balance=-1.0), "balance"),
    ],
)
def test_what_cannot_be_built_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
