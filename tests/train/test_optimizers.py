from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
import transformers
from torch import nn

from glassformer.core.config import Config
from glassformer.core.errors import CheckpointError, ConfigError, UnknownNameError, UnsupportedError
from glassformer.train.adafactor import Adafactor
from glassformer.train.groups import GroupRule
from glassformer.train.lion import Lion
from glassformer.train.muon import COEFFICIENTS, Muon, orthogonal
from glassformer.train.optimizers import (
    OPTIMIZERS,
    AdafactorConfig,
    AdamWConfig,
    ImportedConfig,
    LionConfig,
    MuonConfig,
    is_hidden_matrix,
)
from glassformer.train.schedules import InverseSqrtConfig


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


class Averaging(torch.optim.Optimizer):
    """Steps against the gradient and keeps the mean of all weights, which ``eval()`` puts in place (inexactly, too)."""

    def __init__(self, parameters, lr, weight_decay=0.0, speed=1.0):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "speed": speed, "count": 0, "on": False})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            assert group["on"], "a step in eval mode"
            group["count"] += 1
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.sub_(weight.grad, alpha=group["lr"] * group["speed"] / group["count"] ** 0.1)
                    mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                    mean.lerp_(weight, 1 / group["count"])
                    self.state[weight]["seen"] = self.state[weight].get("seen", 0) + 1

    def train(self):
        self._swap(True)

    def eval(self):
        self._swap(False)

    @torch.no_grad()
    def _swap(self, on):
        for group in self.param_groups:
            if group["on"] is not on:
                for weight in group["params"]:
                    mean = self.state[weight].get("mean", weight)
                    weight.copy_(2 * weight - mean if on else (weight + mean) / 2)
            group["on"] = on


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """A module of somebody else's that was imported before."""
    module = ModuleType("elsewhere")
    module.Averaging = Averaging
    monkeypatch.setitem(sys.modules, "elsewhere", module)


RATE = {"lion": 0.003}
EVERY = {
    **{word: kind() for word, kind in OPTIMIZERS.items()},
    "adafactor, momentum": AdafactorConfig(momentum=0.9, weight_decay=0.1),
    "by layer": AdamWConfig(layer_decay=0.8, groups=(GroupRule(names="norm.*", rate=2.0),)),
    "torch": ImportedConfig(path="torch.optim.Adafactor"),
    "averaging": ImportedConfig(path="elsewhere.Averaging", settings=(("speed", 3.0),), weight_decay=0.0),
}


@pytest.mark.parametrize("word", EVERY)
def test_training_learns_and_its_state_goes_on_bit_for_bit(word):
    config = EVERY[word]
    model = Tiny()
    optimizers = config.build(model, RATE.get(word, 0.03))
    losses = [step(model, optimizers, turn) for turn in range(8)]
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    state = {name: value.clone() for name, value in optimizers.state().items()}
    losses += [step(model, optimizers, turn) for turn in range(8, 16)]
    assert losses[14] < losses[0]  # of the same tokens

    resumed = Tiny()
    resumed.load_state_dict(weights, strict=False)
    again = config.build(resumed, RATE.get(word, 0.03))
    again.load(state)
    assert [step(resumed, again, turn) for turn in range(8, 16)] == losses[8:]
    for name, weight in resumed.named_parameters():
        assert torch.equal(weight, model.get_parameter(name)), name
    assert again.state().keys() == optimizers.state().keys()


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


# -- Adafactor and Lion ------------------------------------------------------------------------------------------------


def pairs(*shapes):
    """The same parameters twice."""
    first = [nn.Parameter(drawn(*shape) + 0.1) for shape in shapes]
    return first, [nn.Parameter(weight.detach().clone()) for weight in first]


