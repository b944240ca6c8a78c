"""Edits: each kind is what its formula says, and works on what is selected only."""

from __future__ import annotations

import pytest
import torch

from glassformer.core.errors import EditError
from glassformer.inside.selection import Selection
from glassformer.inside.taps import Edit, Tapped
from glassformer.parts.mask import Places
from glassformer.parts.rows import Frame
from tests.builders import (
    ALL,
    bert_like,
    gpt_like,
    lively,
    llama_like,
    parallel_like,
    random_tokens,
    run,
    t5_like,
    translator_like,
)

TOKENS = random_tokens(3, 8)
LEFT = torch.arange(8) >= torch.tensor([[3], [0], [5]])
OUTPUT, PATTERN, HEADS = "blocks.0.output", "blocks.0.attention.pattern", "blocks.1.attention.heads"


@pytest.fixture(scope="module")
def model():
    return lively(gpt_like())


def around(model, address, edit, **rows):
    """A value before and after an edit, and the logits."""
    with model.trace() as trace:
        trace.read(address)
        (read,) = trace.reads.values()
        edit(trace, address)
        trace.read(address)
        logits = model(TOKENS, **rows)
    return read.result(), trace[address], logits


DIRECTION = torch.randn(32, generator=torch.Generator().manual_seed(3))
OTHER = torch.randn(3, 8, 32, generator=torch.Generator().manual_seed(4))


def projected(value):
    along = (value @ DIRECTION / DIRECTION.square().sum())[..., None] * DIRECTION
    return along


FORMULAS = {
    "zero": (lambda t, a, **s: t.zero(a, **s), torch.zeros_like),
    "set": (lambda t, a, **s: t.set(a, 2.5, **s), lambda v: torch.full_like(v, 2.5)),
    "set a vector": (lambda t, a, **s: t.set(a, DIRECTION, **s), lambda v: DIRECTION.expand_as(v)),
    "scale": (lambda t, a, **s: t.scale(a, -0.5, **s), lambda v: v * -0.5),
    "add": (lambda t, a, **s: t.add(a, 1.5, **s), lambda v: v + 1.5),
    "steer": (lambda t, a, **s: t.add(a, DIRECTION, **s), lambda v: v + DIRECTION),
    "mean": (lambda t, a, **s: t.mean(a, **s), lambda v: v.mean((0, 1), keepdim=True).expand_as(v)),
    "patch": (lambda t, a, **s: t.patch(a, OTHER, **s), lambda v: OTHER),
    "copy": (lambda t, a, **s: t.copy(a, OTHER, **s), lambda v: OTHER),
    "project out": (lambda t, a, **s: t.project(a, DIRECTION, **s), lambda v: v - projected(v)),
    "project onto": (lambda t, a, **s: t.project(a, DIRECTION, keep=True, **s), projected),
    "clamp": (lambda t, a, **s: t.clamp(a, -0.3, 0.4, **s), lambda v: v.clamp(-0.3, 0.4)),
    "clamp above": (lambda t, a, **s: t.clamp(a, high=0.4, **s), lambda v: v.clamp(max=0.4)),
    "swap rows": (lambda t, a, **s: t.swap(a, "batch", 0, 2, **s), lambda v: v[[2, 1, 0]]),
    "swap positions": (lambda t, a, **s: t.swap(a, "position", 1, -1, **s), lambda v: v[:, [0, 7, 2, 3, 4, 5, 6, 1]]),
    "call": (lambda t, a, **s: t.call(a, lambda v: v.sin(), **s), torch.sin),
}


