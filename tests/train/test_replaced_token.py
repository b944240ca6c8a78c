"""Replaced tokens: drawn from a generator that stays as it is, and told from old ones with ELECTRA's loss."""

from __future__ import annotations

import pytest
import torch
import transformers

from glassformer.checkpoints.folder import load
from glassformer.core.errors import UnsupportedError
from glassformer.data.batch import IGNORED
from glassformer.tokenizers.kinds import train_wordpiece
from glassformer.train.objectives.replaced_token import ReplacedTokenConfig
from glassformer.train.optimizers import AdamWConfig
from glassformer.train.presets import bert, gpt
from glassformer.train.state import Machine
from glassformer.train.step import Learner
from glassformer.train.task_data import gather, prepare
from tests.train.test_objectives import ROWS, TEXTS, batch_of, gradient

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generator")
    tokenizer = train_wordpiece(TEXTS, 300)
    bert(tokenizer.vocab_size, 64, d_model=16, n_layers=1, n_heads=2).build(seed=3).save(folder, tokenizer=tokenizer)
    return folder, tokenizer


def made(generator, model=None, **settings):
    folder, tokenizer = generator
    objective = ReplacedTokenConfig(generator=str(folder), **settings)
    body = bert(tokenizer.vocab_size, 64, d_model=16, n_layers=1, n_heads=2)
    model = model or objective.fit(body, 0).build(seed=1)
    objective.check_model(model.config)
    data = prepare(objective, gather(ROWS, ROWS[:3]), model, tokenizer)
    return objective, model, batch_of(objective, data)


def test_the_loss_is_that_of_electra(generator, tmp_path):
    config = transformers.ElectraConfig(vocab_size=generator[1].vocab_size, embedding_size=16, **SIZES)
    theirs = transformers.ElectraForPreTraining(config).eval()
    theirs.save_pretrained(tmp_path)
    objective, model, batch = made(generator, load(tmp_path), rate=0.4)
    filled, is_new = objective.filled(batch)
    assert is_new.any()
    loss, metrics = objective.loss_sum(model, batch)
    expected = theirs(filled.tokens, attention_mask=batch.valid.long(), labels=is_new.long())
    torch.testing.assert_close(loss / objective.weight(batch), expected.loss, rtol=1e-4, atol=1e-5)
    right = ((expected.logits > 0) == is_new)[batch.valid].sum()
    assert metrics["accuracy"] == right and metrics["replaced"] == is_new.sum()


def test_only_holes_are_filled_and_what_is_right_by_chance_is_old(generator):
    objective, _, batch = made(generator, rate=0.5)
    filled, is_new = objective.filled(batch)
    holes = batch.labels["tokens"] != IGNORED
    assert torch.equal(filled.tokens[~holes], batch.tokens[~holes]) and not is_new[~holes].any()
    assert torch.equal(is_new[holes], filled.tokens[holes] != batch.labels["tokens"][holes])
    assert torch.equal(objective.filled(batch)[0].tokens, filled.tokens)  # the same each time


def test_tokens_are_drawn_by_their_probability(generator):
    objective, _, batch = made(generator, rate=0.3)
    model, holes = load(generator[0]), batch.labels["tokens"] != IGNORED
    shares = model(batch.tokens, valid=batch.valid)[holes].softmax(-1).detach()
    counts = torch.zeros_like(shares)
    numbers = torch.rand(4000, *batch.tokens.shape, generator=torch.Generator().manual_seed(0))
    for drawn in numbers:
        batch.labels["drawn"] = drawn
        tokens = objective.filled(batch)[0].tokens[holes]
        counts[torch.arange(len(tokens)), tokens] += 1
    spread = (counts / len(numbers) - shares) / (shares * (1 - shares) / len(numbers)).sqrt()
    assert spread.abs().max() < 5.5 and 0.8 < spread.std() < 1.2


def test_any_cut_gives_the_same_gradient_and_a_batch_is_learned(generator):
    objective, model, batch = made(generator, rate=0.3)
    weight = objective.weight(batch)
    whole = gradient(objective, model, [batch], [weight])
    cut = gradient(objective, model, batch.cut(2), [weight] * 3)
    assert (cut - whole).norm() <= 1e-6 * whole.norm()
    learner = Learner(model, objective, AdamWConfig().build(model, 1e-2), Machine(), 1.0, 0)
    losses = [learner.step(batch, number=number, micro_rows=8, factor=1.0).loss for number in range(80)]
    assert losses[-1] < 0.4 * losses[0]


def test_models_that_do_not_fit_are_refused(generator, tmp_path):
    objective, model, _ = made(generator)
    with pytest.raises(UnsupportedError, match="replaced-token detection · got an encoder with TokenHeadConfig"):
        objective.check_model(load(generator[0]).config)
    decoder = gpt(generator[1].vocab_size, 64, d_model=16, n_layers=1, n_heads=2).build()
    decoder.save(tmp_path / "decoder", tokenizer=generator[1])
    with pytest.raises(UnsupportedError, match="masked-token training · got a decoder"):
        objective.replace(generator=str(tmp_path / "decoder")).check_model(model.config)
    with pytest.raises(UnsupportedError, match="a generator with another vocabulary"):
        prepare(objective, gather(ROWS, ROWS[:1]), model, train_wordpiece("abc", 50))
