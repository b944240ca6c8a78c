"""What routers add to the loss of training, against transformers; the bias by which experts are chosen."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from glassformer.data.batch import Batch
from glassformer.parts.experts import ExpertsConfig, Routing
from glassformer.parts.feed_forward import GatedConfig
from glassformer.parts.routing import TopKRouterConfig
from glassformer.train.balance import SPEED, experts_of, router_loss, watching
from glassformer.train.objectives.next_token import NextTokenConfig
from glassformer.train.optimizers import AdamWConfig
from glassformer.train.state import Machine
from glassformer.train.step import Learner
from tests.builders import lively, llama_like, mixtral_like, random_tokens
from tests.families.forms import BY_NAME
from tests.families.helpers import make

TOKENS = random_tokens(3, 12)
VALID = torch.arange(12) < torch.tensor([[12], [7], [4]])


def mixture(**fields):
    router = fields.pop("router", TopKRouterConfig(n_experts=4, top_k=2, renormalise=True))
    return lively(mixtral_like(ExpertsConfig(router=router, expert=GatedConfig(d_ff=24), **fields)))


@pytest.mark.parametrize("valid", [None, VALID], ids=["whole rows", "padding"])
def test_the_training_loss_is_that_of_mixtral_with_its_router(valid, tmp_path):
    pair = make(BY_NAME["mixtral"], tmp_path)
    tokens, coefficient = TOKENS.clamp(min=2), 0.5
    pair.theirs.router_aux_loss_coef = coefficient
    part = experts_of(pair.ours)[0]
    assert part.config.balance == 0.001, "what its config.json says"
    for part in experts_of(pair.ours):
        part.config = part.config.replace(balance=coefficient)
    mask = None if valid is None else valid[:, :-1].long()
    answer = pair.theirs(tokens[:, :-1], attention_mask=mask, output_router_logits=True)
    targets = tokens[:, 1:] if valid is None else tokens[:, 1:].masked_fill(~valid[:, 1:], -100)
    expected = cross_entropy(answer.logits.flatten(0, 1), targets.flatten()) + coefficient * answer.aux_loss
    batch = Batch(tokens, valid)
    loss = NextTokenConfig().loss_sum(pair.ours.train(), batch)[0] / NextTokenConfig().weight(batch)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    expected.backward(), loss.backward()
    theirs = pair.theirs.model.layers[0].mlp.gate.weight.grad
    mine = pair.ours.decoder.blocks[0].feed_forward.router_proj.weight.grad
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_the_z_loss_is_that_of_switch():
    model = mixture(z=0.3)
    with watching(experts_of(model)):
        model(TOKENS)
        logits = experts_of(model)[0].routing.logits
        expected = transformers.models.switch_transformers.modeling_switch_transformers.router_z_loss_func(logits)
        torch.testing.assert_close(router_loss(experts_of(model)), 0.3 * expected)


def test_an_even_load_costs_top_k_and_an_uneven_one_more():
    part, found = experts_of(mixture(balance=1.0))[0], []
    for logits in (torch.zeros(2, 8, 4), torch.tensor([10.0, 5.0, 0.0, 0.0]).expand(2, 8, 4)):
        part.routing = Routing(logits, logits.topk(2, -1).indices, None)
        found.append(float(router_loss([part])))
    assert found == pytest.approx([2.0, 4.0], rel=1e-3)


def test_nothing_is_added_or_kept_where_nobody_watches():
    model, plain = mixture(balance=1.0, z=1.0), mixture()
    with torch.no_grad():
        assert torch.equal(model(TOKENS), plain(TOKENS))
    batch = Batch(TOKENS, None)
    assert NextTokenConfig().loss_sum(model, batch)[0] > NextTokenConfig().loss_sum(plain, batch)[0] + 1
    part = experts_of(model)[0]
    assert not part.watched and part.routing is None and part.load is None
    assert router_loss(experts_of(plain)) == 0.0


def test_watching_ends_with_an_error():
    model = mixture(balance=1.0)
    with pytest.raises(ZeroDivisionError), watching(experts_of(model)):
        model(TOKENS)
        raise ZeroDivisionError
    assert not experts_of(model)[0].watched and experts_of(model)[0].routing is None


def learner(model):
    return Learner(model, NextTokenConfig(), AdamWConfig().build(model, 1e-3), Machine(), None, 0)


BIASED = TopKRouterConfig(n_experts=4, top_k=1, score="sigmoid", selection_bias=True)


@pytest.mark.parametrize("micro_rows", [1, 4])
def test_each_step_moves_the_bias_towards_an_even_load(micro_rows):
    model = mixture(router=BIASED)
    part = experts_of(model)[0]
    with torch.no_grad():
        part.selection_bias.copy_(torch.tensor([5.0, 0.0, 0.0, 0.0]))
    before = part.selection_bias.clone()
    batch = Batch(random_tokens(4, 10), None)
    learner(model).step(batch, number=0, micro_rows=micro_rows, factor=1.0)
    torch.testing.assert_close(part.selection_bias - before, torch.tensor([-1.0, 1.0, 1.0, 1.0]) * SPEED)
    assert part.load is None and not part.selection_bias.requires_grad and part.selection_bias.grad is None


def test_a_step_that_is_not_taken_moves_no_bias():
    model = mixture(router=BIASED)
    part = experts_of(model)[0]
    before = part.selection_bias.clone()
    with torch.no_grad():
        model.head.proj.weight.fill_(torch.nan)
    found = learner(model).step(Batch(random_tokens(4, 10), None), number=0, micro_rows=4, factor=1.0)
    assert not found.is_taken and torch.equal(part.selection_bias, before) and part.load is None


def test_experts_even_out_on_a_small_task():
    model = mixture(router=BIASED.replace(top_k=1))
    part, batch = experts_of(model)[0], Batch(random_tokens(8, 32), None)
    with torch.no_grad():
        part.selection_bias.copy_(torch.tensor([0.1, 0.0, 0.0, -0.1]))

    def unevenness():
        with torch.no_grad(), watching([part]):
            model.eval()(batch.tokens)
            counts = torch.bincount(part.routing.experts.flatten(), minlength=4).float()
        part.load = None
        return float(counts.max() / counts.mean())

    before, one = unevenness(), learner(model)
    for number in range(120):
        one.step(batch, number=number, micro_rows=8, factor=0.0)
    assert unevenness() < 1.0 + 0.6 * (before - 1.0)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # which the compiler asks for
def test_a_compiled_model_learns_the_same():
    found = []
    for compiles in (False, True):
        model = mixture(balance=0.1, z=0.1, router=BIASED)
        if compiles:
            torch._dynamo.reset()
            model.compile(backend="aot_eager")
        one = learner(model)
        found.append([one.step(Batch(TOKENS, VALID), number=n, micro_rows=3, factor=1.0).loss for n in range(3)])
        found[-1] += experts_of(model)[0].selection_bias.tolist()
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_model_without_experts_is_not_asked():
    model = lively(llama_like())
    assert experts_of(model) == []
    loss, _ = NextTokenConfig().loss_sum(model, Batch(TOKENS, VALID))
    logits = model(TOKENS[:, :-1])
    targets = TOKENS[:, 1:].masked_fill(~VALID[:, 1:], -100)
    torch.testing.assert_close(loss, cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
