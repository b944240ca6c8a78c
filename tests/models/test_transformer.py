"""The Transformer in its three forms: each row gets the result of the row alone, and wrong input is one clear error."""

from __future__ import annotations

import copy

import pytest
import torch

from glassformer.checkpoints.folder import load
from glassformer.core.errors import ConfigError, DataError, UnsupportedError
from glassformer.data.batch import Batch
from glassformer.models.transformer import SpecialTokens, TransformerConfig
from glassformer.parts.dropout import Dropout
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.head import (
    ClassifyHeadConfig,
    NextSentenceHeadConfig,
    PoolerConfig,
    PretrainHeadConfig,
    TokenHeadConfig,
)
from glassformer.parts.kernels import folded
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.positions import ALiBiConfig, LearnedPositionsConfig, RelativeBucketsConfig, SinusoidalConfig
from glassformer.parts.rotary import DynamicScalingConfig, RotaryConfig
from tests.builders import (
    ALL,
    DECODERS,
    PAIRS,
    VOCAB,
    bert_like,
    gpt_like,
    lively,
    llama_like,
    random_tokens,
    run,
    sliding_like,
    t5_like,
    translator_like,
)

ROWS = {**DECODERS, "bert": bert_like}


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


# Positions


def encoder(**positions):
    """An encoder whose only positions are the given ones."""
    block = bert_like().encoder.blocks[0]
    inner = {"embedding": positions.pop("embedding", None)}
    stack = {"positions": positions.pop("scores", None)}
    block = block.replace(attention=block.attention.replace(**positions))
    return TransformerConfig(
        d_model=32,
        vocab_size=VOCAB,
        embedding=EmbeddingConfig(positions=inner["embedding"]),
        encoder=bert_like().encoder.replace(blocks=(block,) * 2, **stack),
    )


POSITIONS = {
    "learned": {"embedding": LearnedPositionsConfig(max_positions=16)},
    "sinusoidal": {"embedding": SinusoidalConfig()},
    "rotary": {"positions": RotaryConfig()},
    "partly rotary": {"positions": RotaryConfig(dim=2, interleaved=True)},
    "alibi": {"scores": ALiBiConfig()},
    "buckets": {"scores": RelativeBucketsConfig(n_buckets=8, max_distance=16)},
    "a window": {"window": 3},
}


def moved_by(config):
    """How far the hidden states of permuted tokens are from the permuted hidden states."""
    model, tokens = lively(config), random_tokens(2, 9)
    order = torch.tensor([4, 0, 8, 2, 6, 1, 3, 7, 5])
    return (model(tokens[:, order]) - model(tokens)[:, order]).abs().max()


def test_without_positions_an_encoder_does_not_know_the_order():
    assert moved_by(encoder()) < 1e-5


@pytest.mark.parametrize("name", POSITIONS)
def test_with_positions_it_does(name):
    assert moved_by(encoder(**POSITIONS[name])) > 0.05


# Rows


@pytest.mark.parametrize("name", [*DECODERS, *PAIRS])
def test_no_token_sees_a_later_one(name):
    model, tokens = lively(ALL[name]()), random_tokens(2, 12)
    other = tokens.clone()
    other[:, 7:] = random_tokens(2, 5, seed=9)
    same(run(model, other)[:, :7], run(model, tokens)[:, :7])
    assert (run(model, other)[:, 7:] - run(model, tokens)[:, 7:]).abs().max() > 0.1


@pytest.mark.parametrize("valid", ["########....", "....########", "..########..", "#..........."])
@pytest.mark.parametrize("name", ALL)
def test_a_padded_row_is_the_row_alone(name, valid):
    model, tokens = lively(ALL[name]()), random_tokens(2, 12)
    valid = torch.tensor([[letter == "#" for letter in valid], [True] * 12])
    both = run(model, tokens, valid=valid)
    same(both[0, valid[0]], run(model, tokens[:1, valid[0]], sources=[0])[0])
    same(both[1], run(model, tokens[1:], sources=[1])[0])


@pytest.mark.parametrize("name", ALL)
def test_a_row_of_padding_alone_harms_nobody(name):
    model, tokens = lively(ALL[name]()), random_tokens(2, 6)
    valid = torch.tensor([[False] * 6, [True] * 6])
    both = run(model, tokens, valid=valid)
    same(both[1], run(model, tokens[1:], sources=[1])[0])
    both.square().mean().backward()
    assert both.isfinite().all() and all(w.grad is None or w.grad.isfinite().all() for w in model.parameters())


