"""A cache changes speed, never tokens: every description, every way of cutting a row into steps."""

from __future__ import annotations

import pytest
import torch

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.parts.cache import CrossStore, FullStore, SlidingStore
from glassformer.parts.rotary import DynamicScalingConfig, LongRoPEScalingConfig, RotaryConfig
from tests.builders import DECODERS, PAIRS, bert_like, gpt_like, lively, llama_like, random_tokens, run, sliding_like

LENGTH = 20
CACHED = {**DECODERS, **PAIRS}
CUTS = {
    "one by one": [1] * LENGTH,
    "a prompt, then one by one": [7] + [1] * 13,
    "chunks": [6, 5, 5, 4],
    "long chunks": [3, 17],
    "at once": [LENGTH],
}


@pytest.fixture(params=CACHED)
def model(request):
    return lively(CACHED[request.param]())


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cut", CUTS)
def test_steps_equal_the_whole(model, cut):
    tokens = random_tokens(3, LENGTH)
    cache = model.cache(3, LENGTH)
    steps = [run(model, step, cache=cache) for step in tokens.split(CUTS[cut], 1)]
    same(torch.cat(steps, 1), run(model, tokens))
    assert cache.lengths.tolist() == [LENGTH] * 3
    assert {type(store) for store in cache.stores} <= {FullStore, SlidingStore}


def prompts(side):
    """Prompts of 3, 8 and 5 tokens, padded to 8, and 6 tokens to follow."""
    lengths, follow = [3, 8, 5], random_tokens(3, 6, seed=1)
    valid = torch.arange(8) < torch.tensor(lengths)[:, None]
    valid = valid.flip(1) if side == "left" else valid
    return random_tokens(3, 8), valid, follow


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_prompts_continue_as_each_would_alone(model, side):
    tokens, valid, follow = prompts(side)
    cache = model.cache(3, LENGTH)
    first = run(model, tokens, valid=valid, cache=cache)
    later = torch.cat([run(model, step, cache=cache) for step in follow.split([1, 3, 2], 1)], 1)
    for row in range(3):
        alone = torch.cat((tokens[row][valid[row]], follow[row]))[None]
        expected = run(model, alone, sources=[row])[0]
        same(torch.cat((first[row][valid[row]], later[row])), expected)


def test_rows_may_pause_while_others_go_on(model):
    tokens = random_tokens(2, 12)
    cache, kept = model.cache(2, 16), [[], []]
    taken = [0, 0]
    for counts in ([4, 2], [1, 0], [0, 1], [3, 3], [1, 1], [0, 2], [1, 1]):
        longest = max(counts)
        step = torch.stack([tokens[row, [min(taken[row] + i, 11) for i in range(longest)]] for row in range(2)])
        valid = torch.arange(longest) < torch.tensor(counts)[:, None]
        logits = run(model, step, valid=valid, cache=cache)
        for row, count in enumerate(counts):
            kept[row].append(logits[row, :count])
            taken[row] += count
    for row in range(2):
        same(torch.cat(kept[row]), run(model, tokens[row : row + 1, : taken[row]], sources=[row])[0])
    assert cache.lengths.tolist() == taken == [10, 10]


@pytest.mark.parametrize("side", [None, "left"])
def test_beams_carry_their_past_with_them(model, side):
    tokens, valid, follow = prompts(side)
    valid = valid if side else torch.ones_like(valid)
    cache = model.cache(3, LENGTH)
    run(model, tokens, valid=valid, cache=cache)
    order = [1, 1, 0, 2]  # one row is forked
    cache.reorder(torch.tensor(order))
    follow = random_tokens(4, 6, seed=2)
    later = torch.cat([run(model, step, cache=cache, sources=order) for step in follow.split(2, 1)], 1)
    for row, origin in enumerate(order):
        alone = torch.cat((tokens[origin][valid[origin]], follow[row]))[None]
        same(later[row], run(model, alone, sources=[origin])[0, -6:])


@pytest.mark.parametrize("side", [None, "right"])
def test_a_cropped_cache_has_forgotten(model, side):
    tokens, valid, follow = prompts(side)
    valid = valid if side else torch.ones_like(valid)
    cache = model.cache(3, LENGTH)
    run(model, tokens[:, :4], valid=valid[:, :4], cache=cache)
    cache.crop(3)
    later = torch.cat([run(model, step, cache=cache) for step in follow.split([2, 4], 1)], 1)
    assert cache.lengths.tolist() == [9, 9, 9]
    for row in range(3):
        alone = torch.cat((tokens[row, :3], follow[row]))[None]
        same(later[row], run(model, alone, sources=[row])[0, -6:])


def test_a_crop_that_forgets_nothing_changes_nothing(model):
    tokens = random_tokens(2, 6)
    cache = model.cache(2, LENGTH)
    run(model, tokens[:, :3], cache=cache)
    cache.crop(9)
    same(run(model, tokens[:, 3:], cache=cache), run(model, tokens)[:, 3:])


def test_a_full_sliding_cache_cannot_be_cropped():
    model = lively(sliding_like())
    cache = model.cache(1, LENGTH)
    run(model, random_tokens(1, 6), cache=cache)
    with pytest.raises(UnsupportedError, match=r"a sliding cache cannot be cropped .* compute the row again"):
        cache.crop(2)


