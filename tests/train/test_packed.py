"""Packed rows: each document learns what it would learn alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import glassformer as gf
from glassformer.core.errors import UnsupportedError
from glassformer.data.packing import Packed
from glassformer.data.text_data import from_recipe, read_text
from glassformer.data.tokens import TokenStream
from glassformer.tokenizers.kinds import byte_tokenizer, train_wordpiece
from glassformer.train import token_loss
from glassformer.train.objectives import next_token
from glassformer.train.objectives.denoising import DenoisingConfig
from glassformer.train.objectives.masked_token import MaskedTokenConfig
from glassformer.train.objectives.next_token import NextTokenConfig
from glassformer.train.presets import preset

LENGTHS = [7, 12, 3, 30, 1, 2, 19, 5]


def stream() -> TokenStream:
    ids = np.random.default_rng(0).integers(0, 256, sum(LENGTHS)).astype(np.uint16)
    return TokenStream(ids, np.cumsum([0, *LENGTHS[:-1]]), sum(LENGTHS))


def gradients(model) -> list[torch.Tensor]:
    return [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


@pytest.mark.parametrize("name", ["gpt-tiny", "llama-tiny"])
def test_a_packed_batch_loses_what_its_documents_lose_alone(name) -> None:
    text, packed = stream(), Packed(stream(), pad=256)
    model, objective = preset(name, 257, 64).build(seed=0), NextTokenConfig()
    batch, _ = packed.draw(packed.start, packed.count(31), 31)
    assert (batch.documents < 0).any()
    loss, _ = objective.loss_sum(model, batch)
    loss.backward()
    found = gradients(model)
    model.zero_grad()
    alone = torch.zeros(())
    for start, length in zip(text.starts.tolist(), LENGTHS, strict=True):
        ids = torch.from_numpy(text.ids[start : start + length].astype(np.int64))[None]
        if length > 1:
            alone = alone + functional.cross_entropy(model(ids)[0, :-1], ids[0, 1:], reduction="sum")
    alone.backward()
    torch.testing.assert_close(loss, alone, rtol=1e-5, atol=1e-5)
    assert objective.weight(batch) == sum(length - 1 for length in LENGTHS)
    for one, other in zip(found, gradients(model), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_loss_in_pieces_knows_documents_too(monkeypatch) -> None:
    packed, objective = Packed(stream(), pad=256), NextTokenConfig()
    model = preset("gpt-tiny", 257, 64).build(seed=0)
    batch, _ = packed.draw(packed.start, packed.count(31), 31)
    plain, _ = objective.loss_sum(model, batch)
    monkeypatch.setattr(next_token, "MOST_SCORES", 1000)
    monkeypatch.setattr(token_loss, "MOST_SCORES", 1000)
    pieces, _ = objective.loss_sum(model, batch)
    torch.testing.assert_close(plain, pieces, rtol=1e-5, atol=1e-5)


def test_objectives_that_make_rows_anew_refuse_packed_ones() -> None:
    packed = Packed(stream(), pad=256)
    batch, _ = packed.draw(packed.start, 1, 31)
    with pytest.raises(UnsupportedError, match="packed documents cannot be made anew"):
        DenoisingConfig().prepare(batch, train_wordpiece(["a b"], 40), 0)


def test_what_a_neighbour_says_changes_nothing() -> None:
    packed, objective = Packed(stream(), pad=256), NextTokenConfig()
    model = preset("gpt-tiny", 257, 64).build(seed=0)
    batch, _ = packed.draw(packed.start, 1, 31)
    with torch.no_grad():
        logits = model(batch.tokens, documents=batch.documents)
        batch.tokens[batch.documents == 0] = 7
        changed = model(batch)
    others = batch.documents > 0
    assert others.any()
    torch.testing.assert_close(logits[others], changed[others], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits[batch.documents == 0], changed[batch.documents == 0])
    assert objective.tokens(batch) == int((batch.documents >= 0).sum()) - len(set(batch.documents[0].tolist()) - {-1})


def test_masked_tokens_of_packed_rows_are_real_ones() -> None:
    tokenizer = train_wordpiece(["the cat sat on the mat"] * 4, 60)
    ids = np.array(tokenizer.encode("the cat sat on the mat", add_special=False) * 3, dtype=np.uint16)
    text = TokenStream(ids, np.array([0, len(ids) // 3]), len(ids))
    packed, objective = Packed(text, pad=int(ids[0])), MaskedTokenConfig(rate=0.9)
    drawn, _ = packed.draw(packed.start, 1, 2 * len(ids))
    batch = objective.prepare(drawn, tokenizer, 0)
    assert 0 < objective.weight(batch) <= batch.count == len(ids)
    assert (batch.labels["tokens"][batch.documents < 0] == -100).all()
    model = preset("bert-tiny", tokenizer.vocab_size, 2 * len(ids) + 1).build(seed=0)
    with torch.no_grad():
        loss, _ = objective.loss_sum(model, batch)
        alone = torch.zeros(())
        for document in (0, 1):
            inside = batch.documents[0] == document
            logits, labels = model(batch.tokens[:, inside]), batch.labels["tokens"][:, inside]
            alone += functional.cross_entropy(logits[0], labels[0], reduction="sum")
    torch.testing.assert_close(loss, alone, rtol=1e-5, atol=1e-5)


def test_a_run_reads_packed_rows_and_reads_them_again(tmp_path) -> None:
    (tmp_path / "text").mkdir()
    for number in range(12):
        (tmp_path / f"text/{number}.txt").write_text(f"document {number} says little " * (number % 5 + 1))
    tokenizer = byte_tokenizer()
    data = read_text(tmp_path / "text", tokenizer, length=63, samples="packed")
    model = preset("gpt-tiny", tokenizer.vocab_size, 64).build(seed=0)
    plan = gf.TrainConfig(steps=4, batch_tokens=126, learning_rate=1e-3, eval_every=0, save_every=2, sample_every=0)
    run = gf.train(model, data, plan, out=tmp_path / "run")
    assert run.loss[-1] < run.loss[0]
    assert all(batch.documents is not None for batch in data.batches(2))
    again = from_recipe(data.recipe, tokenizer)
    assert isinstance(again.sampler, Packed)
    cursor = (run.steps * 2,)
    ours, theirs = (one.sampler.draw(cursor, 2, 63)[0] for one in (data, again))
    assert torch.equal(ours.tokens, theirs.tokens)
    assert gf.resume(tmp_path / "run").is_finished