@pytest.mark.parametrize("name", ROWS)
def test_lengths_are_padding_on_the_right(name):
    model, tokens, lengths = lively(ROWS[name]()), random_tokens(3, 12), torch.tensor([5, 12, 1])
    valid = torch.arange(12) < lengths[:, None]
    assert torch.equal(model(tokens, lengths=lengths), model(tokens, valid=valid))


@pytest.mark.parametrize("name", ROWS)
def test_packed_documents_are_each_alone(name):
    model, tokens = lively(ROWS[name]()), random_tokens(2, 30)
    documents = torch.tensor([[7] * 3 + [2] * 24 + [7] * 3, [0] * 10 + [1] * 18 + [-1] * 2])
    packed = model(tokens, documents=documents)
    for row, start, stop in ((0, 0, 3), (0, 3, 27), (0, 27, 30), (1, 0, 10), (1, 10, 28)):
        same(packed[row, start:stop], model(tokens[row : row + 1, start:stop])[0])


def test_long_rows_of_a_sliding_model_are_folded_and_equal(monkeypatch):
    model, tokens, lengths, fold = lively(sliding_like()), random_tokens(2, 50), [], folded.FoldedAttend.__call__
    monkeypatch.setattr(
        folded.FoldedAttend, "__call__", lambda self, q, *a, **k: lengths.append(q.shape[2]) or fold(self, q, *a, **k)
    )
    valid = torch.ones(2, 50, dtype=torch.bool)
    valid[0, :9] = False
    same(model(tokens, valid=valid)[0, 9:], model(tokens[:1, 9:])[0])
    assert (model(tokens)[0, 49] - model(tokens[:, 1:])[0, 48]).abs().max() < 1e-4  # rotary, and the first token is far
    assert lengths == [50] * 2 + [41] * 2 + [50] * 2 + [49] * 2, "both layers of every forward"


def test_padding_of_the_source_changes_nothing():
    for config in (t5_like(), translator_like()):
        model, target = lively(config), random_tokens(2, 6)
        source, valid = random_tokens(2, 9, seed=1), torch.ones(2, 9, dtype=torch.bool)
        valid[0, :3] = False
        both = model(source, target, source_valid=valid)
        same(both[0], model(source[:1, 3:], target[:1])[0])
        assert torch.equal(both, model(source, target, valid=valid))
        right = model(source, target, lengths=torch.tensor([6, 9]))
        same(right[0], model(source[:1, :6], target[:1])[0])


def test_a_batch_carries_its_padding_and_segments():
    model, tokens = lively(bert_like()), random_tokens(2, 8)
    valid, segments = torch.arange(8) < torch.tensor([[5], [8]]), (torch.arange(8) > 3).long().expand(2, -1)
    expected = model(tokens, valid=valid, segments=segments)
    assert torch.equal(model(Batch(tokens, valid, segments)), expected)
    assert (model(tokens, valid=valid) - expected).abs().max() > 0.1
    pair = lively(t5_like())
    assert torch.equal(pair(Batch(tokens, valid), Batch(tokens)), pair(tokens, tokens, source_valid=valid))


# Heads


def test_hidden_states_come_without_the_head():
    model, tokens = lively(gpt_like()), random_tokens(2, 5)
    hidden = model.hidden(tokens)
    assert hidden.shape == (2, 5, 32) and model.head is not None
    assert torch.equal(model.head(hidden), model(tokens))
    bare = lively(gpt_like().replace(head=None))
    bare.load_state_dict(model.state_dict(), strict=False)
    assert torch.equal(bare(tokens), hidden)


@pytest.mark.parametrize("take", ["first", "last", "mean", "max"])
@pytest.mark.parametrize("form", [gpt_like, bert_like])
def test_a_classifier_sees_each_row_as_it_would_alone(form, take):
    config = form().replace(pooler=PoolerConfig(take=take, activation="tanh"), head=ClassifyHeadConfig(n_labels=3))
    model, tokens = lively(config), random_tokens(2, 8)
    for valid in (torch.arange(8) < torch.tensor([[5], [8]]), torch.arange(8) >= torch.tensor([[3], [0]])):
        both = model(tokens, valid=valid)
        assert both.shape == (2, 3)
        same(both[0], model(tokens[:1, valid[0]])[0])


@pytest.mark.parametrize("head", [NextSentenceHeadConfig(), PretrainHeadConfig(tokens=TokenHeadConfig())])
def test_the_heads_of_berts_pre_training(head):
    model, tokens = lively(bert_like().replace(head=head)), random_tokens(2, 8)
    sentence = model.head if isinstance(head, NextSentenceHeadConfig) else model.head.sentence
    pooled = model.pooler.activation(model.pooler.dense(model.hidden(tokens)[:, 0]))
    name = "logits" if isinstance(head, NextSentenceHeadConfig) else "head.sentence_logits"
    same(model.named_value(name, tokens), pooled @ sentence.proj.weight.T + sentence.proj.bias)


