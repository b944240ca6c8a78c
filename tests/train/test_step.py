from __future__ import annotations

import math

import pytest
import torch

from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import Batch, pad_rows
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.head import ClassifyHeadConfig, PoolerConfig
from glassformer.train.objectives.next_token import NextTokenConfig
from glassformer.train.optimizers import OPTIMIZERS, AdamWConfig
from glassformer.train.state import Machine
from glassformer.train.step import Learner
from tests.train import tiny


def learner(model, *, clip=None, optimizer=None, machine=None):
    optimizers = (optimizer or AdamWConfig()).build(model, 1e-2)
    return Learner(model, NextTokenConfig(), optimizers, machine or Machine(), clip, seed=3)


def gradients(model, batch, micro_rows):
    """The gradient of a step, caught before the optimizer uses it."""
    caught = {}
    one = learner(model)
    one.optimizers.step = lambda: caught.update({n: w.grad.clone() for n, w in model.named_parameters()})
    found = one.step(batch, number=0, micro_rows=micro_rows, factor=1.0)
    return caught, found


UNEQUAL = pad_rows([[5, 6, 7, 8, 9, 10, 11, 12], [5, 6], [7, 8, 9], [1, 2, 3, 4, 5, 6]])


def test_any_cut_into_micro_batches_gives_the_same_gradient():
    model = tiny.model()
    whole, found = gradients(model, UNEQUAL, 4)
    assert found.weight == 7 + 1 + 2 + 5
    for micro_rows in (1, 2, 3):
        pieces, other = gradients(model, UNEQUAL, micro_rows)
        assert other.loss == pytest.approx(found.loss, abs=1e-6)
        for name, gradient in whole.items():
            torch.testing.assert_close(pieces[name], gradient, rtol=1e-6, atol=1e-6)


def test_the_mean_of_means_would_be_another_gradient():
    model = tiny.model()
    whole, _ = gradients(model, UNEQUAL, 4)
    model.zero_grad()
    for micro in UNEQUAL.cut(1):
        (NextTokenConfig().loss_sum(model, micro)[0] / NextTokenConfig().weight(micro) / 4).backward()
    worst = max((model.get_parameter(name).grad - gradient).abs().max() for name, gradient in whole.items())
    assert worst > 1e-3


def test_padding_does_not_matter():
    model = tiny.model()
    rows = [[5, 6, 7, 8], [9, 10]]
    padded, found = gradients(model, pad_rows(rows, pad=77), 2)
    alone = [gradients(model, pad_rows([row]), 1) for row in rows]
    assert found.loss == pytest.approx((3 * alone[0][1].loss + alone[1][1].loss) / 4, rel=1e-6)
    for name, gradient in padded.items():
        parts = (3 * alone[0][0][name] + alone[1][0][name]) / 4
        torch.testing.assert_close(gradient, parts, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_clipped_to_its_norm():
    model = tiny.model()
    one = learner(model, clip=0.01)
    norms = []
    one.optimizers.step = lambda: norms.append(torch.nn.utils.get_total_norm([w.grad for w in model.parameters()]))
    found = one.step(UNEQUAL, number=0, micro_rows=4, factor=1.0)
    assert found.norm > 0.1
    assert norms[0] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("word", OPTIMIZERS)
@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_a_step_that_is_not_finite_touches_neither_weights_nor_moments(word, poison):
    model = tiny.model()
    one = learner(model, clip=1.0, optimizer=OPTIMIZERS[word]())
    assert one.step(UNEQUAL, number=0, micro_rows=4, factor=1.0).is_taken
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    moments = {name: value.clone() for name, value in one.optimizers.state().items()}
    hook = (
        model.register_forward_hook(lambda *call: call[-1] * math.nan)
        if poison == "loss"
        else model.decoder.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    )
    found = one.step(UNEQUAL, number=1, micro_rows=2, factor=1.0)
    hook.remove()
    assert not found.is_taken
    assert math.isfinite(found.loss) == (poison == "gradient")
    assert all(torch.equal(weights[name], weight) for name, weight in model.named_parameters())
    assert all(torch.equal(moments[name], value) for name, value in one.optimizers.state().items())
    assert all(weight.grad is None for weight in model.parameters())
    after = one.step(UNEQUAL, number=2, micro_rows=4, factor=1.0)
    assert after.is_taken
    assert not torch.equal(weights["decoder.norm.weight"], model.decoder.norm.weight)


def test_a_batch_without_anything_to_predict_is_skipped():
    found = learner(tiny.model()).step(Batch(torch.tensor([[5], [6]])), number=0, micro_rows=2, factor=1.0)
    assert found.weight == 0
    assert not found.is_taken


def test_dropout_depends_on_seed_and_step_alone():
    def loss(number, seed=3, noise=0):
        model = tiny.model()
        model.set_dropout(residual=0.5)
        torch.manual_seed(noise)
        return (
            Learner(model, NextTokenConfig(), AdamWConfig().build(model, 0.0), Machine(), None, seed)
            .step(UNEQUAL, number=number, micro_rows=2, factor=1.0)
            .loss
        )

    assert loss(1) == loss(1, noise=99)
    assert len({loss(1), loss(2), loss(1, seed=4)}) == 3


def test_batches_are_cut_by_rows():
    assert [len(micro) for micro in UNEQUAL.cut(3)] == [3, 1]
    assert UNEQUAL.cut(4) == [UNEQUAL]
    assert Batch(torch.zeros(3, 2, dtype=torch.int64)).cut(2)[1].valid is None
    assert torch.equal(torch.cat([micro.valid for micro in UNEQUAL.cut(3)]), UNEQUAL.valid)


def test_mixed_precision_keeps_float32_weights():
    model = tiny.model()
    found = learner(model, machine=Machine(dtype="bfloat16")).step(UNEQUAL, number=0, micro_rows=4, factor=1.0)
    exact = learner(tiny.model()).step(UNEQUAL, number=0, micro_rows=4, factor=1.0)
    assert found.loss != exact.loss
    assert found.loss == pytest.approx(exact.loss, rel=0.02)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_models_that_cannot_be_trained_so_are_refused():
    plain = tiny.config()
    NextTokenConfig().check_model(plain)
    encoder = plain.replace(encoder=plain.decoder, decoder=None)
    with pytest.raises(UnsupportedError, match="an encoder · expected a decoder alone"):
        NextTokenConfig().check_model(encoder)
    with pytest.raises(UnsupportedError, match="no head"):
        NextTokenConfig().check_model(plain.replace(head=None))
    labels = plain.replace(head=ClassifyHeadConfig(n_labels=2), pooler=PoolerConfig(), embedding=EmbeddingConfig())
    with pytest.raises(UnsupportedError, match="ClassifyHeadConfig"):
        NextTokenConfig().check_model(labels)