@pytest.mark.parametrize("selected", [False, True])
@pytest.mark.parametrize("name", FORMULAS)
def test_each_kind_is_its_formula_on_what_is_selected(name, selected):
    model, (edit, formula) = lively(llama_like()), FORMULAS[name]  # a norm that does not take a mean out again
    selection = {"position": [1, 5], "batch": slice(1, None)} if selected else {}
    before, after, logits = around(model, OUTPUT, lambda t, a: edit(t, a, **selection))
    where = torch.ones(3, 8, 1, dtype=torch.bool)
    if selected:
        where = torch.zeros_like(where)
        where[1:, [1, 5]] = True
    torch.testing.assert_close(after, torch.where(where, formula(before), before))
    assert (logits - model(TOKENS)).abs().max() > 1e-3
    assert torch.equal(before, model.named_value(OUTPUT, TOKENS))


PATTERNS = {
    "cut": (lambda t, a, **s: t.cut(a, **s), lambda v: torch.zeros_like(v)),
    "temper": (lambda t, a, **s: t.temper(a, 0.5, **s), lambda v: v.square() / v.square().sum(-1, keepdim=True)),
    "flatten": (lambda t, a, **s: t.temper(a, 2.0, **s), lambda v: v.sqrt() / v.sqrt().sum(-1, keepdim=True)),
    "freeze": (
        lambda t, a, **s: t.freeze(a, torch.full((3, 4, 8, 8), 0.125), **s),
        lambda v: torch.full_like(v, 0.125),
    ),
}


@pytest.mark.parametrize("selection", [{}, {"head": 2}, {"head": [0, 3], "query": slice(2, 6)}])
@pytest.mark.parametrize("name", PATTERNS)
def test_edits_of_patterns(model, name, selection):
    edit, formula = PATTERNS[name]
    before, after, logits = around(model, PATTERN, lambda t, a: edit(t, a, **selection))
    where = Selection(selection, Frame()).mask(before, "batch head query key", Places.run(8))
    expected = formula(before) if where is None else torch.where(where, formula(before), before)
    torch.testing.assert_close(after, expected)
    assert (logits - model(TOKENS)).abs().max() > 1e-4


def test_what_is_left_of_a_row_sums_to_one_again(model):
    before, after, _ = around(model, PATTERN, lambda t, a: t.cut(a, query=5, key=[2, 3]))
    kept = before[:, :, 5].clone()
    kept[..., [2, 3]] = 0
    torch.testing.assert_close(after[:, :, 5], kept / kept.sum(-1, keepdim=True))
    others = [row for row in range(8) if row != 5]
    assert torch.equal(after[:, :, others], before[:, :, others])
    assert not after[:, :, 5, [2, 3, 6, 7]].any()


def test_a_row_of_which_all_is_cut_gives_zeros(model):
    with model.trace() as trace:
        trace.cut(PATTERN, query=0)
        trace.read("blocks.0.attention.heads")
        logits = model(TOKENS)
    assert not trace["blocks.0.attention.heads"][:, :, 0].any() and logits.isfinite().all()


@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_tempered_patterns_have_finite_gradients(model, temperature):
    with model.trace() as trace:
        trace.temper(PATTERN, temperature)
        trace.gradient("blocks.0.attention.scores")
        scalar = model(TOKENS).square().sum()
    (found,) = trace.gradients(scalar).values()
    assert found.isfinite().all() and found.any()


def test_an_identity_edit_takes_the_explicit_path_and_changes_nothing_that_counts(model):
    for address in (PATTERN, "blocks.0.attention.scores", HEADS, "blocks.1.attention.head_outputs", "norm.scale"):
        _, _, logits = around(model, address, lambda t, a: t.scale(a, 1.0))
        torch.testing.assert_close(logits, model(TOKENS), rtol=1e-4, atol=1e-4)


def test_zeroing_a_head_is_zeroing_its_columns(model):
    _, _, logits = around(model, HEADS, lambda t, a: t.zero(a, head=2))
    other = lively(gpt_like())
    with torch.no_grad():
        other.decoder.blocks[1].attention.o_proj.weight[:, 16:24] = 0
    torch.testing.assert_close(logits, other(TOKENS), rtol=1e-4, atol=1e-4)
    _, _, per_head = around(model, "blocks.1.attention.head_outputs", lambda t, a: t.zero(a, head=2))
    torch.testing.assert_close(per_head, logits, rtol=1e-4, atol=1e-4)


