from __future__ import annotations

import itertools

import pytest
import torch
from transformers.generation import logits_process as theirs

from glassformer.core.errors import ConfigError, DataError
from glassformer.data.batch import pad_rows
from glassformer.generate.rules import NOTHING, Beginning, NoRepeat, NotBefore, Past, RepetitionPenalty, judged
from glassformer.generate.sampling import SamplingConfig
from glassformer.parts.head import TokenHeadConfig
from tests.builders import gpt_like, lively, random_tokens


def scores_like(batch, vocab, seed=0):
    return torch.randn(batch, vocab, generator=torch.Generator().manual_seed(seed)) * 3


def tokens_like(batch, length, vocab, seed=0):
    return torch.randint(0, vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [1, 2, 3, 12])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_repeat_is_that_of_transformers(size, length):
    for seed in range(5):
        tokens, scores = tokens_like(4, length, 5, seed), scores_like(4, 5, seed)
        ours = NoRepeat(size)(scores, Past.of(tokens, None))
        assert torch.equal(ours, theirs.NoRepeatNGramLogitsProcessor(size)(tokens, scores.clone()))


def test_the_penalty_and_the_least_length_are_those_of_transformers():
    tokens, scores = tokens_like(4, 7, 9), scores_like(4, 9)
    past = Past.of(tokens[:, :4], None)
    for place in range(4, 7):
        past = past.with_new(tokens[:, place])
        assert torch.equal(past.tokens, tokens[:, : place + 1])
        ours = RepetitionPenalty(1.7)(scores, past)
        torch.testing.assert_close(ours, theirs.RepetitionPenaltyLogitsProcessor(1.7)(past.tokens, scores))
        ours = NotBefore(3, (2, 5))(scores, past)
        processor = theirs.MinNewTokensLengthLogitsProcessor(4, 3, [2, 5])
        assert torch.equal(ours, processor(past.tokens, scores.clone()))


def test_padding_is_nothing_that_was_said_on_whichever_side_it_stands():
    rows = [[3, 1, 3], [2], [1, 2, 1, 2]]
    scores = scores_like(3, 5)
    rules = (RepetitionPenalty(2.0), NoRepeat(2))
    for side in ("left", "right"):
        batch = pad_rows(rows, side=side, pad=4)
        past = Past.of(batch.tokens, batch.valid)
        assert [[token for token in row if token != NOTHING] for row in past.tokens.tolist()] == rows
        together = judged(scores, past, rules)
        for place, row in enumerate(rows):
            alone = judged(scores[place : place + 1], Past.of(torch.tensor([row]), None), rules)
            assert torch.equal(together[place : place + 1], alone)


def test_rows_are_left_out_doubled_and_moved():
    past = Past.of(torch.tensor([[1, 2], [3, 4]]), None).with_new(torch.tensor([5, 6]))
    moved = past.kept(torch.tensor([1, 1, 0]))
    assert moved.tokens.tolist() == [[3, 4, 6], [3, 4, 6], [1, 2, 5]]
    assert (moved.new, moved.rows.tolist()) == (1, [1, 1, 0])


def test_a_beginning_belongs_to_its_row():
    rule = Beginning(torch.tensor([[4, 2], [3, NOTHING]]))
    past, scores = Past.of(torch.tensor([[0], [0]]), None), scores_like(2, 5)
    first = rule(scores, past)
    assert [row.isfinite().nonzero()[:, 0].tolist() for row in first] == [[4], [3]]
    assert first[0, 4] == scores[0, 4]
    second = rule(scores, past.with_new(torch.tensor([4, 3])).kept(torch.tensor([1, 0])))
    assert torch.equal(second[0], scores[0])
    assert second[1].isfinite().nonzero()[:, 0].tolist() == [2]
    third = past.with_new(torch.tensor([4, 3])).with_new(torch.tensor([2, 1]))
    assert torch.equal(rule(scores, third), scores)


def model_of():
    return lively(gpt_like().replace(head=TokenHeadConfig(tied=False)))


@pytest.mark.parametrize(
    ("said", "processors"),
    [
        ({"no_repeat_ngram": 2}, lambda: [theirs.NoRepeatNGramLogitsProcessor(2)]),
        ({"no_repeat_ngram": 1, "repetition_penalty": 0.5},
         lambda: [theirs.RepetitionPenaltyLogitsProcessor(0.5), theirs.NoRepeatNGramLogitsProcessor(1)]),
        ({"min_tokens": 7}, lambda: [theirs.MinNewTokensLengthLogitsProcessor(5, 7, [2, 3, 4, 5, 6, 7, 8])]),
    ],
)  # fmt: skip
def test_greedy_decoding_keeps_to_them(said, processors):
    model, tokens = model_of(), random_tokens(1, 5, seed=2)
    ends = list(range(2, 9)) if "min_tokens" in said else []
    found = model.generate(tokens, max_tokens=14, stop_ids=ends, sampling=SamplingConfig(**said)).rows()[0]
    row = tokens
    for token in found:
        scores = model(row)[:, -1].detach()
        for processor in processors():
            scores = processor(row, scores)
        assert token == int(scores.argmax())
        row = torch.cat((row, torch.tensor([[token]])), 1)
    plain = model.generate(tokens, max_tokens=14, stop_ids=ends).rows()[0]
    assert found != plain


def test_a_batch_with_rules_is_its_rows_and_drawing_keeps_to_them():
    model, rows = model_of(), [random_tokens(1, length, seed=length)[0].tolist() for length in (7, 3, 1)]
    for said in ({}, {"temperature": 4.0, "seed": 2}):
        sampling = SamplingConfig(no_repeat_ngram=2, repetition_penalty=1.2, **said)
        together = model.generate(pad_rows(rows), max_tokens=40, sampling=sampling, prefixes=[[5], [], [6, 7]]).rows()
        for place, prefix in enumerate(([5], [], [6, 7])):
            alone = model.generate(
                torch.tensor([rows[place]]), max_tokens=40, sampling=sampling, prefixes=[prefix], first_row=place
            )
            assert alone.rows()[0] == together[place]
            assert together[place][: len(prefix)] == prefix
            text = rows[place] + together[place]
            pairs = list(itertools.pairwise(text))
            new = pairs[len(rows[place]) - 1 :]
            assert len(set(new)) == len(new) and not set(new) & set(pairs[: len(rows[place]) - 1])


def test_rules_that_leave_nothing_and_numbers_that_cannot_be():
    model = lively(gpt_like().replace(vocab_size=3))
    with pytest.raises(DataError, match="row 3: the rules allow no token"):
        model.generate(
            torch.tensor([[1]]), max_tokens=5, stop_ids=(), sampling=SamplingConfig(no_repeat_ngram=1), first_row=3
        )
    with pytest.raises(DataError, match="min_tokens · got 6 · expected at most max_tokens = 5"):
        model.generate(torch.tensor([[1]]), max_tokens=5, sampling=SamplingConfig(min_tokens=6))
    for said, message in (({"no_repeat_ngram": 0}, "no_repeat_ngram: out of range · got 0 · expected 1 or more"),
                          ({"min_tokens": -1}, "min_tokens: out of range")):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            SamplingConfig(**said)
