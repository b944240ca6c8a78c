"""The weights that a model begins with depend on the seed and on names, and on nothing else."""

from __future__ import annotations

import pytest
import torch

from tests.builders import ALL, gpt_like, llama_like, mixed_like


def weights(config, **how):
    return dict(config.build(**how).named_parameters())


@pytest.mark.parametrize("name", ALL)
def test_a_seed_says_all(name):
    one, again, other = (weights(ALL[name](), seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)
    assert all(weight.isfinite().all() for weight in one.values())


def test_a_weight_does_not_depend_on_what_else_there_is():
    short, long = weights(gpt_like(1)), weights(gpt_like(3))
    key = "decoder.blocks.0.attention.q_proj.weight"
    assert torch.equal(short[key], long[key])


def test_the_standard_deviations_are_those_of_gpt2():
    config = llama_like(8).replace(d_model=128)
    drawn = weights(config)
    assert drawn["decoder.blocks.3.attention.q_proj.weight"].detach().std() == pytest.approx(0.02, rel=0.05)
    for name in ("attention.o_proj", "feed_forward.down_proj"):
        assert drawn[f"decoder.blocks.3.{name}.weight"].detach().std() == pytest.approx(0.02 / 16**0.5, rel=0.05)


def test_norms_begin_as_the_plain_ones_and_biases_at_zero():
    assert all(not weight.any() for key, weight in weights(mixed_like()).items() if "norm" in key)  # offset 1
    drawn = weights(gpt_like())
    assert all((weight == 1).all() for key, weight in drawn.items() if "norm" in key and key.endswith("weight"))
    assert all(not weight.any() for key, weight in drawn.items() if key.endswith("bias"))


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    gpt_like().build(seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_types_and_places():
    low = gpt_like().build(dtype=torch.bfloat16)
    assert {weight.dtype for weight in low.parameters()} == {torch.bfloat16}
    bare = gpt_like().build(seed=None, device="meta")
    assert {weight.device.type for weight in bare.parameters()} == {"meta"}
    assert {weight.device.type for weight in gpt_like().build(seed=3, device="meta").parameters()} == {"meta"}


@pytest.mark.parametrize("how", [{"seed": 0}, {"seed": None}, {"seed": 0, "dtype": torch.bfloat16}])
def test_what_is_tied_stays_tied(how):
    model = gpt_like().build(**how)
    assert model.head.proj.weight is model.embedding.tokens.weight
    assert not model.training
