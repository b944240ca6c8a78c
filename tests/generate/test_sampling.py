from __future__ import annotations

import math

import pytest
import torch

from glassformer.core.errors import ConfigError, DataError
from glassformer.generate.rules import Past, RepetitionPenalty, judged
from glassformer.generate.sampling import (
    NUCLEUS,
    Sampler,
    SamplingConfig,
    allowed,
    drawn,
    within_min_p,
    within_top_k,
    within_top_p,
)

#: Probabilities 0.5, 0.3, 0.15, 0.05 in another order.
LOGITS = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()


def kept(logits):
    return (logits > -torch.inf).nonzero()[:, 1].tolist()


def sampler(config, rows=1, **said):
    return Sampler(config, torch.zeros(rows, 1, dtype=torch.int64), None, **said)


def test_nothing_is_on_that_was_not_asked_for():
    plain = SamplingConfig()
    assert not plain.draws
    assert not SamplingConfig(repetition_penalty=1.2).draws
    assert not SamplingConfig(temperature=0.0).draws
    assert sampler(plain)(LOGITS, [0]).tolist() == [1]
    assert all(SamplingConfig(**{name: 1}).draws for name in ("temperature", "top_k", "top_p", "min_p"))
    assert SamplingConfig.from_json(SamplingConfig(top_k=3).to_json()) == SamplingConfig(top_k=3)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"temperature": -1.0}, "temperature: out of range · got -1.0 · expected 0 or more"),
        ({"top_k": 0}, "top_k: out of range · got 0 · expected 1 or more"),
        ({"top_p": 0.0}, "top_p: out of range · got 0.0 · expected more than 0, at most 1"),
        ({"top_p": 1.5}, "top_p: out of range"),
        ({"min_p": -0.1}, "min_p: out of range · got -0.1 · expected 0 … 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: out of range"),
        ({"temperature": 1.0, "seed": -1}, "seed: out of range"),
        ({"seed": 1}, "seed is for drawing, and nothing is drawn · got no temperature · say a temperature above 0"),
        ({"temperature": 0.0, "top_k": 5}, "top_k is for drawing, and nothing is drawn · got temperature=0"),
        ({"temperature": math.nan}, "temperature: not a number that can be used"),
        ({"top_k": "5"}, "wrong type"),
    ],
)
def test_what_cannot_be_meant_is_one_line(said, message):
    with pytest.raises(ConfigError) as error:
        SamplingConfig(**said)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_top_k_keeps_the_best_and_what_equals_the_last():
    assert kept(within_top_k(LOGITS, 2)) == [1, 3]
    assert kept(within_top_k(LOGITS, 100)) == [0, 1, 2, 3]
    assert kept(within_top_k(torch.tensor([[1.0, 2.0, 1.0, 0.0]]), 2)) == [0, 1, 2]


def test_top_p_keeps_the_token_that_crosses():
    assert kept(within_top_p(LOGITS, 0.4)) == [1]
    assert kept(within_top_p(LOGITS, 0.6)) == [1, 3]
    assert kept(within_top_p(LOGITS, 0.9)) == [0, 1, 3]
    assert kept(within_top_p(LOGITS, 0.99)) == [0, 1, 2, 3]


def test_top_p_of_a_flat_row_looks_behind_the_best_thousand_and_a_peaked_row_beside_it_stays_as_it_is():
    flat = torch.linspace(0, 1, 4 * NUCLEUS)[None]
    peaked = flat * 100
    both = within_top_p(torch.cat((flat, peaked)), 0.9)
    assert torch.equal(both[1:], within_top_p(peaked, 0.9))
    assert len(kept(both[1:])) < NUCLEUS < len(kept(both[:1])) < 4 * NUCLEUS
    left = flat.softmax(-1)[both[:1] > -torch.inf]
    assert left.sum() - left.min() < 0.9 <= left.sum() + 1e-6


def test_min_p_keeps_a_share_of_the_best():
    assert kept(within_min_p(LOGITS, 0.29)) == [0, 1, 3]
    assert kept(within_min_p(LOGITS, 0.31)) == [1, 3]
    assert kept(within_min_p(LOGITS, 1.0)) == [1]


def test_the_penalty_lowers_what_is_there_whatever_its_sign():
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    past = Past.of(torch.tensor([[0, 1, 1]]), None)
    assert RepetitionPenalty(2.0)(logits, past).tolist() == [[1.0, -4.0, 2.0, -2.0]]


