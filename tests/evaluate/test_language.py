"""How well a decoder predicts text, and an encoder hidden tokens: against training, a plain sum, and a count."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from glassformer.core.errors import DataError
from glassformer.data.batch import Sample
from glassformer.data.buckets import Buckets
from glassformer.data.examples import examples_of
from glassformer.data.text import Document
from glassformer.data.tokens import encode_stream
from glassformer.evaluate.measure import measure
from glassformer.evaluate.scores import scored, windows
from glassformer.evaluate.task import Hand, task_of
from glassformer.tokenizers.kinds import byte_tokenizer, train_wordpiece
from glassformer.train.evaluate import byte_lengths, measure as measured_in_training, measure_batches
from glassformer.train.objectives.masked_token import MaskedTokenConfig
from tests.builders import bert_like, gpt_like, lively

TEXT = "green bottles hanging on the wall, and one fell: Ümlaut. " * 4


@pytest.fixture(scope="module")
def hand():
    return Hand(lively(gpt_like().replace(vocab_size=257)), byte_tokenizer())


def test_it_is_the_measure_of_training(hand):
    """The same windows over one document."""
    found, pieces = measure(task_of(hand.model, measures=True), list(examples_of([{"text": TEXT}])), hand)
    by = {one.metric: one for one in found}
    stream = encode_stream([Document("x", TEXT)], hand.tokenizer)
    theirs = measured_in_training(hand.model, stream, byte_lengths(hand.tokenizer), context=64, stride=32)
    assert by["bits_per_byte"].value == pytest.approx(theirs.bits_per_byte, rel=1e-5)
    assert by["perplexity"].value == pytest.approx(math.exp(theirs.loss), rel=1e-4)
    assert pieces == math.ceil(len(stream) / 32)
    assert by["perplexity"].low < by["perplexity"].value < by["perplexity"].high


def test_the_floor_is_how_often_tokens_are_in_the_text(hand):
    task = task_of(hand.model, measures=True)
    found, _ = measure(task, list(examples_of([{"text": TEXT}, {"text": "ab"}])), hand, ["perplexity"])
    ids = [*TEXT.encode(), 256, *b"ab", 256]
    counts = Counter(ids)
    entropy = -sum(count / len(ids) * math.log(count / len(ids)) for count in counts.values())
    assert found[0].floor == pytest.approx(math.exp(entropy))


def test_documents_are_predicted_apart(hand):
    task = task_of(hand.model, measures=True)
    together = task.units(list(examples_of([{"text": "one"}, {"text": "two"}])), hand)
    assert [unit["ids"] for unit in together] == [[256, *b"one", 256], [256, *b"two", 256]]
    assert [task.reference(unit, hand) for unit in together] == [(4, 4.0), (4, 4.0)]


def test_a_token_counts_the_bytes_of_the_text_it_stands_for():
    """A tokenizer that drops spaces and case must not change what a byte is."""
    words = train_wordpiece([TEXT], 120)
    hand = Hand(lively(gpt_like().replace(vocab_size=words.vocab_size)), words)
    task = task_of(hand.model, measures=True)
    units = task.units(list(examples_of([{"text": TEXT}])), hand)
    assert sum(task.reference(unit, hand)[1] for unit in units) == pytest.approx(len(TEXT.encode()) + 1)


def test_scores_are_the_log_softmax_of_each_row_alone(hand):
    rows = [list(b"abcdef"), list(b"xy"), list(b"hello there")]
    found = scored(rows, [2, 1, 5], hand)
    for row, count, one in zip(rows, [2, 1, 5], found, strict=True):
        with torch.no_grad():
            logits = hand.model(torch.tensor([row[:-1]]))[0, -count:].log_softmax(-1)
        torch.testing.assert_close(one.nats, -logits[range(count), row[-count:]], atol=1e-4, rtol=1e-4)
        assert one.is_greedy == (logits.argmax(-1).tolist() == row[-count:])


@pytest.mark.parametrize(("count", "reach", "stride"), [(2, 8, 4), (9, 8, 4), (100, 8, 4), (100, 8, 8), (50, 8, 1)])
def test_windows_predict_each_token_once_from_as_much_as_there_is(count, reach, stride):
    found = windows(count, reach, stride)
    assert [place for _, begin, end in found for place in range(begin, end)] == list(range(1, count))
    for first, begin, end in found:
        assert end - first - 1 <= reach  # tokens that are read
        assert first == 0 or begin - first >= reach - stride + 1 or end == count


def test_hidden_tokens_are_those_of_the_objective():
    """Rows of one text: what training measures of the same rows, hidden by the same seed."""
    words = train_wordpiece([TEXT], 120)
    hand = Hand(lively(bert_like().replace(vocab_size=words.vocab_size)), words)
    task = task_of(hand.model, measures=True)
    texts = [TEXT[begin : begin + 60] for begin in range(0, 180, 60)]
    found, count = measure(task, list(examples_of([{"text": text} for text in texts])), hand)
    objective = MaskedTokenConfig()
    samples = [Sample(words.encode(text)) for text in texts]
    theirs = measure_batches(hand.model, objective, Buckets(samples).in_order(100), words, 0)
    assert count == 3
    assert [one.metric for one in found] == ["perplexity"]
    assert found[0].value == pytest.approx(math.exp(theirs["loss"]), rel=1e-4)
    whole = task.units(list(examples_of([{"text": TEXT * 4}])), hand)
    assert len(whole) > 1
    assert all(len(unit["ids"]) <= 64 for unit in whole)
    assert all(unit["ids"][0] == words.encode("")[0] for unit in whole)


def test_a_text_without_a_token(hand):
    with pytest.raises(DataError, match="example 0: a text without a token"):
        measure(task_of(hand.model, measures=True), list(examples_of([{"text": ""}])), hand)
    with pytest.raises(DataError, match="no examples to measure with"):
        measure(task_of(hand.model, measures=True), [], hand)
