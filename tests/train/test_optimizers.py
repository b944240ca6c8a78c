from __future__ import annotations

import pytest
import torch
from torch import nn

from glassformer.core.config import Config
from glassformer.core.errors import CheckpointError, ConfigError
from glassformer.train.muon import COEFFICIENTS, Muon, orthogonal
from glassformer.train.optimizers import OPTIMIZERS, AdamWConfig, MuonConfig, is_hidden_matrix


class Tiny(nn.Module):
    """The names of a transformer, without being one."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.embedding = nn.Embedding(7, 6)
        self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 9, bias=False), nn.Linear(9, 6)])
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 7, bias=False)
        self.head.weight = self.embedding.weight
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=generator)

    def forward(self, tokens):
        hidden = self.embedding(tokens)
        for block in self.blocks:
            hidden = torch.tanh(block(hidden))
        return self.head(self.norm(hidden))


def step(model, optimizers, turn):
    loss = nn.functional.cross_entropy(model(torch.tensor([turn % 7, 1, 2])), torch.tensor([1, 2, turn % 7]))
    loss.backward()
    optimizers.step()
    optimizers.zero_grad()
    return loss.item()


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(8, 8), (5, 12), (12, 5), (64, 32)])
def test_orthogonal_brings_every_singular_value_near_one(shape):
    matrix = drawn(3, *shape)
    found = orthogonal(matrix)
    assert found.shape == matrix.shape
    assert found.dtype == torch.float32
    values = torch.linalg.svdvals(found)
    assert values.max() < 1.3
    assert values.min() > 0.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    aligned = torch.linalg.svdvals(left.mT @ found @ right.mT)
    torch.testing.assert_close(aligned, values, rtol=1e-3, atol=1e-3)
    assert torch.equal(orthogonal(matrix), found)
    torch.testing.assert_close(orthogonal(matrix[1]), found[1], rtol=1e-4, atol=1e-5)


def test_rounds_are_the_quintic_of_the_singular_values():
    a, b, c = COEFFICIENTS
    matrix = torch.diag(torch.tensor([3.0, 4.0]))
    values = torch.tensor([0.6, 0.8])
    for rounds in (1, 2, 3):
        values = a * values + b * values**3 + c * values**5
        torch.testing.assert_close(orthogonal(matrix, rounds).diagonal(), values, rtol=1e-4, atol=1e-5)


def test_muon_moves_as_torch_does_but_for_the_precision():
    ours, theirs = (nn.Parameter(drawn(16, 8)) for _ in range(2))
    muon = Muon([ours], lr=0.05, weight_decay=0.1)
    torchs = torch.optim.Muon([theirs], lr=0.05, weight_decay=0.1, adjust_lr_fn="original")
    before = ours.detach().clone()
    for turn in range(5):
        for weight in (ours, theirs):
            weight.grad = torch.sin(drawn(16, 8) * (turn + 1))
        muon.step()
        torchs.step()
    moved = (ours - before).norm()
    assert (ours - theirs).norm() < 0.03 * moved  # theirs is computed in bfloat16


def test_muon_leaves_what_has_no_gradient():
    weights = [nn.Parameter(drawn(4, 4)) for _ in range(2)]
    before = weights[1].detach().clone()
    weights[0].grad = drawn(4, 4)
    Muon(weights, lr=0.1, weight_decay=0.5).step()
    assert torch.equal(weights[1], before)


def test_matrices_of_blocks_go_to_muon_and_the_rest_to_adamw():
    model = Tiny()
    built = MuonConfig().build(model, 1e-3)
    muon, adamw = built.optimizers
    assert {tuple(weight.shape) for weight in muon.param_groups[0]["params"]} == {(6, 6), (9, 6), (6, 9)}
    assert sum(len(group["params"]) for group in adamw.param_groups) == 1 + 2 + 2
    assert (muon.defaults["lr"], adamw.defaults["lr"]) == (0.02, 1e-3)
    assert [name for name, _ in model.named_parameters() if is_hidden_matrix(model, name)] == [
        f"blocks.{number}.weight" for number in range(3)
    ]
    tables = nn.ModuleDict({"blocks": nn.Embedding(3, 3)})
    assert not is_hidden_matrix(tables, "blocks.weight")


def test_one_of_the_two_may_have_nothing_to_do():
    assert len(MuonConfig().build(nn.Linear(3, 3), 1e-3).optimizers) == 1
    only = nn.ModuleDict({"blocks": nn.Linear(3, 3, bias=False)})
    assert isinstance(MuonConfig().build(only, 1e-3).optimizers[0], Muon)
    assert len(MuonConfig().build(only, 1e-3).optimizers) == 1


def test_vectors_and_frozen_parameters_do_not_decay():
    model = Tiny()
    model.blocks[0].weight.requires_grad_(False)
    (adamw,) = AdamWConfig(weight_decay=0.3).build(model, 1e-2).optimizers
    decayed = [[weight.ndim for weight in group["params"]] for group in adamw.param_groups if group["weight_decay"]]
    assert decayed == [[2, 2, 2]]
    assert {weight.ndim for group in adamw.param_groups if not group["weight_decay"] for weight in group["params"]} == {
        1
    }
    assert adamw.defaults["fused"]


@pytest.mark.parametrize("word", OPTIMIZERS)
def test_training_learns_and_its_state_goes_on_bit_for_bit(word):
    config = OPTIMIZERS[word]()
    model = Tiny()
    optimizers = config.build(model, 0.03)
    losses = [step(model, optimizers, turn) for turn in range(8)]
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    state = {name: value.clone() for name, value in optimizers.state().items()}
    losses += [step(model, optimizers, turn) for turn in range(8, 16)]
    assert losses[-1] < losses[0]

    resumed = Tiny()
    resumed.load_state_dict(weights, strict=False)
    again = config.build(resumed, 0.03)
    again.load(state)
    assert [step(resumed, again, turn) for turn in range(8, 16)] == losses[8:]
    for name, weight in resumed.named_parameters():
        assert torch.equal(weight, model.get_parameter(name)), name


def test_the_rate_is_a_share_of_the_full_one():
    optimizers = MuonConfig().build(Tiny(), 1e-3)
    optimizers.set_factor(0.5)
    optimizers.set_factor(0.25)
    rates = {group["lr"] for optimizer in optimizers.optimizers for group in optimizer.param_groups}
    assert rates == {0.02 * 0.25, 1e-3 * 0.25}


def test_the_state_of_another_model_is_refused():
    optimizers = AdamWConfig().build(Tiny(), 1e-3)
    assert optimizers.state() == {}
    for state in ({"nothing/exp_avg": drawn(2)}, {"norm.weight/exp_avg": drawn(2)}):
        with pytest.raises(CheckpointError, match="belongs to another model"):
            optimizers.load(state)
    optimizers.load({"norm.weight/exp_avg": drawn(6), "norm.weight/step": torch.tensor(3.0)})
    assert set(optimizers.state()) == {"norm.weight/exp_avg", "norm.weight/step"}


@pytest.mark.parametrize(
    "wrong",
    [{"weight_decay": -1.0}, {"learning_rate": 0.0}, {"momentum": 1.0}, {"rounds": 0}, {"rounds": 21}],
)
def test_impossible_settings_of_muon_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MuonConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"betas": (0.9, 1.0)}, {"betas": (-0.1, 0.9)}, {"eps": 0.0}, {"weight_decay": -1.0}])
def test_impossible_settings_of_adamw_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AdamWConfig(**wrong)


def test_descriptions_go_to_json_and_back():
    for config in (MuonConfig(rounds=3, rest=AdamWConfig(betas=(0.8, 0.99))), AdamWConfig(eps=1e-6)):
        assert Config.from_json(config.to_json()) == config
