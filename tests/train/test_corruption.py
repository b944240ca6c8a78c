"""Objectives that change a text: lengths of T5's formula, nothing lost or doubled, the same for a sample anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glassformer.core.errors import ConfigError, UnsupportedError
from glassformer.data.batch import IGNORED, collate
from glassformer.data.examples import Example
from glassformer.tokenizers.kinds import byte_tokenizer, train_sequences, train_wordpiece
from glassformer.tokenizers.tokenizer import Tokenizer
from glassformer.train.objective import Reading
from glassformer.train.objectives._noise import Framed, frame_ids
from glassformer.train.objectives.denoising import DenoisingConfig, _poisson
from glassformer.train.objectives.fill_in_the_middle import FillInTheMiddleConfig
from glassformer.train.objectives.prefix import PrefixConfig
from glassformer.train.objectives.span_corruption import SpanCorruptionConfig
from glassformer.train.presets import gpt, t5
from glassformer.train.task_data import gather, prepare, special_tokens
from tests.train.test_objectives import EXTRA, batch_of, task, with_tokens

TEXT = "one two three. four five six seven! eight nine ten eleven twelve? " * 4


def made(objective, texts, form=t5, reach=None, extra=((), {})):
    tokenizer = with_tokens(train_sequences(texts, 300), list(extra[0]), extra[1])
    model = form(tokenizer.vocab_size, 512, d_model=16, n_layers=1, n_heads=2).build()
    model.special = special_tokens(tokenizer, writes=form is t5)
    rows = [{"text": text} for text in texts]
    return tokenizer, prepare(objective, gather(rows, rows[:1]), model, tokenizer, max_tokens=reach)


def drawn(objective, tokenizer, data, seed=0):
    batch, _ = data.sampler.draw((0,), 10**6, 1)
    return batch, objective.prepare(batch, tokenizer, seed)


def real(tokens, valid, row):
    return tokens[row].tolist() if valid is None else tokens[row][valid[row]].tolist()


# -- span corruption ---------------------------------------------------------------------------------------------------


def t5_lengths(inputs: int, density: float, mean: float) -> tuple[int, int]:
    """``random_spans_helper`` of T5: tokens before, and tokens of the target, for sources of so many tokens."""

    def after(length: int) -> tuple[int, int]:
        noise = round(length * density)
        spans = round(noise / mean)
        return length - noise + spans + 1, noise + spans + 1

    length = inputs
    while after(length + 1)[0] <= inputs:
        length += 1
    return length, after(length)[1]


@pytest.mark.parametrize(
    ("inputs", "density", "mean"), [(512, 0.15, 3.0), (128, 0.15, 3.0), (512, 0.5, 3.0), (256, 0.3, 8)]
)
def test_lengths_are_those_of_t5(inputs, density, mean):
    objective = SpanCorruptionConfig(density=density, mean=mean)
    length, targets = t5_lengths(inputs, density, mean)
    if targets > inputs:  # T5 takes one token less then
        length, targets = length - 1, targets - 1
    assert objective.longest(inputs - 1) == length
    assert [one + 1 for one in objective.lengths(length)][1] == targets


def test_568_tokens_become_512_and_114():
    objective = SpanCorruptionConfig()
    assert objective.longest(511) == 568
    names = [f"<extra_id_{number}>" for number in range(100)]
    plain = with_tokens(train_sequences([TEXT], 300), names, {})
    text = plain.decode(plain.encode(TEXT * 20)[:568])
    tokenizer, data = made(objective, [TEXT, text], reach=512, extra=(names, {}))
    (sample,) = [sample for sample in data.sampler.samples if len(sample.tokens) == 569]
    batch = objective.prepare(collate([sample], numbers=[7]), tokenizer, 0)
    assert batch.tokens.shape[1] == 512 and batch.labels["tokens"].shape[1] == batch.target.tokens.shape[1] == 114


def test_source_and_target_are_the_text_again():
    objective = SpanCorruptionConfig()
    tokenizer, data = made(objective, [TEXT] * 4, extra=([f"<extra_id_{number}>" for number in range(40)], {}))
    plain, batch = drawn(objective, tokenizer, data)
    sentinels = {tokenizer.token_id(f"<extra_id_{number}>") for number in range(40)}
    end = tokenizer.special.end
    for row in range(len(batch)):
        source = real(batch.tokens, batch.valid, row)
        said = [token for token in batch.labels["tokens"][row].tolist() if token != IGNORED]
        given = real(batch.target.tokens, batch.target.valid, row)
        assert given == [tokenizer.special.pad, *said[:-1]] and said[-1] == end and source[-1] == end
        runs, order = {}, []
        for token in said[:-1]:
            if token in sentinels:
                order.append(token)
                runs[token] = []
            else:
                runs[order[-1]].append(token)
        assert order == [tokenizer.token_id(f"<extra_id_{number}>") for number in range(len(order))]
        whole = [one for token in source for one in runs.get(token, [token])]
        before = real(plain.tokens, plain.valid, row)
        assert whole == before and all(runs.values())
        n_tokens = len(before) - 1
        assert (len(source) - 1, len(said) - 1) == objective.lengths(n_tokens)


def test_cut_runs_are_as_long_as_asked_on_average():
    objective = SpanCorruptionConfig()
    rng = np.random.default_rng(0)
    cut = np.array([objective.chosen(512, lambda stream, count: rng.random(count)) for _ in range(200)])
    assert cut.sum(1).tolist() == [77] * 200 and not cut[:, 0].any() and cut[:, -1].all()
    begins = cut[:, 1:] & ~cut[:, :-1]
    assert begins.sum(1).tolist() == [26] * 200
    assert 0.10 < cut[:, 128:384].mean() < 0.20
    lengths = [len(run) for row in cut for run in "".join("x" if one else " " for one in row).split()]
    assert np.mean(lengths) == pytest.approx(77 / 26) and np.std(lengths) > 1.5  # and not all alike


def test_sentinels_of_a_vocabulary_without_them_are_ids_that_the_row_does_not_hold():
    objective = SpanCorruptionConfig()
    tokenizer, data = made(objective, [TEXT] * 2)
    plain, batch = drawn(objective, tokenizer, data)
    known = set(real(plain.tokens, plain.valid, 0))
    new = [token for token in real(batch.tokens, batch.valid, 0) if token not in known]
    assert new == sorted(new, reverse=True) and len(new) == objective.counts(plain.tokens.shape[1] - 1)[1]
    assert new[0] == max(set(range(tokenizer.vocab_size)) - known)


def test_too_few_sentinels_are_refused():
    objective = SpanCorruptionConfig()
    tokenizer, data = made(objective, [TEXT], extra=(["<extra_id_0>"], {}))
    with pytest.raises(UnsupportedError, match="runs in a row · expected 1 or fewer"):
        drawn(objective, tokenizer, data)


# -- all of them -------------------------------------------------------------------------------------------------------

RANDOM = ["span_corruption", "denoising", "prefix", "prefix by an encoder", "fill_in_the_middle"]


@pytest.mark.parametrize("name", RANDOM)
def test_a_sample_is_changed_by_its_number_alone(name):
    objective, model, data = task(name)
    model.config = model.config.replace(max_positions=None)
    rows = [{"text": text} for text in (TEXT, TEXT[10:], TEXT[20:90])]
    data = prepare(objective, gather(rows, rows[:1]), model, data.tokenizer)
    batch, _ = data.sampler.draw((0,), 10_000, 1)
    whole, other = (objective.prepare(batch, data.tokenizer, seed) for seed in (0, 1))
    assert (
        whole.labels["tokens"].tolist() != other.labels["tokens"].tolist()
        or whole.tokens.tolist() != other.tokens.tolist()
    )
    for row in range(len(batch)):
        alone = objective.prepare(batch[row : row + 1], data.tokenizer, 0)
        assert real(alone.tokens, alone.valid, 0) == real(whole.tokens, whole.valid, row)
        said = whole.labels["tokens"][row].tolist()
        assert [token for token in alone.labels["tokens"][0].tolist() if token != IGNORED] == [
            token for token in said if token != IGNORED
        ]
    assert torch.equal(whole.samples, batch.samples)


@pytest.mark.parametrize("name", RANDOM)
def test_a_long_text_is_several_rows_and_no_token_is_lost(name):
    objective, model, data = task(name)
    reading = Reading(data.tokenizer, (), 24, start=model.special.decoder_start, end=data.tokenizer.special.end)
    text = "the cat sat on the mat and it rained all night " * 9
    samples = objective.windows(Example("here", {"text": text}), reading)
    special = data.tokenizer.special_ids
    parts = [token for sample in samples for token in sample.tokens if token not in special]
    assert parts == [t for t in data.tokenizer.encode(text, literal=True) if t not in special] and len(samples) > 3
    batch = prepare(objective, gather([{"text": text}] * 3, [{"text": text}]), model, data.tokenizer, max_tokens=24)
    made_of = batch_of(objective, batch)
    assert made_of.width <= 24


# -- denoising ---------------------------------------------------------------------------------------------------------


def test_a_share_is_hidden_behind_fewer_masks_and_the_target_is_the_text():
    objective = DenoisingConfig(permute=False)
    tokenizer, data = made(objective, [TEXT] * 16, extra=EXTRA["denoising"])
    plain, batch = drawn(objective, tokenizer, data)
    assert torch.equal(batch.target.tokens, plain.target.tokens)
    assert torch.equal(batch.labels["tokens"], plain.labels["tokens"])
    n_tokens, mask = plain.tokens.shape[1] - 1, tokenizer.special.mask
    counts = []
    for row in range(len(batch)):
        source = real(batch.tokens, batch.valid, row)
        kept = [token for token in source if token != mask]
        assert len(kept) - 1 == n_tokens - round(0.3 * n_tokens)
        text = iter(real(plain.tokens, plain.valid, row))
        assert all(token in text for token in kept)  # in the same order
        counts.append(source.count(mask))
    assert 0.3 * n_tokens / 3 * 0.8 < np.mean(counts) < 0.3 * n_tokens / 3 * 1.4


def test_lengths_of_runs_are_distributed_by_poisson():
    found = _poisson(3.0, (np.arange(100_000) + 0.5) / 100_000)
    assert found.mean() == pytest.approx(3.0, abs=1e-3) and found.var() == pytest.approx(3.0, abs=1e-2)
    assert (found == 0).mean() == pytest.approx(np.exp(-3), abs=1e-4)
    torch_says = torch.distributions.Poisson(3.0).log_prob(torch.arange(12.0)).exp().numpy()
    assert np.allclose([(found == count).mean() for count in range(12)], torch_says, atol=2e-5)


def test_runs_sum_to_the_share_and_are_no_more_than_it():
    rng = np.random.default_rng(0)
    for n_tokens in (2, 3, 5, 40, 200):
        for mean in (0.2, 1.0, 3.0):
            lengths = DenoisingConfig(mean=mean).runs(n_tokens, lambda stream, count: rng.random(count))
            budget = max(round(0.3 * n_tokens), 1)
            assert sum(lengths) == budget and len(lengths) <= budget


def test_sentences_change_places_whole():
    objective = DenoisingConfig(rate=0.001)
    tokenizer, data = made(objective, [TEXT.strip()], extra=EXTRA["denoising"])
    plain, batch = drawn(objective, tokenizer, data)
    hidden = DenoisingConfig(rate=0.001, permute=False).prepare(plain, tokenizer, 0)
    before, after = (tokenizer.decode(one.tokens[0].tolist()) for one in (hidden, batch))
    assert before != after and len(before) - len(after) in range(-20, 21)
    words = tokenizer.decode(batch.labels["tokens"][0].tolist())
    assert words == TEXT.strip()
    wholes = {"one two three.", "four five six seven!", "eight nine ten eleven twelve?"}
    assert sum(whole in after for whole in wholes) == 3


def test_a_tokenizer_without_a_mask_is_refused():
    objective = DenoisingConfig()
    tokenizer, data = made(objective, [TEXT])
    with pytest.raises(UnsupportedError, match="denoising · got a tokenizer without a mask token"):
        drawn(objective, tokenizer, data)


# -- prefixes ----------------------------------------------------------------------------------------------------------


def test_only_the_rest_is_learned_and_any_place_divides():
    objective, _, data = task("prefix")
    batch, _ = data.sampler.draw((0,), 10_000, 1)
    firsts = set()
    for seed in range(200):
        found = objective.prepare(batch, data.tokenizer, seed)
        assert torch.equal(found.tokens, batch.tokens)
        row, length = found.labels["tokens"][0], len(real(batch.tokens, batch.valid, 0))
        learned = (row != IGNORED).nonzero()[:, 0].tolist()
        assert learned == list(range(learned[0], length - 1))
        assert row[learned].tolist() == batch.tokens[0, learned[0] + 1 : length].tolist()
        firsts.add(learned[0])
    assert firsts == set(range(length - 1))


def test_an_encoder_reads_the_beginning_and_the_decoder_writes_the_rest():
    objective, _, data = task("prefix by an encoder")
    batch, _ = data.sampler.draw((0,), 10_000, 1)
    found = objective.prepare(batch, data.tokenizer, 0)
    for row in range(len(batch)):
        source = real(found.tokens, found.valid, row)
        said = [token for token in found.labels["tokens"][row].tolist() if token != IGNORED]
        assert [*source[:-1], *said] == real(batch.tokens, batch.valid, row) and source[-1] == said[-1]
        assert real(found.target.tokens, found.target.valid, row) == [data.tokenizer.special.pad, *said[:-1]]


@pytest.mark.parametrize("name", ["prefix", "prefix by an encoder"])
def test_a_prefix_that_is_said_stays_where_it_is(name):
    objective, model, data = task(name)
    rows = [{"prefix": "the cat", "text": " sat on the mat"}, {"prefix": "why", "text": " not"}]
    mine = prepare(objective, gather(rows, rows[:1]), model, data.tokenizer)
    batch = batch_of(objective, mine)
    texts = {
        data.tokenizer.decode([token for token in row.tolist() if token != IGNORED]) for row in batch.labels["tokens"]
    }
    assert texts == {" sat on the mat", " not"}
    assert set(batch.labels) == {"tokens"}


# -- the middle --------------------------------------------------------------------------------------------------------


def test_middles_are_told_last_and_nothing_is_lost():
    objective = FillInTheMiddleConfig()
    tokenizer, data = made(objective, [TEXT] * 64, form=gpt, extra=EXTRA["fill_in_the_middle"])
    plain, batch = drawn(objective, tokenizer, data)
    prefix, suffix, middle = (tokenizer.token_id(f"<|fim_{name}|>") for name in ("prefix", "suffix", "middle"))
    kinds = {"plain": 0, "psm": 0, "spm": 0}
    for row in range(len(batch)):
        told, text = real(batch.tokens, batch.valid, row), real(plain.tokens, plain.valid, row)
        end = told.pop()
        assert end == tokenizer.special.end
        if middle not in told:
            assert told == text[:-1]
            kinds["plain"] += 1
            continue
        assert [token for token in told if token in (prefix, suffix, middle)] == [prefix, suffix, middle]
        one, two, three = (told.index(token) for token in (prefix, suffix, middle))
        first, behind, last = told[one + 1 : two], told[two + 1 : three], told[three + 1 :]
        is_spm = two == 1 and last + behind == text[:-1]
        assert is_spm or first + last + behind == text[:-1]
        kinds["spm" if is_spm else "psm"] += 1
        said = batch.labels["tokens"][row].tolist()
        assert said[: len(told)] == [*told[1:], end]
    assert kinds["plain"] in range(20, 45) and kinds["psm"] in range(8, 25) and kinds["spm"] in range(8, 25)


def test_tokens_that_are_not_there_are_named():
    with pytest.raises(UnsupportedError, match=r"a tokenizer without '<\|fim_prefix\|>' · use .* --set prefix=TOKEN"):
        made(FillInTheMiddleConfig(), [TEXT], form=gpt)
    with pytest.raises(ConfigError, match="three different tokens"):
        FillInTheMiddleConfig(suffix="<|fim_middle|>")


@pytest.mark.parametrize("config", [
    {"density": 0.0}, {"density": 1.0}, {"mean": 0.5}, {"smoothing": 1.0},
])  # fmt: skip
def test_settings_are_checked(config):
    with pytest.raises(ConfigError, match=next(iter(config))):
        SpanCorruptionConfig(**config)


def test_a_decoder_does_not_take_an_encoders_prefix():
    decoder = gpt(300, 64, d_model=16, n_layers=1, n_heads=2)
    with pytest.raises(UnsupportedError, match="a prefix read by an encoder · got a decoder"):
        PrefixConfig(encoder=True).check_model(decoder)


def test_a_character_that_is_not_known_is_text():
    tokenizer = train_wordpiece(["a b c"], 40)
    ids = tokenizer.encode("☃ a b ☃")
    assert ids.count(tokenizer.special.unknown) == 2
    first, last = tokenizer.special.first, tokenizer.special.separator
    assert Framed.of(ids, frame_ids(tokenizer)) == ([first], ids[1:-1], [last])
    ends = byte_tokenizer()
    same = Tokenizer(ends._source, {**ends.settings, "unk_token": "<|endoftext|>"})  # as GPT-2 says it
    assert frame_ids(same) == {ends.special.end}
