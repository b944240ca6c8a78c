"""Text vectors by contrast: the loss of sentence-transformers, with and without negatives; a batch is one whole."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.nn import functional

from glassformer.core.errors import ConfigError, DataError, UnsupportedError
from glassformer.data.batch import Batch
from glassformer.parts.experts import ExpertsConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.routing import TopKRouterConfig
from glassformer.parts.sentence import SentenceConfig
from glassformer.tokenizers.kinds import train_wordpiece
from glassformer.train import loop
from glassformer.train.config import TrainConfig
from glassformer.train.objectives.contrastive import ContrastiveConfig, vectors
from glassformer.train.optimizers import AdamWConfig
from glassformer.train.parallel import Group
from glassformer.train.presets import bert, gpt, t5
from glassformer.train.state import Machine
from glassformer.train.step import Learner
from glassformer.train.task_data import gather, prepare
from tests.train.test_objectives import PAIRED, batch_of, gradient

NEGATIVES = [{**row, "negative": row["text"][::-1]} for row in PAIRED]


def made(rows=PAIRED, form=bert, **settings):
    objective = ContrastiveConfig(**settings)
    examples = gather(rows, rows[:3])
    tokenizer = train_wordpiece(examples.texts(objective), 300)
    model = objective.fit(form(tokenizer.vocab_size, 64, d_model=16, n_layers=1, n_heads=2), 0).build()
    objective.check_model(model.config)
    return objective, model, prepare(objective, examples, model, tokenizer)


@pytest.mark.parametrize("rows", [PAIRED, NEGATIVES], ids=["pairs", "negatives"])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_loss_is_that_of_sentence_transformers(rows, temperature):
    objective, model, data = made(rows, temperature=temperature)
    batch = batch_of(objective, data)
    count = len(batch)
    texts, others = vectors(model, batch), vectors(model, batch.target)
    assert len(others) == count * (1 if rows is PAIRED else 2)
    theirs = MultipleNegativesRankingLoss(model=torch.nn.Identity(), scale=1 / temperature)
    expected = theirs.compute_loss_from_embeddings([texts, *others.split(count)], None)
    loss, metrics = objective.loss_sum(model, batch)
    torch.testing.assert_close(loss / count, expected)
    scores = functional.cosine_similarity(texts[:, None], others[None], dim=-1)
    assert metrics["accuracy"] == (scores.argmax(-1) == torch.arange(count)).sum()


def test_a_vector_is_the_mean_over_the_real_tokens():
    objective, model, data = made()
    batch = batch_of(objective, data)
    hidden = model.hidden(batch.tokens, valid=batch.valid)
    for row, vector in enumerate(vectors(model, batch)):
        torch.testing.assert_close(vector, hidden[row][batch.valid[row]].mean(0))


def test_a_folder_that_says_how_to_pool_is_followed():
    objective, model, data = made()
    batch = batch_of(objective, data)
    model.__dict__["sentence"] = SentenceConfig(pool=("first",)).build(16)
    torch.testing.assert_close(vectors(model, batch), model.hidden(batch.tokens, valid=batch.valid)[:, 0])


def test_texts_partners_and_negatives_stay_together():
    objective, _, data = made(NEGATIVES)
    batch = batch_of(objective, data)
    words = data.tokenizer
    known = {
        tuple(words.encode(row["text"])): (words.encode(row["pair"]), words.encode(row["negative"]))
        for row in NEGATIVES
    }

    def row(side: Batch, number: int):
        return side.tokens[number][side.valid[number]].tolist()

    for number in range(len(batch)):
        partner, negative = known[tuple(row(batch, number))]
        assert row(batch.target, number) == partner and row(batch.target, number + len(batch)) == negative


@pytest.mark.parametrize("form", [bert, gpt])
def test_a_batch_is_learned_by_heart(form):
    objective, model, data = made(NEGATIVES, form)
    batch = batch_of(objective, data)
    learner = Learner(model, objective, AdamWConfig().build(model, 1e-2), Machine(), 1.0, 0)
    losses = [learner.step(batch, number=number, micro_rows=1, factor=1.0).loss for number in range(60)]
    assert losses[-1] < 0.3 * losses[0]


def test_a_batch_is_computed_whole_whatever_micro_batches_are_asked_for():
    objective, model, data = made()
    batch = batch_of(objective, data)
    whole = gradient(objective, model, [batch], [5])
    learner = Learner(model, objective, AdamWConfig().build(model, 1e-2), Machine(), None, 0)
    caught = []
    learner.optimizers.step = lambda: caught.append(
        torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    )
    model.zero_grad()
    learner.step(batch, number=0, micro_rows=2, factor=1.0)
    torch.testing.assert_close(caught[0], whole)
    pieces = gradient(objective, model, batch.cut(2), [5] * 3)
    assert (pieces - whole).norm() > 0.1 * whole.norm()  # fewer rows to be told from


def test_micro_batches_and_several_processes_are_refused():
    with pytest.raises(ConfigError, match="micro_tokens: cannot be built · got 128 · expected None: Contr"):
        TrainConfig(steps=1, micro_tokens=128, objective=ContrastiveConfig())
    objective, model, _ = made()
    what = "ContrastiveConfig computes a batch whole · got 2 processes · expected one"
    with pytest.raises(UnsupportedError, match=what):
        Learner(model, objective, AdamWConfig().build(model, 1e-2), Machine(), None, 0, Group(0, 2))


def test_negatives_in_some_examples_only_are_refused():
    what = "example 3: no field 'negative' · got negatives in 3 of 5 examples · expected in all or in none"
    with pytest.raises(DataError, match=what):
        made([*NEGATIVES[:3], *PAIRED[3:]])


def test_models_that_have_no_vector_of_a_text_are_refused():
    sizes = {"d_model": 16, "n_layers": 1, "n_heads": 2}
    with pytest.raises(UnsupportedError, match="text vectors · got an encoder with a decoder"):
        ContrastiveConfig().check_model(t5(300, 64, **sizes))
    body = bert(300, 64, **sizes)
    (block,) = body.encoder.blocks
    experts = ExpertsConfig(
        router=TopKRouterConfig(n_experts=4, top_k=2), expert=FeedForwardConfig(d_ff=16, activation="gelu")
    )
    mixed = body.replace(encoder=body.encoder.replace(blocks=(block.replace(feed_forward=experts),)))
    with pytest.raises(UnsupportedError, match="text vectors · got a mixture of experts"):
        ContrastiveConfig().check_model(mixed)
    with pytest.raises(ConfigError, match="temperature"):
        ContrastiveConfig(temperature=0.0)


def test_several_processes_are_refused_before_a_folder_is_made(tmp_path, monkeypatch):
    """As torchrun begins them: the error comes before anything is written."""
    objective, model, data = made()

    @contextmanager
    def two(device):
        yield Group(0, 2)

    monkeypatch.setattr(loop, "joined", two)
    with pytest.raises(UnsupportedError, match="computes a batch whole · got 2 processes"):
        loop.train(model, data, TrainConfig(steps=1, objective=objective), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
