from __future__ import annotations

import pytest
import torch

from glassformer.checkpoints.rules import Rename, Split, Transpose, claims
from glassformer.core.errors import CheckpointError

SHAPES = {f"blocks.{layer}.{name}": torch.Size(shape) for layer in (0, 1) for name, shape in (
    ("q.weight", (4, 6)), ("k.weight", (2, 6)), ("v.weight", (2, 6)), ("o.weight", (6, 4)), ("o.bias", (6,))
)}  # fmt: skip
RULES = [
    Split("h.*.qkv", ["blocks.*.q.weight", "blocks.*.k.weight", "blocks.*.v.weight"], transposed=True),
    Transpose("h.*.out.w", "blocks.*.o.weight"),
    Rename("h.*.out.b", "blocks.*.o.bias"),
]


def test_every_rule_is_undone_by_itself():
    for claim in claims(RULES, SHAPES):
        sizes = [SHAPES[name] for name in claim.ours]
        theirs = torch.randn(claim.rule.their_shape(sizes))
        ours = claim.rule.load(theirs, sizes)
        assert [part.shape for part in ours] == sizes
        assert torch.equal(claim.rule.save(ours), theirs)


def test_a_star_means_the_same_on_both_sides():
    found = {claim.theirs: claim.ours for claim in claims(RULES, SHAPES)}
    assert found["h.1.qkv"] == ("blocks.1.q.weight", "blocks.1.k.weight", "blocks.1.v.weight")
    assert found["h.0.out.b"] == ("blocks.0.o.bias",) and len(found) == 6


def test_stars_are_filled_in_order():
    (claim,) = claims([Rename("a.*.b.*", "x.*.y.*")], {"x.3.y.weight": torch.Size([1])})
    assert claim.theirs == "a.3.b.weight"


def test_a_star_is_one_step_of_a_name_and_a_dot_is_a_dot():
    for name in ("x.3.4.w", "x.3_w", "x..w", "xx.3.w"):
        with pytest.raises(CheckpointError, match="no name for a tensor"):
            claims([Rename("a.*.w", "x.*.w")], {name: torch.Size([1])})


def test_a_tensor_that_no_rule_claims():
    with pytest.raises(
        CheckpointError, match=r"the format has no name for a tensor · got blocks.0.o.bias, blocks.1.o.bias"
    ):
        claims(RULES[:2], SHAPES)


def test_a_tensor_that_two_rules_claim():
    twice = [*RULES, Rename("h.*.again", "blocks.*.o.bias")]
    with pytest.raises(
        CheckpointError, match=r"blocks.0.o.bias: two rules claim a tensor · got h.0.out.b and h.0.again"
    ):
        claims(twice, SHAPES)


def test_a_rule_some_of_whose_tensors_are_not_there_claims_none():
    shapes = {name: shape for name, shape in SHAPES.items() if name != "blocks.1.v.weight"}
    with pytest.raises(CheckpointError, match=r"got blocks.1.k.weight, blocks.1.q.weight"):
        claims(RULES, shapes)
