from __future__ import annotations

import pytest
import torch

from glassformer.checkpoints.folder import load, save
from glassformer.core.errors import CheckpointError, ConfigError, UnsupportedError
from glassformer.models.adapters import adapt, adapters_of, merge, merged, unmerge
from glassformer.parts.lora import LoraConfig
from tests.builders import bert_like, gpt_like, latent_like, lively, llama_like, mixtral_like, t5_like

TOKENS = torch.tensor([[3, 7, 1, 12, 5], [9, 2, 4, 4, 6]])
EVERY = LoraConfig(targets=("*_proj",), rank=3, alpha=6.0)


def adapted(config, lora=EVERY):
    """A model whose adapter changes what it computes."""
    model = lively(config)
    adapt(model, lora)
    generator = torch.Generator().manual_seed(5)
    for part in adapters_of(model).values():
        part.lora_b.data.normal_(0.0, 0.2, generator=generator)
        if part.magnitude is not None:
            part.magnitude.data.mul_(1.2)
    return model


def run(model):
    return model(TOKENS, TOKENS) if model.encoder is not None and model.decoder is not None else model(TOKENS)


DESCRIPTIONS = [gpt_like, llama_like, bert_like, t5_like, latent_like, mixtral_like]


@pytest.mark.parametrize("config", DESCRIPTIONS)
@pytest.mark.parametrize("dora", [False, True])
@torch.no_grad()
def test_merged_and_unmerged_compute_the_same(config, dora):
    model = adapted(config(), EVERY.replace(dora=dora))
    plain = run(lively(config()))
    before = run(model)
    assert (before - plain).abs().max() > 1e-2
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    held = merge(model)
    assert not adapters_of(model)
    torch.testing.assert_close(run(model), before, rtol=1e-6, atol=1e-5 * before.abs().max().item())
    unmerge(model, held)
    assert torch.equal(run(model), before)
    assert weights.keys() == dict(model.named_parameters()).keys()
    for name, weight in model.named_parameters():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize("config", DESCRIPTIONS)
def test_a_new_adapter_changes_nothing_and_is_all_that_is_trained(config):
    model = lively(config())
    before = run(model)
    adapt(model, EVERY)
    torch.testing.assert_close(run(model), before, rtol=1e-6, atol=1e-6)
    trained = {name.rpartition(".")[2] for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {"lora_a", "lora_b"}
    run(model).square().mean().backward()
    assert all((weight.grad is not None) <= weight.requires_grad for weight in model.parameters())
    assert any(part.lora_b.grad.abs().max() > 0 for part in adapters_of(model).values() if part.lora_b.grad is not None)


def test_the_start_hangs_on_seed_and_name():
    models = [lively(gpt_like()) for _ in range(3)]
    for model, (seed, lora) in zip(
        models, [(0, EVERY), (0, EVERY.replace(targets=("*.q_proj",))), (1, EVERY)], strict=True
    ):
        adapt(model, lora, seed=seed)
    one, two, three = (model.decoder.blocks[1].attention.q_proj.lora_a for model in models)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert one.abs().max() <= 32**-0.5
    assert one.abs().mean().item() == pytest.approx(32**-0.5 / 2, rel=0.2)


def test_tokens_are_the_same_with_a_cache_and_merged():
    for config in (llama_like, latent_like, mixtral_like):
        model = adapted(config()).eval()
        before = model.generate(TOKENS[:1], max_tokens=8).rows()
        with merged(model):
            assert model.generate(TOKENS[:1], max_tokens=8).rows() == before
        assert model.generate(TOKENS[:1], max_tokens=8).rows() == before
        whole = TOKENS[:1]
        for token in before[0]:
            assert model(whole)[0, -1].argmax() == token
            whole = torch.cat((whole, torch.tensor([[token]])), 1)


def test_values_that_read_the_matrix_see_the_change():
    """The share of each head is computed from the matrix of ``o_proj`` itself."""
    model = adapted(gpt_like())
    name = "decoder.blocks.0.attention"
    each, joined = (model.named_value(f"{name}.{value}", TOKENS) for value in ("head_outputs", "output"))
    bias = model.decoder.blocks[0].attention.o_proj.bias
    torch.testing.assert_close(each.sum(1) + bias, joined, rtol=1e-4, atol=1e-5)


def test_layers_that_share_weights_share_the_change():
    config = bert_like()
    config = config.replace(encoder=config.encoder.replace(weights_of=(0,) * len(config.encoder.blocks)))
    for targets in ("encoder.blocks.0.*.q_proj", "*.q_proj"):
        model = adapted(config, EVERY.replace(targets=(targets,)))
        first, last = model.encoder.blocks[0].attention.q_proj, model.encoder.blocks[-1].attention.q_proj
        assert first.lora_a is last.lora_a
        assert first.base is last.base
        before = run(model)
        held = merge(model)
        assert model.encoder.blocks[0].attention.q_proj.weight is model.encoder.blocks[-1].attention.q_proj.weight
        torch.testing.assert_close(run(model), before, rtol=1e-5, atol=1e-5)
        unmerge(model, held)
        assert torch.equal(run(model), before)


def test_what_cannot_be_adapted_is_refused():
    model = lively(gpt_like())
    with pytest.raises(ConfigError, match=r"no linear map has such a name · got \*\.query"):
        adapt(model, LoraConfig(targets=("*.query",)))
    with pytest.raises(UnsupportedError, match=r"embedding as well · got head\.proj"):
        adapt(model, LoraConfig(targets=("head.proj",)))
    assert all(weight.requires_grad for weight in model.parameters())
    adapt(model, EVERY)
    with pytest.raises(ConfigError, match="no linear map"):
        adapt(model, EVERY)
    other = LoraConfig(targets=("*.q_proj",))
    half = lively(gpt_like())
    adapt(half, other)
    with pytest.raises(UnsupportedError, match="a second adapter"):
        adapt(half, LoraConfig(targets=("*.k_proj",)))


def test_a_model_with_an_adapter_is_saved_merged_or_not_at_all(tmp_path):
    model = adapted(gpt_like())
    with pytest.raises(CheckpointError, match="a model with an adapter"):
        save(model, tmp_path / "model")
    before = run(model)
    with merged(model):
        save(model, tmp_path / "model")
    torch.testing.assert_close(run(load(tmp_path / "model")), before, rtol=1e-5, atol=1e-5)
