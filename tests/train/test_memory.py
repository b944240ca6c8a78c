"""Less memory: recomputed blocks give the same bits, chunks of scores the same loss, and a plan says how much."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from glassformer.data.batch import IGNORED, Batch
from glassformer.parts.head import TokenHeadConfig
from glassformer.train import token_loss as module
from glassformer.train.balance import experts_of, router_loss, watching
from glassformer.train.memory import step_memory
from glassformer.train.objectives import next_token
from glassformer.train.objectives.next_token import NextTokenConfig
from glassformer.train.optimizers import AdamWConfig, MuonConfig
from glassformer.train.presets import gpt
from glassformer.train.token_loss import said, token_loss
from tests.builders import ALL, VOCAB, lively, random_tokens, run


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def recomputing(model, how):
    for stack in (model.encoder, model.decoder):
        if stack is not None:
            stack.recompute = how
    return model


@pytest.mark.parametrize("how", ["blocks", "products"])
@pytest.mark.parametrize("form", ALL)
def test_what_is_computed_again_has_the_same_bits(form, how):
    model, tokens, found = lively(ALL[form]()).train(), random_tokens(3, 12), []
    model.set_dropout(residual=0.2)
    for setting in (None, how):
        torch.manual_seed(1)
        with watching(parts := experts_of(model)):
            loss = run(recomputing(model, setting), tokens).float().square().sum() + router_loss(parts)
        found.append((loss, gradients(model, loss)))
    (plain, expected), (again, got) = found
    assert torch.equal(plain, again) and expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_a_value_is_read_once_although_blocks_are_computed_again():
    model, tokens = recomputing(lively(ALL["llama"]()).train(), "blocks"), random_tokens(2, 6)
    with model.trace() as trace:
        trace.read("blocks.0.output")
        logits = model(tokens)
    logits.sum().backward()
    recomputing(model, None)
    torch.testing.assert_close(trace["blocks.0.output"], model.named_value("blocks.0.output", tokens))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_chunks_of_scores_give_the_loss_of_all_at_once(monkeypatch, smoothing):
    model, tokens = lively(ALL["llama"]()), random_tokens(3, 12)
    labels = random_tokens(3, 12, seed=1).masked_fill(torch.rand(3, 12) < 0.4, IGNORED)
    whole = token_loss(model, Batch(tokens), labels, smoothing=smoothing)
    expected = functional.cross_entropy(
        model(tokens).flatten(0, 1), labels.flatten(), reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(whole.loss, expected, rtol=1e-6, atol=0)
    first = gradients(model, whole.loss)
    monkeypatch.setattr(module, "MOST_SCORES", 5 * VOCAB)
    chunked = token_loss(model, Batch(tokens), labels, smoothing=smoothing)
    second = gradients(model, chunked.loss)
    torch.testing.assert_close(torch.stack([*chunked]), torch.stack([*whole]).to(chunked.loss), rtol=1e-6, atol=0)
    assert all(torch.allclose(first[name], second[name], rtol=1e-5, atol=1e-6) for name in first)


def test_language_models_of_many_scores_are_chunked_with_the_same_loss(monkeypatch):
    objective, model = NextTokenConfig(), lively(ALL["gpt"]())
    batch = Batch(random_tokens(3, 9), torch.arange(9) < torch.tensor([[9], [5], [7]]))
    plain = objective.loss_sum(model, batch)[0]
    monkeypatch.setattr(next_token, "MOST_SCORES", 10)
    torch.testing.assert_close(objective.loss_sum(model, batch)[0], plain, rtol=1e-6, atol=0)


def test_scores_are_never_all_there():
    """Of 64 x 1,000 positions and 997 words a chunk at most: counted by what autograd keeps."""
    head = TokenHeadConfig(tied=False).build(4, torch.nn.Embedding(997, 4))
    states, labels, kept = torch.randn(64_000, 4, requires_grad=True), torch.zeros(64_000, dtype=torch.int64), []

    def keep(value):
        kept.append(value.numel())
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        found = said(head, states, labels)
    assert max(kept) <= 64_000 * 4 and found.loss.isfinite()


@pytest.mark.parametrize("how", [None, "blocks", "products"])
def test_a_plan_counts_what_autograd_keeps(how):
    """Compared with a real step on the processor."""
    config = gpt(400, 64, d_model=32, n_layers=3, n_heads=2)
    batch, model = Batch(random_tokens(4, 33)), recomputing(config.build(seed=0).train(), how)
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    storages: dict[int, int] = {}
    held = []

    def keep(value):
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
            held.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        NextTokenConfig().loss_sum(model, batch)
    found = step_memory(config, NextTokenConfig(), batch, AdamWConfig(), recompute=how)
    if how != "products":  # those are kept beside autograd
        assert found.activations == pytest.approx(sum(storages.values()), rel=0.02)
    bytes_of_weights = 4 * sum(weight.numel() for weight in model.parameters())
    assert found.weights == found.gradients == bytes_of_weights
    assert found.optimizer == pytest.approx(2 * bytes_of_weights, rel=0.01)
    assert found.total == found.weights + found.gradients + found.optimizer + found.activations + found.passing


def test_a_plan_knows_what_saves_memory():
    config, batch = gpt(400, 256, d_model=64, n_layers=6, n_heads=2), Batch(random_tokens(8, 257))

    def plan(optimizer=None, **more):
        return step_memory(config, NextTokenConfig(), batch, optimizer or AdamWConfig(), **more)

    none, products, blocks = (plan(recompute=how).activations for how in (None, "products", "blocks"))
    assert blocks < products < none and blocks < none / 3
    assert plan(MuonConfig()).optimizer < plan().optimizer
    frozen = plan(trained=lambda name: "blocks.5" in name)
    assert frozen.gradients < plan().gradients / 5 and frozen.activations < none
