from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from glassformer.data.text import Document
from glassformer.data.tokens import encode_stream
from glassformer.tokenizers.kinds import byte_tokenizer, character_tokenizer
from glassformer.train.evaluate import Measure, byte_lengths, measure, measure_all
from glassformer.train.sample import continue_tokens, prompt_of, sample_text
from tests.train import tiny


def stream_of(*texts, tokenizer=None):
    return encode_stream([Document(str(n), text) for n, text in enumerate(texts)], tokenizer or byte_tokenizer())


class Counting(nn.Module):
    """Says that the next token is the last one plus one, with the same confidence always, and remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, tokens):
        self.seen.append(tokens)
        return nn.functional.one_hot((tokens + 1) % 257, 257) * 3.0


RIGHT = -math.log(math.exp(3) / (math.exp(3) + 256))
WRONG = -math.log(1 / (math.exp(3) + 256))


def nats_of(stream):
    ids = [int(stream.ids[-1]), *stream.ids.tolist()]
    return sum(RIGHT if after == (before + 1) % 257 else WRONG for before, after in pairwise(ids))


@pytest.mark.parametrize("context", [1, 3, 8, 100])
@pytest.mark.parametrize("stride", [None, 1, 2])
@pytest.mark.parametrize("batch_tokens", [1, 20, 1000])
def test_every_token_is_predicted_once_from_the_context_it_may_see(context, stride, batch_tokens):
    if stride is not None and stride > context:
        stride = context
    stream = stream_of("abcdefgh", "xyz", "aaab")
    model = Counting()
    lengths = byte_lengths(byte_tokenizer())
    found = measure(model, stream, lengths, context=context, stride=stride, batch_tokens=batch_tokens)
    assert found.tokens == len(stream) == 18
    assert found.nats == pytest.approx(nats_of(stream), rel=1e-5)
    assert found.bytes == stream.text_bytes == 18
    assert found.loss == pytest.approx(found.nats / 18)
    assert found.bits_per_byte == pytest.approx(found.loss / math.log(2))
    assert max(tokens.shape[1] for tokens in model.seen) <= context


def test_a_stride_gives_more_context():
    """With a real model and its positions: what is predicted from more is the same as from a longer window."""
    model, stream = tiny.model(), stream_of(tiny.TEXT[:60])
    lengths = byte_lengths(byte_tokenizer())
    found = measure(model, stream, lengths, context=16, stride=4)
    ids = torch.tensor([int(stream.ids[-1]), *stream.ids.tolist()])
    nats = 0.0
    with torch.no_grad():
        for begin in range(0, len(stream), 4):
            end = min(begin + 4, len(stream))
            first = max(0, end - 16)
            logits = model(ids[None, first:end])[0, begin - first - end + first or None :]
            nats += float(
                nn.functional.cross_entropy(logits[-(end - begin) :], ids[begin + 1 : end + 1], reduction="sum")
            )
    assert found.nats == pytest.approx(nats, rel=1e-5)


def test_a_part_of_the_text_is_spread_over_all_of_it():
    stream = stream_of("".join(chr(33 + number // 11) for number in range(990)))
    model = Counting()
    found = measure(model, stream, byte_lengths(byte_tokenizer()), context=10, most_tokens=100)
    assert found.tokens == 100
    assert found.bytes == 100
    firsts = torch.cat([tokens[:, 1] for tokens in model.seen])
    assert len(firsts.unique()) > 5
    everything = measure(model, stream, byte_lengths(byte_tokenizer()), context=10, most_tokens=10_000)
    assert everything.tokens == len(stream)


def test_bytes_are_those_of_the_text_whatever_the_tokenizer_drops():
    tokenizer = character_tokenizer(["abc"])
    lengths = byte_lengths(tokenizer)
    assert lengths.tolist() == [1, 0, 1, 1, 1]
    stream = stream_of("aébc", tokenizer=tokenizer)
    assert stream.text_bytes == 6
    model = nn.Sequential(nn.Embedding(5, 5))
    found = measure(model, stream, lengths, context=4)
    assert found.tokens == 5
    assert found.bytes == pytest.approx(6)


def test_several_streams_share_what_is_looked_at():
    streams = {"long": stream_of("a" * 299), "short": stream_of("b" * 99)}
    found = measure_all(Counting(), streams, byte_lengths(byte_tokenizer()), context=10, most_tokens=100)
    assert (found["long"].tokens, found["short"].tokens) == (70, 20)
    together = found["long"] + found["short"]
    assert together.tokens == 90
    assert together.to_json() == {
        "loss": pytest.approx(together.nats / 90),
        "bits_per_byte": pytest.approx(together.nats / 90 / math.log(2)),
        "tokens": 90,
    }
    whole = measure_all(Counting(), streams, byte_lengths(byte_tokenizer()), context=10)
    assert whole["short"].tokens == 100
    assert Measure(0.0, 0, 0.0) + whole["short"] == whole["short"]


def test_measuring_leaves_a_model_as_it_was():
    model = tiny.model().train()
    model.set_dropout(residual=0.9)
    lengths, stream = byte_lengths(byte_tokenizer()), stream_of(tiny.TEXT[:100])
    assert measure(model, stream, lengths, context=8) == measure(model, stream, lengths, context=8)
    assert model.training
    assert measure(model.eval(), stream, lengths, context=8).nats > 0
    assert not model.training


def test_a_sample_is_drawn_from_its_own_generator():
    model, stream = tiny.model(), stream_of("first document", "second one")
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    found = continue_tokens(model, [1, 2], count=5, context=4, vocab_size=257, seed=1)
    assert found == continue_tokens(model, [1, 2], count=5, context=4, vocab_size=257, seed=1)
    assert found != continue_tokens(model, [1, 2], count=5, context=4, vocab_size=257, seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len(found) == 5
    assert bytes(prompt_of(stream, 1)) == b"second o"
    prompt, text = sample_text(model, byte_tokenizer(), stream, turn=2, context=8, count=4)
    assert prompt == "first do"
    assert isinstance(text, str)


def test_samples_keep_to_the_tokenizer_where_the_model_has_more_rows():
    model = nn.Sequential(nn.Embedding(50, 50))
    nn.init.zeros_(model[0].weight)
    found = continue_tokens(model, [1], count=200, context=4, vocab_size=3, seed=0)
    assert set(found) == {0, 1, 2}
    assert np.mean(found) > 0