# Dropout


def rates(model):
    return {
        path.removesuffix(".dropout"): part.rate for path, part in model.named_modules() if isinstance(part, Dropout)
    }


@pytest.mark.parametrize("name", ALL)
def test_dropout_is_off_until_it_is_set(name):
    model, tokens = lively(ALL[name]()).train(), random_tokens(2, 6)
    assert set(rates(model).values()) == {0.0}
    assert torch.equal(run(model, tokens), run(model, tokens))
    model.set_dropout(residual=0.3)
    assert not torch.equal(run(model, tokens), run(model, tokens))
    assert torch.equal(run(model.eval(), tokens), run(model, tokens))


@pytest.mark.parametrize("name", [*ALL, "classifier"])
def test_rates_reach_the_parts_that_they_are_of(name):
    classifier = bert_like().replace(pooler=PoolerConfig(), head=ClassifyHeadConfig(n_labels=2))
    model = (classifier if name == "classifier" else ALL[name]()).build()
    model.set_dropout(residual=0.1, attention=0.2, embedding=0.3)
    for path, rate in rates(model).items():
        owner = path.rpartition(".")[2]
        is_embedding, is_attention = owner == "embedding", owner in ("attention", "cross_attention")
        assert rate == (0.3 if is_embedding else 0.2 if is_attention else 0.1), path
    found = set(rates(model).values())
    assert found == {0.1, 0.2, 0.3}
    model.set_dropout()
    assert set(rates(model).values()) == {0.0}


@pytest.mark.parametrize("which", ["residual", "attention", "embedding"])
def test_each_rate_acts(which):
    model, tokens = lively(gpt_like()).train(), random_tokens(2, 6)
    model.set_dropout(**{which: 0.5})
    assert not torch.equal(model(tokens), model(tokens))


# A plain module


@pytest.mark.parametrize("name", ALL)
def test_it_stays_a_plain_module(name):
    model, tokens = lively(ALL[name]()), random_tokens(2, 6)
    copied = copy.deepcopy(model)
    assert torch.equal(run(copied, tokens), run(model, tokens))
    assert not list(model.buffers()), "tables are computed, never saved"
    other = ALL[name]().build(seed=5)
    other.load_state_dict(model.state_dict())
    assert torch.equal(run(other, tokens), run(model, tokens))
    run(model, tokens).square().mean().backward()
    assert all(
        weight.grad is not None and weight.grad.isfinite().all()
        for key, weight in model.named_parameters()
        if "pooler" not in key
    )


def test_two_models_share_nothing():
    config = gpt_like()
    one, other = config.build(), config.build()
    assert one.config is other.config  # frozen, so that is safe
    one.special = SpecialTokens(start=1)
    assert other.special == SpecialTokens() and other.special.end == ()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ALL)
def test_every_type_of_number_works(name, dtype):
    model, tokens = lively(ALL[name]()), random_tokens(2, 6)
    expected, got = run(model, tokens), run(model.to(dtype), tokens)
    assert got.dtype is dtype
    assert (got.float() - expected).abs().mean() < {torch.bfloat16: 0.2, torch.float16: 0.03, torch.float64: 1e-5}[
        dtype
    ]


# Wrong input

