"""Traces: every value can be read and differentiated by, reading changes nothing, and nothing is silent."""

from __future__ import annotations

import pytest
import torch

from glassformer.inside.trace import gradient
from tests.builders import ALL, DECODERS, bert_like, gpt_like, lively, llama_like, random_tokens, run, t5_like

TOKENS = random_tokens(3, 8)
VALID = {
    "whole": None,
    "left": torch.arange(8) >= torch.tensor([[3], [0], [5]]),
    "right": torch.arange(8) < torch.tensor([[5], [8], [3]]),
}


def read_all(model, tokens=TOKENS, valid=None, **selection):
    with model.trace() as trace:
        trace.read("**", **selection)
        logits = run(model, tokens, valid=valid)
    return logits, trace.values()


@pytest.fixture(scope="module")
def model():
    return lively(gpt_like())


# Reading


@pytest.mark.parametrize("side", VALID)
@pytest.mark.parametrize("name", ALL)
def test_reading_everything_changes_nothing_bit_for_bit(name, side):
    model = lively(ALL[name]())
    clean = run(model, TOKENS, valid=VALID[side])
    logits, values = read_all(model, valid=VALID[side])
    assert torch.equal(logits, clean) and torch.equal(values["logits"], clean)
    assert list(values) == list(model.value_names())
    assert all(
        value.ndim == len(axes.split())
        for value, axes in zip(values.values(), model.value_names().values(), strict=True)
    )