def test_a_whole_patch_restores_the_other_run_exactly(model):
    clean, other = model(TOKENS), random_tokens(3, 8, seed=7)
    value = model.named_value(OUTPUT, TOKENS)
    with model.trace() as trace:
        trace.patch(OUTPUT, value)
        restored = model(other)
    assert torch.equal(restored, clean)


def test_the_mean_is_over_real_tokens(model):
    before, after, _ = around(model, OUTPUT, lambda t, a: t.mean(a), valid=LEFT)
    torch.testing.assert_close(after, before[LEFT].mean(0).expand_as(after))
    before, after, _ = around(model, "blocks.0.attention.value", lambda t, a: t.mean(a), valid=LEFT)
    torch.testing.assert_close(after[0, 1, 0], before.transpose(1, 2)[LEFT][:, 1].mean(0))
    before, after, _ = around(model, PATTERN, lambda t, a: t.mean(a, head=1), valid=LEFT)
    torch.testing.assert_close(after[2, 1, 7], before.transpose(1, 2)[LEFT][:, 1].mean(0))


def test_a_row_that_lacks_a_swapped_position_stays_as_it_is(model):
    before, after, _ = around(model, OUTPUT, lambda t, a: t.swap(a, "position", 0, 4), valid=LEFT)
    assert torch.equal(after[0], before[0][[0, 1, 2, 7, 4, 5, 6, 3]])
    assert torch.equal(after[2], before[2])  # three tokens