TOKENS = random_tokens(2, 6)
WRONG = {
    "floats": (
        gpt_like,
        lambda m: m(TOKENS.float()),
        DataError,
        r"tokens · got torch\.float32 \(2, 6\) · expected int64, batch",
    ),
    "truth": (gpt_like, lambda m: m(TOKENS > 3), DataError, r"tokens · got torch\.bool"),
    "bytes": (gpt_like, lambda m: m(TOKENS.to(torch.uint8)), DataError, r"tokens · got torch\.uint8"),
    "one row": (gpt_like, lambda m: m(TOKENS[0]), DataError, r"tokens · got torch\.int64 \(6,\)"),
    "nothing": (gpt_like, lambda m: m(TOKENS[:, :0]), DataError, r"tokens · got torch\.int64 \(2, 0\)"),
    "too large": (
        gpt_like,
        lambda m: m(TOKENS + VOCAB),
        DataError,
        r"outside of the vocabulary · got \d+ · expected 0 … 60",
    ),
    "negative": (
        gpt_like,
        lambda m: m(TOKENS * 0 - 1),
        DataError,
        r"outside of the vocabulary · got -1 · expected 0 … 60",
    ),
    "too long": (
        gpt_like,
        lambda m: m(random_tokens(1, 65)),
        DataError,
        "a row is longer than the model · got 65 tokens · expected at most 64",
    ),
    "both masks": (
        gpt_like,
        lambda m: m(TOKENS, valid=TOKENS > 0, lengths=torch.tensor([1, 2])),
        DataError,
        "say the same thing",
    ),
    "segments": (gpt_like, lambda m: m(TOKENS, segments=TOKENS), DataError, "this model has no segments"),
    "a target": (gpt_like, lambda m: m(TOKENS, TOKENS), DataError, "target is for an encoder-decoder"),
    "source_valid": (
        gpt_like,
        lambda m: m(TOKENS, source_valid=TOKENS > 0),
        DataError,
        "source_valid is for an encoder-decoder",
    ),
    "target_valid": (
        gpt_like,
        lambda m: m(TOKENS, target_valid=TOKENS > 0),
        DataError,
        "target_valid is for an encoder-decoder",
    ),
    "no target": (
        t5_like,
        lambda m: m(TOKENS),
        DataError,
        r"an encoder-decoder needs a target · call model\(source, target\)",
    ),
    "two masks of the source": (
        t5_like,
        lambda m: m(TOKENS, TOKENS, valid=TOKENS > 0, source_valid=TOKENS > 0),
        DataError,
        "valid and source_valid say",
    ),
    "rows": (
        t5_like,
        lambda m: m(TOKENS, TOKENS[:1]),
        DataError,
        "rows of the target · got 1 · expected 2, as the source has",
    ),
    "segments of a pair": (
        t5_like,
        lambda m: m(TOKENS, TOKENS, segments=TOKENS),
        DataError,
        "this model has no segments",
    ),
    "segments of a target": (
        t5_like,
        lambda m: m(TOKENS, Batch(TOKENS, segments=TOKENS)),
        DataError,
        "segments are for the source of an encoder-decoder",
    ),
    "packed pairs": (
        t5_like,
        lambda m: m(TOKENS, TOKENS, documents=TOKENS),
        UnsupportedError,
        "packed rows of an encoder-decoder",
    ),
    "packed rows of a classifier": (
        lambda: bert_like().replace(head=ClassifyHeadConfig(n_labels=2)),
        lambda m: m(TOKENS, documents=TOKENS),
        UnsupportedError,
        "packed documents have no vector of their row",
    ),
    "packed and growing": (
        lambda: llama_like(positions=RotaryConfig(scaling=DynamicScalingConfig(factor=2, original=4))),
        lambda m: m(TOKENS, documents=TOKENS * 0),
        UnsupportedError,
        "change with a document's length",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_clear_error(name):
    config, call, kind, message = WRONG[name]
    with pytest.raises(kind, match=message) as caught:
        call(config().build())
    assert "\n" not in str(caught.value)


def test_a_decoder_of_its_own_embedding():
    config = t5_like().replace(
        decoder_embedding=EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=64)), head=TokenHeadConfig()
    )
    model = lively(config)
    assert model.head.proj.weight is model.decoder_embedding.tokens.weight is not model.embedding.tokens.weight
    assert model(TOKENS, TOKENS).shape == (2, 6, VOCAB)
    with pytest.raises(DataError, match="a row is longer than the model · got 65 tokens"):
        model(TOKENS, random_tokens(2, 65))


def test_a_decoder_whose_embedding_shares_the_table_of_tokens(tmp_path):
    own = EmbeddingConfig(positions=LearnedPositionsConfig(max_positions=64), norm=LayerNormConfig(), shared=True)
    config = t5_like().replace(decoder_embedding=own, head=TokenHeadConfig())
    model = lively(config)
    assert model.head.proj.weight is model.decoder_embedding.tokens.weight is model.embedding.tokens.weight
    assert "decoder_embedding.tokens.weight" not in dict(model.named_parameters())
    assert TransformerConfig.from_json(config.to_json()) == config
    model.save(tmp_path / "own", family="glassformer")
    again = load(tmp_path / "own")
    assert again.decoder_embedding.tokens.weight is again.embedding.tokens.weight
    same(again(TOKENS, TOKENS), model(TOKENS, TOKENS))
    apart = lively(config.replace(decoder_embedding=own.replace(shared=False)))
    assert again.summary().parameters == model.summary().parameters < apart.summary().parameters


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": EmbeddingConfig(shared=True)}, "it is the target's that can be shared"),
        ({"decoder_embedding": EmbeddingConfig(shared=True, width=8)}, "the width of the table that it shares"),
    ],
)
def test_a_table_that_cannot_be_shared(change, message):
    with pytest.raises(ConfigError, match=message):
        t5_like().replace(**change)
