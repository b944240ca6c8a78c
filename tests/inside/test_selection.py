"""Selections: indices are positions of a row, wherever its padding stands and however a cache has cut it."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from glassformer.core.errors import EditError
from glassformer.inside.selection import Selection, from_json
from glassformer.parts.mask import Places
from glassformer.parts.rows import Frame
from tests.builders import ALL, DECODERS, PAIRS, bert_like, gpt_like, lively, llama_like, random_tokens, run, t5_like

TOKENS = random_tokens(3, 10)
CACHED = {**DECODERS, **PAIRS}

#: A kind of edit, a value, a part of it; each row has at least 7 tokens.
PLACES = {
    "residual": ("scale", "blocks.0.output", {"position": [2, 5]}),
    "stack input": ("scale", "embedding", {"position": 1}),
    "queries": ("scale", "blocks.1.attention.query", {"query": 3, "head": 1}),
    "keys": ("scale", "blocks.0.attention.key", {"key": slice(1, 4)}),
    "values": ("scale", "blocks.1.attention.value", {"key": 2, "kv_head": 0}),
    "edges": ("cut", "blocks.1.attention.pattern", {"query": slice(4, None), "key": [1, 4], "head": [0, 1]}),
    "scores": ("scale", "blocks.0.attention.scores", {"query": 6, "key": [5, 6]}),
    "heads": ("scale", "blocks.1.attention.heads", {"position": slice(None, None, 2)}),
    "each head": ("scale", "blocks.0.attention.head_outputs", {"head": 0, "query": 4}),
    "hidden": ("scale", "blocks.1.feed_forward.hidden", {"position": 5, "hidden": [0, 7]}),
    "scores over the vocabulary": ("scale", "logits", {"position": 4, "vocab": 3}),
    "everywhere": ("noise", "blocks.0.output", {}),
    "some noise": ("noise", "blocks.0.attention.key", {"key": [0, 3]}),
}


@cache
def known(name):
    return lively(ALL[name]())


def edited(model, name, tokens, valid=None, cuts=None, sources=None):
    """Logits with one edit, at once or in steps through a cache."""
    kind, address, selection = PLACES[name]
    address = address if address == "logits" else f"{'encoder' if model.decoder is None else 'decoder'}.{address}"
    numbers = {"scale": (-1.5,), "noise": (0.5,), "cut": ()}[kind]
    with model.trace() as trace:
        getattr(trace, kind)(address, *numbers, **selection)
        if cuts is None:
            return run(model, tokens, valid=valid, sources=sources)
        cache = model.cache(tokens.shape[0])
        return torch.cat([run(model, step, cache=cache, sources=sources) for step in tokens.split(cuts, 1)], 1)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CACHED)
def test_positions_are_absolute_through_a_cache(name, place):
    model = known(name)
    expected = edited(model, place, TOKENS)
    assert (expected - run(model, TOKENS)).abs().max() > 1e-3
    torch.testing.assert_close(edited(model, place, TOKENS, cuts=[3, 1, 4, 1, 1]), expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ALL)
def test_positions_are_those_of_the_row_alone(name, place):
    model, left = known(name), torch.arange(10) >= torch.tensor([[3], [0]])
    for valid in (left, left.flip(1)):
        together = edited(model, place, TOKENS[:2], valid)
        alone = edited(model, place, TOKENS[:1, valid[0]])
        torch.testing.assert_close(together[0, valid[0]], alone[0], rtol=1e-4, atol=2e-4)


def test_negative_positions_count_from_the_newest_token_of_each_row():
    model, valid = lively(llama_like()), torch.arange(10) < torch.tensor([[4], [10], [7]])
    with model.trace() as trace:
        trace.read("blocks.0.output", position=[-1, -4])
        trace.read("blocks.0.attention.pattern", query=-1, key=[-2, 0])
        trace.read("blocks.1.attention.key", key=-1)
        model(TOKENS, valid=valid)
    full = {address: model.named_value(address, TOKENS, valid=valid) for address in trace.reads}
    for row, length in enumerate((4, 10, 7)):
        outputs, patterns, keys = (trace[address][row] for address in trace.reads)
        whole, pattern, key = (value[row] for value in full.values())
        assert torch.equal(outputs, whole[[length - 1, length - 4]])
        torch.testing.assert_close(patterns, pattern[:, [length - 1]][..., [length - 2, 0]])
        assert torch.equal(keys, key[:, [length - 1]])


def test_a_negative_position_beyond_the_row_is_none_of_its_padding():
    model, valid = lively(gpt_like()), torch.arange(10) >= torch.tensor([[7], [0], [2]])
    with model.trace() as trace:
        trace.zero("blocks.0.output", position=-4)
        trace.read("blocks.0.output")
        model(TOKENS, valid=valid)
    zeros = (trace["blocks.0.output"] == 0).all(-1).nonzero().tolist()
    assert zeros == [[1, 6], [2, 6]]  # the first row has three tokens


@pytest.mark.parametrize("name", ["llama", "sliding"])
def test_in_steps_the_newest_key_is_the_rows_own(name):
    model = lively(DECODERS[name]())
    cache = model.cache(2)
    tokens, valid = random_tokens(2, 8), torch.arange(8) < torch.tensor([[8], [3]])
    model(tokens, valid=valid, cache=cache)
    with model.trace() as trace:
        trace.set("blocks.0.attention.scores", 50.0, key=-1)
        trace.read("blocks.0.attention.pattern")
        model(random_tokens(2, 1, seed=3), cache=cache)
    newest = trace["blocks.0.attention.pattern"][:, :, 0].argmax(-1)
    slots = {"llama": [8, 3], "sliding": [8 % 5, 3]}[name]
    assert newest.tolist() == [[slots[0]] * 4, [slots[1]] * 4]


def test_a_memory_has_positions_of_its_own():
    model = lively(t5_like())
    source, target, valid = random_tokens(2, 9), random_tokens(2, 4), torch.arange(9) < torch.tensor([[9], [5]])
    at = "decoder.blocks.0.cross_attention"
    with model.trace() as trace:
        trace.cut(f"{at}.pattern", key=-1)
        trace.read(f"{at}.pattern")
        trace.read(f"{at}.key", key=-1)
        model(source, target, source_valid=valid)
    pattern = trace[f"{at}.pattern"]
    assert not pattern[0, ..., 8].any() and not pattern[1, ..., 4].any()
    assert pattern[0, ..., 4].all() and pattern[1, ..., 3].all()
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 4, 4))
    whole = model.named_value(f"{at}.key", source, target=target, source_valid=valid)
    assert torch.equal(trace[f"{at}.key"][1], whole[1, :, [4]])


def test_values_before_the_stack_know_their_positions():
    model, valid = lively(bert_like()), torch.arange(10) >= torch.tensor([[3], [0], [5]])
    for said, places in (({"valid": valid}, [4, 1, 6]), ({}, [1, 1, 1])):  # the second must not see those of the first
        with model.trace() as trace:
            trace.zero("embedding.norm.output", position=1)
            trace.read("embedding.norm.output")
            model(TOKENS, **said)
        assert (trace["embedding.norm.output"] == 0).all(-1).nonzero()[:, 1].tolist() == places


def test_rows_of_a_batch_carry_edits_of_their_own():
    model = lively(gpt_like())
    same = TOKENS[:1].expand(3, -1)

    def with_edits(tokens, *edits):
        with model.trace() as trace:
            for factor, selection in edits:
                trace.scale("blocks.0.attention.heads", factor, **selection)
            return model(tokens)

    one, other = (0.0, {"head": 1, "query": slice(2, None)}), (3.0, {"head": [0, 2]})
    together = with_edits(same, (one[0], {**one[1], "batch": 0}), (other[0], {**other[1], "batch": -1}))
    torch.testing.assert_close(together[0], with_edits(TOKENS[:1], one)[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[1], model(TOKENS[:1])[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together[2], with_edits(TOKENS[:1], other)[0], rtol=1e-4, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-2 < (together[1] - together[2]).abs().max()


@pytest.mark.parametrize("address", ["blocks.0.attention.heads", "blocks.0.attention.pattern"])
def test_a_read_keeps_the_order_in_which_it_was_asked(address):
    model = lively(gpt_like())
    with model.trace() as trace:
        trace.read(address, head=[3, 0], query=[-1, 2, 5], batch=[2, 0])
        model(TOKENS)
    whole = model.named_value(address, TOKENS)
    torch.testing.assert_close(trace[address], whole[[2, 0]][:, [3, 0]][:, :, [9, 2, 5]])


@pytest.mark.parametrize("index", [3, [3], torch.tensor(3), torch.tensor([3]), slice(3, 4), -1, slice(-1, None)])
def test_one_head_can_be_said_in_many_ways(index):
    selection = Selection({"head": index}, Frame())
    value = torch.arange(8.0).reshape(1, 4, 2, 1)
    expected = torch.tensor([False, False, False, True]).reshape(1, 4, 1, 1)
    assert torch.equal(selection.mask(value, "batch head query head_dim", None), expected)
    assert torch.equal(selection.take(value, "batch head query head_dim", None), value[:, 3:])
    assert not selection.missed() and selection
    again = Selection(from_json(selection.to_json()), Frame())
    assert torch.equal(again.mask(value, "batch head query head_dim", None), expected)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(None), [0, 1, 2, 3, 4, 5]),
        (slice(1, 4), [1, 2, 3]),
        (slice(1, None, 2), [1, 3, 5]),
        (slice(-2, None), [4, 5]),
        (slice(None, -4), [0, 1]),
        (slice(-99, 2), [0, 1]),
        ([0, -1], [0, 5]),
    ],
)
def test_slices_are_those_of_python(index, expected):
    places = Places.run(6)
    mask = Selection({"query": index}, Frame()).mask(torch.zeros(1, 1, 6, 6), "batch head query key", places)
    assert mask.flatten().nonzero()[:, 0].tolist() == expected


def test_no_selection_is_everything():
    selection = Selection({}, Frame())
    assert not selection and selection.mask(torch.zeros(2, 3), "batch model", None) is None


@pytest.mark.parametrize(
    "index", ["3", {"start": 1}, {"start": 1.5, "stop": None, "step": None}, [], [1.5], [True], True, None]
)
def test_a_selection_of_a_file_is_whole_numbers_or_a_slice(index):
    with pytest.raises(
        EditError, match=r"head: a selection · got .* expected a number, a list of numbers or start/stop/step"
    ):
        from_json({"head": index})


def test_positions_that_are_not_known_are_an_error():
    with pytest.raises(EditError, match="positions are not known here · got axis 'position'"):
        Selection({"position": 1}, Frame()).mask(torch.zeros(1, 2, 3), "batch position model", None)