def test_a_full_cache_is_an_error_and_keeps_what_it_had(model):
    tokens = random_tokens(2, 9)
    cache = model.cache(2, 8)
    run(model, tokens[:, :6], cache=cache)
    with pytest.raises(UnsupportedError, match="the cache is full · got 9 tokens · expected at most 8"):
        run(model, tokens[:, 6:], cache=cache)
    same(run(model, tokens[:, 6:8], cache=cache), run(model, tokens[:, :8])[:, 6:])


def test_padding_takes_no_room():
    model = lively(gpt_like())
    tokens, valid, follow = prompts("left")
    cache = model.cache(3, 9)
    run(model, tokens, valid=valid, cache=cache)
    run(model, follow[:, :1], cache=cache)
    assert cache.lengths.tolist() == [4, 9, 6]
    with pytest.raises(UnsupportedError, match="the cache is full"):
        run(model, follow[:, 1:2], cache=cache)


def test_a_cache_computes_without_gradients(model):
    assert not run(model, random_tokens(2, 4), cache=model.cache(2)).requires_grad
    assert run(model, random_tokens(2, 4)).requires_grad


def test_the_source_is_read_by_the_first_step_only():
    model = lively(PAIRS["t5"]())
    cache, tokens = model.cache(2), random_tokens(2, 6)
    expected = run(model, tokens)
    run(model, tokens[:, :2], cache=cache)
    assert all(isinstance(store, CrossStore) and store.pair is not None for store in cache.cross_stores)
    other = model(random_tokens(2, 3, seed=9), tokens[:, 2:], cache=cache)
    same(other, expected[:, 2:])


WRONG = {
    "documents": (
        gpt_like,
        {"documents": torch.zeros(2, 4, dtype=torch.int64)},
        UnsupportedError,
        "packed documents have no cache",
    ),
    "rows": (gpt_like, {"rows": 3}, DataError, "rows of tokens · got 3 · expected 2, as the cache has"),
    "a mask of all tokens": (
        gpt_like,
        {"valid": torch.ones(2, 9, dtype=torch.bool)},
        DataError,
        r"valid · got torch\.bool \(2, 9\)",
    ),
    "longer than the table": (
        lambda: gpt_like().replace(max_positions=None),
        {"length": 65},
        DataError,
        "longer than the model · got 65",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_cache_cannot_follow_is_refused(name):
    config, said, kind, message = WRONG[name]
    model = lively(config())
    said = dict(said)
    rows, length = said.pop("rows", 2), said.pop("length", 4)
    with pytest.raises(kind, match=message):
        model(random_tokens(rows, length), cache=model.cache(2, 100), **said)


def test_who_has_no_cache():
    encoder = lively(bert_like())
    with pytest.raises(UnsupportedError, match="an encoder has no cache"):
        encoder.cache(2)
    with pytest.raises(UnsupportedError, match="an encoder has no cache"):
        encoder(random_tokens(2, 4), cache=lively(gpt_like()).cache(2))
    with pytest.raises(UnsupportedError, match="this model has no longest row · say max_positions"):
        lively(llama_like().replace(max_positions=None)).cache(2)


SCALINGS = {
    "dynamic": DynamicScalingConfig(factor=4, original=8),
    "longrope": LongRoPEScalingConfig(short=(1.0,) * 4, long=(3.0, 4.0, 5.0, 6.0), original=8, factor=4),
}


@pytest.mark.parametrize("name", SCALINGS)
def test_frequencies_of_a_row_are_never_mixed(name):
    model = lively(llama_like(positions=RotaryConfig(scaling=SCALINGS[name])))
    tokens, cache = random_tokens(2, 12), model.cache(2)
    steps = [model(step, cache=cache) for step in tokens[:, :8].split(3, 1)]
    same(torch.cat(steps, 1), model(tokens[:, :8]))
    with pytest.raises(
        UnsupportedError, match=r"frequencies change with the row's length · got 9 tokens · expected at most 8"
    ):
        model(tokens[:, 8:9], cache=cache)
    assert cache.lengths.tolist() == [8, 8]
    longer = model.cache(2)
    same(model(tokens[:, :10], cache=longer), model(tokens[:, :10]))
    if name == "longrope":
        same(model(tokens[:, 10:], cache=longer), model(tokens)[:, 10:])


@pytest.mark.parametrize("name", SCALINGS)
def test_a_short_row_beside_a_long_one_is_the_row_alone(name):
    model = lively(llama_like(positions=RotaryConfig(scaling=SCALINGS[name])))
    tokens = random_tokens(2, 20)
    both = model(tokens, lengths=torch.tensor([6, 20]))
    same(both[0, :6], model(tokens[:1, :6])[0])
    same(both[1], model(tokens[1:])[0])
    assert (both[0, :6] - model(tokens[:1])[0, :6]).abs().max() > 1e-3  # the long row turns otherwise


def test_stores_hold_a_window_and_no_more():
    model = lively(DECODERS["mixed"]())
    cache = model.cache(2, 50)
    run(model, random_tokens(2, 30), cache=cache)
    sliding, full = cache.stores
    assert sliding.key.shape == (2, 2, 4 + 1, 8) and full.key.shape == (2, 2, 50 + 1, 8)  # one slot takes the padding
    small = model.cache(2, 3)
    assert {type(store) for store in small.stores} == {FullStore}  # a window that reaches everything