def give(parameters, turn):
    """A gradient for each, of very different sizes."""
    for number, weight in enumerate(parameters):
        weight.grad = torch.sin(weight.detach() * (turn + 2) + number) * 10.0 ** (number - 1)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"scaled": False}, {"scale_parameter": False}),
        ({"momentum": 0.9}, {"beta1": 0.9}),
        ({"weight_decay": 0.1}, {"weight_decay": 0.1}),
        (
            {"clip": 0.3, "decay": 0.5, "eps": (1e-8, 1e-2)},
            {"clip_threshold": 0.3, "decay_rate": -0.5, "eps": (1e-8, 1e-2)},
        ),
    ],
)
def test_adafactor_is_that_of_transformers_step_by_step(ours, theirs):
    mine, other = pairs((8, 6), (5,), (3, 4, 7), (1, 9))
    config = AdafactorConfig(**ours)
    rule = GroupRule(names="*", weight_decay=config.weight_decay)  # theirs decays vectors, too
    model = nn.Module()
    for number, weight in enumerate(mine):
        model.register_parameter(f"weight{number}", weight)
    built = config.replace(groups=(rule,)).build(model, 0.02)
    assert isinstance(built.optimizers[0], Adafactor)
    reference = transformers.optimization.Adafactor(other, lr=0.02, relative_step=False, **theirs)
    for turn in range(12):
        give(mine, turn)
        give(other, turn)
        built.step()
        reference.step()
        for one, two in zip(mine, other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_t5s_relative_step_is_a_schedule():
    mine, other = pairs((8, 6), (5,))
    ours = Adafactor(mine, lr=0.01)
    theirs = transformers.optimization.Adafactor(other, relative_step=True, scale_parameter=True, warmup_init=False)
    schedule = InverseSqrtConfig(level=True)
    for optimizer, parameters in ((ours, mine), (theirs, other)):
        give(parameters, 0)
        optimizer.step()
        for weight in parameters:  # the rate begins to fall at step 10,000
            optimizer.state[weight]["step"] = optimizer.state[weight]["step"] * 0 + 9_995
    for turn in range(9_995, 10_010):
        give(mine, turn - 9_995)
        give(other, turn - 9_995)
        ours.param_groups[0]["lr"] = 0.01 * schedule.factor(turn, 1e6, 10_000)
        ours.step()
        theirs.step()
    for one, two in zip(mine, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_adafactor_remembers_means_alone():
    weight = nn.Parameter(drawn(30, 40))
    weight.grad = drawn(30, 40)
    optimizer = Adafactor([weight], lr=0.01)
    optimizer.step()
    assert {word: tuple(value.shape) for word, value in optimizer.state[weight].items()} == {
        "step": (),
        "rows": (30,),
        "columns": (40,),
    }


def test_lion_is_its_formula():
    mine, (weight, vector) = pairs((6, 4), (3,))
    lion = Lion(mine, lr=0.01, betas=(0.9, 0.99), weight_decay=0.5)
    momenta = [torch.zeros_like(weight), torch.zeros_like(vector)]
    for turn in range(10):
        give(mine, turn)
        give([weight, vector], turn)
        lion.step()
        for number, one in enumerate((weight, vector)):
            direction = torch.sign(0.9 * momenta[number] + 0.1 * one.grad)
            one.data = one.data - 0.01 * (direction + 0.5 * one.data)
            momenta[number] = 0.99 * momenta[number] + 0.01 * one.grad
    for one, two in zip(mine, (weight, vector), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_adafactor_and_lion_leave_what_has_no_gradient():
    for kind in (Adafactor, Lion):
        weights = [nn.Parameter(drawn(4, 4)) for _ in range(2)]
        before = weights[1].detach().clone()
        weights[0].grad = drawn(4, 4)
        kind(weights, lr=0.1, weight_decay=0.5).step()
        assert torch.equal(weights[1], before)
        assert not torch.equal(weights[0], before)


# -- optimizers of others ----------------------------------------------------------------------------------------------


def test_an_optimizer_by_its_path_is_the_one_of_torch():
    ours, theirs = Tiny(), Tiny()
    config = ImportedConfig(path="torch.optim.SGD", settings=(("momentum", 0.9), ("nesterov", True)), weight_decay=0.0)
    built = config.build(ours, 0.1)
    plain = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for turn in range(5):
        assert step(ours, built, turn) == step(theirs, plain, turn)


def test_what_is_measured_are_the_averages_and_training_goes_on_bit_for_bit():
    model, other = Tiny(), Tiny()
    built, undisturbed = (EVERY["averaging"].build(one, 0.03) for one in (model, other))
    for turn in range(4):
        step(model, built, turn)
        step(other, undisturbed, turn)
        trained = model.embedding.weight.detach().clone()
        mean = built.optimizers[0].state[model.embedding.weight]["mean"]
        with built.measuring():
            torch.testing.assert_close(model.embedding.weight, (trained + mean) / 2)
            assert not turn or not torch.equal(model.embedding.weight, trained)
            saved = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        assert torch.equal(model.embedding.weight, trained)
        assert torch.equal(model.embedding.weight, other.embedding.weight)
    resumed = Tiny()
    resumed.load_state_dict(saved, strict=False)  # a checkpoint holds the averages
    again = EVERY["averaging"].build(resumed, 0.03)
    again.load(built.state())
    assert torch.equal(resumed.embedding.weight, model.embedding.weight)
    assert step(resumed, again, 4) == step(model, built, 4)


@pytest.mark.parametrize("word", ["averaging", "adamw", "adafactor"])
def test_going_back_to_an_earlier_state_forgets_what_came_after(word):
    model = Tiny()
    built = EVERY[word].build(model, 0.03)
    states, losses = [], []
    for turn in range(4):
        states.append(({n: w.detach().clone() for n, w in model.named_parameters()}, dict(built.state())))
        states[-1] = (states[-1][0], {name: value.clone() for name, value in states[-1][1].items()})
        losses.append(step(model, built, turn))
    for turn in (2, 0):
        weights, state = states[turn]
        model.load_state_dict(weights, strict=False)
        built.load({name: value.clone() for name, value in state.items()})
        assert [step(model, built, one) for one in range(turn, 4)] == losses[turn:]


def test_plain_optimizers_measure_what_they_train():
    model = Tiny()
    built = AdamWConfig().build(model, 0.03)
    step(model, built, 0)
    before = model.embedding.weight.detach().clone()
    with built.measuring():
        assert torch.equal(model.embedding.weight, before)
    assert not any(name.startswith("/") for name in built.state())


def test_schedule_free_training_goes_on_bit_for_bit_and_measures_its_averages():
    schedulefree = pytest.importorskip("schedulefree")
    config = ImportedConfig(path="schedulefree.AdamWScheduleFree", settings=(("warmup_steps", 3),), weight_decay=0.01)
    model, plain = Tiny(), Tiny()
    built = config.build(model, 0.03)
    groups = [[w for w in plain.parameters() if w.ndim >= 2], [w for w in plain.parameters() if w.ndim < 2]]
    theirs = schedulefree.AdamWScheduleFree(
        [{"params": groups[0], "weight_decay": 0.01}, {"params": groups[1], "weight_decay": 0.0}],
        lr=0.03,
        warmup_steps=3,
    )
    theirs.train()
    for turn in range(6):
        assert step(model, built, turn) == step(plain, theirs, turn)
        with built.measuring():
            saved = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    state = {name: value.clone() for name, value in built.state().items()}
    resumed = Tiny()
    resumed.load_state_dict(saved, strict=False)
    again = config.build(resumed, 0.03)
    again.load(state)
    assert [step(resumed, again, turn) for turn in range(6, 12)] == [step(model, built, turn) for turn in range(6, 12)]
    theirs.eval()
    for name, weight in saved.items():
        assert torch.equal(weight, plain.get_parameter(name)), name


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        (ImportedConfig(path="subprocess_of_mine.Popen"), UnsupportedError, "not known"),
        (ImportedConfig(path="bitsandbytes.optim.AdamW8bit"), UnsupportedError, "cannot be imported"),
        (ImportedConfig(path="torch.optim.AdamX"), UnknownNameError, "no such class"),
        (ImportedConfig(path="torch.nn.Linear"), ConfigError, "not an optimizer"),
        (ImportedConfig(path="torch.optim.LBFGS"), ConfigError, "computes losses itself"),
        (ImportedConfig(path="torch.optim.Rprop"), ConfigError, "has no weight decay"),
        (ImportedConfig(path="torch.optim.SGD", settings=(("speed", 1),)), ConfigError, "refuses its settings"),
    ],
)
def test_what_cannot_be_used_like_torchs_optimizers_is_refused(config, error, said):
    with pytest.raises(error, match=said):
        config.build(Tiny(), 0.1)
    with pytest.raises(ConfigError, match="settings"):
        config.replace(settings=(("lr", 0.1),))
    assert Config.from_json(config.to_json()) == config


def test_a_state_that_cannot_be_saved_is_refused():
    built = AdamWConfig().build(Tiny(), 0.1)
    weight = next(iter(built.optimizers[0].param_groups[0]["params"]))
    built.optimizers[0].state[weight]["history"] = [1, 2]
    with pytest.raises(UnsupportedError, match="history: list"):
        built.state()


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdafactorConfig(decay=0.0),
        lambda: AdafactorConfig(clip=0.0),
        lambda: AdafactorConfig(eps=(0.0, 1e-3)),
        lambda: AdafactorConfig(momentum=1.0),
        lambda: LionConfig(betas=(0.9, 1.0)),
        lambda: AdamWConfig(layer_decay=0.0),
        lambda: MuonConfig(rest=AdamWConfig(layer_decay=0.5)),
        lambda: ImportedConfig(path="SGD"),
    ],
)
def test_other_impossible_settings_are_refused(make):
    with pytest.raises(ConfigError, match="cannot be built"):
        make()