@pytest.mark.parametrize("side", VALID)
@pytest.mark.parametrize("name", ALL)
def test_inner_values_are_those_of_the_fused_operations(name, side):
    model = lively(ALL[name]())
    _, values = read_all(model, valid=VALID[side])
    patterns = [address.removesuffix(".pattern") for address in values if address.endswith(".pattern")]
    assert len(patterns) >= 2
    for at in patterns:
        pattern, value = values[f"{at}.pattern"], values[f"{at}.value"]
        heads = pattern @ value.repeat_interleave(pattern.shape[1] // value.shape[1], 1)
        real = (
            torch.ones_like(TOKENS, dtype=torch.bool)
            if VALID[side] is None or at.startswith("encoder")
            else VALID[side]
        )
        for got, expected in ((heads, values[f"{at}.heads"]), (values[f"{at}.head_outputs"].sum(1), None)):
            bias = model.get_submodule(at).o_proj.bias
            expected = values[f"{at}.output"] - (0 if bias is None else bias) if expected is None else expected
            if got.shape[-2] == 8:  # a source has 9 tokens
                mask = real[:, None, :, None] if got.ndim == 4 else real[..., None]
                got, expected = got * mask, expected * mask
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        seen = pattern.sum(-1)
        torch.testing.assert_close(seen, (seen > 0.5).float())


def test_scales_are_what_norms_multiply_by():
    for config in (gpt_like(), llama_like()):
        model = lively(config)
        _, values = read_all(model)
        at, norm = "decoder.blocks.1.attention_norm.before", model.decoder.blocks[1].attention_norm.before
        x = values["decoder.blocks.1.input"]
        x = x - x.mean(-1, keepdim=True) if norm.bias is not None else x
        scaled = x * values[f"{at}.scale"][..., None] * norm.weight + (0 if norm.bias is None else norm.bias)
        torch.testing.assert_close(scaled, values[f"{at}.output"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DECODERS)
def test_only_what_is_asked_for_is_computed(name):
    model = lively(DECODERS[name]())
    heads = model.decoder.blocks[0].attention.n_heads
    _, full = read_all(model)
    for read in ("scores", "pattern"):
        with model.trace() as trace:
            trace.read(f"blocks.*.attention.{read}", head=[heads - 1, 0], query=[-1, 2])
            model(TOKENS)
        for layer in (0, 1):
            at = f"decoder.blocks.{layer}.attention.{read}"
            assert trace.reads[at].value.shape == (3, 2, 2, 8)  # what was computed, before any selection
            torch.testing.assert_close(trace[at], full[at][:, [heads - 1, 0]][:, :, [7, 2]])


def test_a_named_value_is_what_a_trace_reads(model):
    _, values = read_all(model)
    assert torch.equal(model.named_value("blocks.1.middle", TOKENS), values["decoder.blocks.1.middle"])
    pair = lively(t5_like())
    value = pair.named_value("decoder.blocks.0.cross_attention.pattern", TOKENS, target=TOKENS[:, :5])
    assert value.shape == (3, 4, 5, 8)


def test_a_read_keeps_the_value_of_the_last_forward(model):
    with model.trace() as trace:
        trace.read("blocks.0.output")
        model(TOKENS)
        first = trace["blocks.0.output"]
        model(TOKENS[:1])
    assert first.shape[0] == 3 and trace["blocks.0.output"].shape[0] == 1


def test_a_later_read_of_the_same_value_takes_its_place(model):
    with model.trace() as trace:
        trace.read("blocks.0.attention.pattern", head=1)
        trace.read("blocks.0.attention.pattern", query=-1)
        model(TOKENS)
    assert trace["blocks.0.attention.pattern"].shape == (3, 4, 1, 8)


def test_a_partial_read_stays_right_when_an_edit_takes_the_explicit_path(model):
    at = "blocks.0.attention.pattern"
    with model.trace() as trace:
        trace.read(at, head=[2, 1], query=-1)
        model(TOKENS)
        alone = trace[at]
        trace.scale(at, 1.0, head=0)
        model(TOKENS)
        beside = trace[at]
    assert alone.shape == beside.shape == (3, 2, 1, 8)
    torch.testing.assert_close(alone, beside)


def test_reading_before_and_after_an_edit(model):
    with model.trace() as trace:
        trace.read("blocks.0.output")
        before = trace.reads["decoder.blocks.0.output"]
        trace.scale("blocks.0.output", 2.0)
        trace.read("blocks.0.output")
        model(TOKENS)
    torch.testing.assert_close(trace["blocks.0.output"], 2 * before.result())


# Being gone


@pytest.mark.parametrize("failing", [False, True])
def test_nothing_is_left_behind(model, failing):
    clean = model(TOKENS)
    with pytest.raises(ZeroDivisionError) if failing else torch.no_grad(), model.trace() as trace:
        trace.zero("**.pattern")
        trace.read("**")
        model(TOKENS)
        if failing:
            raise ZeroDivisionError
    assert not any({"taps", "frame"} & part.__dict__.keys() for part in model.modules())
    assert torch.equal(model(TOKENS), clean)


def test_a_failure_inside_is_not_hidden_by_what_did_not_fire(model):
    with pytest.raises(ZeroDivisionError), model.trace() as trace:
        trace.read("blocks.0.output")
        raise ZeroDivisionError


def test_traces_nest(model):
    clean = model(TOKENS)
    with model.trace() as outer:
        outer.scale("blocks.0.output", 2.0, position=3)
        outer.read("blocks.1.output", position=3)
        doubled = model(TOKENS)
        with model.trace() as inner:
            inner.read("blocks.0.output", position=[3, 4])
            inner.zero("blocks.0.output", position=4)
            inner.read("logits")
            both = model(TOKENS)
        assert torch.equal(inner["logits"], both) and not torch.equal(both, doubled)
        assert torch.equal(model(TOKENS), doubled)
    plain = read_all(model)[1]["decoder.blocks.0.output"]
    torch.testing.assert_close(inner["blocks.0.output"][:, 0], 2 * plain[:, 3])  # the outer edit comes first
    assert torch.equal(model(TOKENS), clean)


# Gradients


@pytest.mark.parametrize("name", ALL)
def test_gradients_equal_those_that_torch_retains(name):
    model, kept = lively(ALL[name]()), {}
    stack = "encoder" if model.decoder is None else "decoder"
    for layer, block in enumerate(getattr(model, stack).blocks):
        block.register_forward_hook(lambda _, __, out, layer=layer: kept.setdefault(layer, out).retain_grad())
    run(model, TOKENS)[:, -1].square().sum().backward()
    for block in getattr(model, stack).blocks:
        block._forward_hooks.clear()
    with model.trace() as trace:
        trace.gradient(f"{stack}.blocks.*.output")
        scalar = run(model, TOKENS)[:, -1].square().sum()
    found = trace.gradients(scalar)
    assert list(found) == [f"{stack}.blocks.{layer}.output" for layer in kept]
    for layer, value in kept.items():
        torch.testing.assert_close(found[f"{stack}.blocks.{layer}.output"], value.grad, rtol=1e-5, atol=1e-6)


def test_gradients_of_inner_values_are_finite_differences():
    model = lively(gpt_like()).double()

    def loss(step=0.0, at="blocks.1.attention.pattern", **where):
        with torch.no_grad(), model.trace() as trace:
            trace.add(at, step, **where)
            return model(TOKENS)[:, -1].square().sum()

    for at, where in (
        ("blocks.1.attention.pattern", {"batch": 1, "head": 2, "query": 7, "key": 4}),
        ("blocks.0.attention.scores", {"batch": 0, "head": 0, "query": 6, "key": 6}),
        ("blocks.0.attention.head_outputs", {"batch": 2, "head": 3, "query": 5, "model": 9}),
        ("blocks.1.feed_forward_norm.before.scale", {"batch": 2, "position": 7}),
    ):
        found = gradient(model, TOKENS, at, of=lambda logits: logits[:, -1].square().sum())[f"decoder.{at}"]
        numeric = (loss(1e-5, at, **where) - loss(-1e-5, at, **where)) / 2e-5
        torch.testing.assert_close(found[tuple(where.values())], numeric, rtol=1e-5, atol=1e-7)
        assert found[tuple(where.values())].abs() > 1e-6


def test_gradients_see_what_other_edits_do(model):
    with model.trace() as trace:
        trace.gradient("blocks.0.output")
        trace.zero("blocks.0.output", position=3)
        scalar = model(TOKENS)[:, -1].sum()
    (found,) = trace.gradients(scalar).values()
    assert not found[:, 3].any() and found[:, 2].any()


def test_a_value_that_was_read_in_eager_can_be_differentiated_by(model):
    with model.trace() as trace:
        trace.read("blocks.0.output")
        scalar = model(TOKENS)[:, -1].sum()
    (found,) = torch.autograd.grad(scalar, trace["blocks.0.output"])
    expected = gradient(model, TOKENS, "blocks.0.output", of=lambda logits: logits[:, -1].sum())
    torch.testing.assert_close(found, expected["decoder.blocks.0.output"])


def test_an_encoder_is_traced_alike():
    model = lively(bert_like())
    with model.trace() as trace:
        trace.read("blocks.*.attention.pattern", head=2, query=[0, -1])
        trace.read("pooler.output")
        trace.add("embedding.norm.output", 1.0, position=2)
        model(TOKENS, valid=VALID["left"])
    assert trace["blocks.1.attention.pattern"].shape == (3, 1, 2, 8) and trace["pooler.output"].shape == (3, 32)