def test_noise_depends_on_the_seed_and_the_place_only(model):
    def noise(seed=0, tokens=TOKENS, address=OUTPUT, **rows):
        with model.trace() as trace:
            trace.read(address)
            (read,) = trace.reads.values()
            trace.noise(address, 1.0, seed=seed)
            trace.read(address)
            model(tokens, **rows)
        return trace[address] - read.result()

    drawn = noise()
    torch.testing.assert_close(noise(), drawn)
    torch.testing.assert_close(drawn[0], drawn[1], rtol=1e-4, atol=1e-4)  # rows of a batch are alike
    assert (noise(seed=1) - drawn).abs().mean() > 0.5
    torch.testing.assert_close(noise(tokens=TOKENS[:, :4]), drawn[:, :4], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(noise(valid=LEFT)[0, 3:], drawn[0, :5], rtol=1e-4, atol=1e-4)
    many = noise(tokens=random_tokens(1, 60))
    assert abs(many.mean()) < 0.1 and abs(many.std() - 1) < 0.1
    assert abs((many[0, :-1] * many[0, 1:]).mean()) < 0.1 and abs((many[..., :-1] * many[..., 1:]).mean()) < 0.1


def test_edits_of_one_value_are_made_in_order(model):
    before, after, _ = around(model, OUTPUT, lambda t, a: (t.scale(a, 2.0), t.add(a, 1.0), t.scale(a, 3.0, position=0)))
    expected = before * 2 + 1
    expected[:, 0] *= 3
    torch.testing.assert_close(after, expected)


def test_a_glob_edits_every_value(model):
    with model.trace() as trace:
        trace.zero("blocks.*.feed_forward.output")
        trace.zero("blocks.*.attention.output")
        trace.read("norm.output")
        trace.read("embedding")
        model(TOKENS)
    torch.testing.assert_close(trace["norm.output"], model.decoder.norm(trace["embedding"]))
    assert len(trace.edits) == 2


# Skip


@pytest.mark.parametrize("name", ALL)
def test_a_skipped_block_passes_its_input_on(name):
    model = lively(ALL[name]())
    stack = "encoder" if model.decoder is None else "decoder"
    with model.trace() as trace:
        trace.skip(f"{stack}.blocks.1")
        skipped = run(model, TOKENS)
        trace.read(f"{stack}.blocks.0.output")
        trace.read(f"{stack}.blocks.1.output")
        run(model, TOKENS)
    assert torch.equal(trace[f"{stack}.blocks.0.output"], trace[f"{stack}.blocks.1.output"])
    config = model.config
    shorter = config.replace(
        **{stack: getattr(config, stack).replace(blocks=getattr(config, stack).blocks[:1])}
    ).build()
    shorter.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(skipped, run(shorter, TOKENS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", ["attention", "cross_attention", "feed_forward"])
def test_a_skipped_part_adds_nothing(part):
    model = lively(t5_like())
    with model.trace() as trace:
        trace.skip(f"decoder.blocks.1.{part}", position=slice(2, None))
        names = ["input", "middle", "output"]
        for name in names:
            trace.read(f"decoder.blocks.1.{name}")
        trace.read(f"decoder.blocks.1.{part}.output")
        model(TOKENS, TOKENS)
    start, middle, stop = (trace[f"decoder.blocks.1.{name}"] for name in names)
    output = trace[f"decoder.blocks.1.{part}.output"]
    assert not output[:, 2:].any() and output[:, :2].any()
    if part == "attention":
        assert torch.equal(middle[:, 2:], start[:, 2:])
    assert not torch.equal(stop, start)


def test_skipping_a_part_of_a_parallel_block():
    model = lively(parallel_like())
    with model.trace() as trace:
        trace.skip("blocks.0.attention")
        trace.skip("blocks.0.feed_forward.output")
        trace.read("blocks.0.output")
        trace.read("blocks.0.input")
        model(TOKENS)
    assert torch.equal(trace["blocks.0.output"], trace["blocks.0.input"])


@pytest.mark.parametrize("part", ["norm", "blocks.0.attention_norm.before", "embedding.norm", "pooler"])
def test_not_everything_can_be_skipped(part):
    model, message = (
        lively(bert_like().replace(encoder=gpt_like().decoder)),
        r"nothing that can be skipped · expected a block",
    )
    with pytest.raises(EditError, match=message), model.trace() as trace:
        trace.skip(part)


def test_a_new_kind_of_tap_must_say_what_it_does():
    bare = Selection({}, Frame())
    with pytest.raises(AssertionError, match="Tapped lacks __call__"):
        Tapped(bare)(torch.ones(1), "batch")
    with pytest.raises(AssertionError, match="Edit lacks change"):
        Edit(bare, {})(torch.ones(1), "batch")


# Everywhere alike


@pytest.mark.parametrize(
    ("config", "address"),
    [
        (bert_like, "encoder.blocks.0.attention.pattern"),
        (t5_like, "encoder.blocks.0.attention.pattern"),
        (t5_like, "decoder.blocks.1.cross_attention.pattern"),
        (translator_like, "decoder.blocks.0.cross_attention.pattern"),
        (llama_like, "decoder.blocks.0.attention.pattern"),
    ],
)
def test_patterns_are_edited_alike_in_encoder_decoder_and_cross_attention(config, address):
    model = lively(config())
    clean = run(model, TOKENS)
    with model.trace() as trace:
        trace.cut(address, head=1, key=slice(None, 2))
        trace.read(address)
        changed = run(model, TOKENS)
    pattern = trace[address]
    assert not pattern[:, 1, :, :2].any() and pattern[:, 0].any()
    assert (changed - clean).abs().max() > 1e-3


def test_edits_reach_training():
    model = lively(gpt_like())
    with model.trace() as trace:
        trace.zero("blocks.1.feed_forward.output")
        model(TOKENS).square().mean().backward()
    assert model.decoder.blocks[1].feed_forward.up_proj.weight.grad is None
    assert model.decoder.blocks[0].feed_forward.up_proj.weight.grad.any()