def test_the_penalty_counts_the_prompt_without_its_padding_and_what_was_chosen():
    prompt, valid = torch.tensor([[2, 1], [3, 3]]), torch.tensor([[False, True], [True, True]])
    config = SamplingConfig(repetition_penalty=10.0)
    choose = Sampler(config, prompt, valid, rules=config.rules(()))
    logits = torch.tensor([[1.0, 4.0, 3.0, 2.0]] * 2)
    assert choose(logits, [0, 1]).tolist() == [2, 1], "1 is in the first prompt, 2 was only its padding"
    assert choose(logits, [0, 1]).tolist() == [3, 2]
    assert choose(logits[:1], [1]).tolist() == [0], "3 is in the second prompt, 1 and 2 were chosen"


def test_all_of_it_in_the_order_and_with_the_formulas_of_transformers():
    from transformers.generation import logits_process as theirs

    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(0, 50, (3, 8), generator=generator)
    for _ in range(50):
        logits = torch.randn(3, 50, generator=generator) * 3
        config = SamplingConfig(temperature=0.7, top_k=20, top_p=0.9, min_p=0.05, repetition_penalty=1.3)
        past = Past.of(prompt, None)
        ours = allowed(judged(logits, past, config.rules(())), config).softmax(-1)
        expected = logits
        for step in (
            theirs.RepetitionPenaltyLogitsProcessor(1.3),
            theirs.TemperatureLogitsWarper(0.7),
            theirs.TopKLogitsWarper(20),
            theirs.TopPLogitsWarper(0.9),
            theirs.MinPLogitsWarper(0.05),
        ):
            expected = step(prompt, expected)
        torch.testing.assert_close(ours, expected.softmax(-1), atol=1e-6, rtol=1e-5)


def test_a_draw_is_the_token_under_which_the_number_falls():
    numbers = torch.tensor([[0.0], [0.1499], [0.1501], [0.6499], [0.6501], [0.6999], [0.7001], [1.0]]).double()
    assert drawn(LOGITS.expand(8, -1), numbers).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    only = LOGITS.masked_fill(torch.tensor([[True, False, True, True]]), -torch.inf)
    assert drawn(only.expand(8, -1), numbers).tolist() == [1] * 8


def test_draws_follow_the_probabilities():
    choose = sampler(SamplingConfig(temperature=1.0, seed=0), rows=4000)
    shares = choose(LOGITS.expand(4000, -1), range(4000)).bincount(minlength=4) / 4000
    torch.testing.assert_close(shares, LOGITS.exp()[0], atol=0.03, rtol=0)


def test_any_temperature_above_zero_draws_the_best_in_its_limit():
    choose = sampler(SamplingConfig(temperature=1e-40, seed=0))
    assert [choose(LOGITS * 1e3, [0]).item() for _ in range(20)] == [1] * 20


def test_a_row_has_draws_of_its_own_whatever_stands_beside_it():
    config, logits = SamplingConfig(temperature=1.0, seed=7), torch.zeros(3, 1000)
    together = sampler(config, rows=3)
    steps = [together(logits, [0, 1, 2]).tolist(), together(logits[:2], [0, 2]).tolist()]
    assert len(set(steps[0])) == 3
    for row, later in ((0, 0), (2, 1)):
        alone = sampler(config, first_row=row)
        assert [alone(logits[:1], [0]).item() for _ in range(2)] == [steps[0][row], steps[1][later]]
    other = sampler(SamplingConfig(temperature=1.0, seed=8), rows=3)
    assert other(logits, [0, 1, 2]).tolist() != steps[0]


def test_without_a_seed_torch_itself_is_seeded():
    def draws():
        torch.manual_seed(3)
        return sampler(SamplingConfig(temperature=1.0), rows=5)(torch.zeros(5, 1000), range(5)).tolist()

    assert draws() == draws()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("config", [SamplingConfig(), SamplingConfig(temperature=1.0)])
def test_scores_that_are_no_numbers_are_an_error_and_not_token_0(bad, config):
    logits = torch.stack((LOGITS[0], torch.full((4,), bad)))
    with pytest.raises(DataError, match="row 6: the model's scores are not finite numbers"):
        sampler(config, rows=2, first_row=5)(logits, [0, 1])
    one = LOGITS.clone()
    one[0, 2] = -math.inf
    assert sampler(config)(one, [0]).item() != 2, "a token that is ruled out is no error"
    one[0, 2] = math.nan
    with pytest.raises(DataError, match="row 0"):
        sampler(config)(one, [0])
