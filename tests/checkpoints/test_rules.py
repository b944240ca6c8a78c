from __future__ import annotations

import pytest
import torch

from glassformer.checkpoints.rules import Each, Rename, Rule, Split, Transpose, claims
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
        sizes = claim.sizes(SHAPES)
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


def check_undone(rule: Rule, shapes: dict[str, tuple[int, ...]]) -> torch.Tensor:
    """A rule's tensor for numbered entries of ours, after loading it gave ours back."""
    sizes = [torch.Size(shape) for shape in shapes.values()]
    ours = [torch.arange(size.numel()).view(size) + 1000 * place for place, size in enumerate(sizes)]
    theirs = rule.save(ours)
    assert tuple(theirs.shape) == rule.their_shape(sizes)
    for mine, back in zip(ours, rule.load(theirs, sizes), strict=True):
        assert torch.equal(mine, back)
    return theirs


def test_groups_stand_in_turn():
    """Two heads of two rows: q0 k0 v0 q1 k1 v1; one group is thirds; unequal parts are groups of query heads."""
    names = {"q": (4, 3), "k": (4, 3), "v": (4, 3)}
    theirs = check_undone(Split("qkv", list(names), groups=2), names)
    assert theirs[:, 0].tolist() == [0, 3, 1000, 1003, 2000, 2003, 6, 9, 1006, 1009, 2006, 2009]
    grouped = {"q": (8, 3), "k": (2, 3), "v": (2, 3)}
    theirs = check_undone(Split("qkv", list(grouped), groups=2), grouped)
    assert theirs[:, 0].tolist() == [0, 3, 6, 9, 1000, 2000, 12, 15, 18, 21, 1003, 2003]


def test_interleaved_and_transposed_experts():
    """Columns of gate and up in turn, input by output, for each expert (gpt-oss)."""
    names = {"gate": (2, 3, 5), "up": (2, 3, 5)}
    theirs = check_undone(Split("gate_up", list(names), transposed=True, groups=3, axis=1), names)
    assert theirs.shape == (2, 5, 6) and theirs[0, 0].tolist() == [0, 1000, 5, 1005, 10, 1010]


def test_a_leading_axis():
    assert check_undone(Rename("final_logits_bias", "head.proj.bias", row=True), {"b": (7,)}).shape == (1, 7)


def test_one_tensor_for_each_slice():
    found = claims([Each("h.*.experts.#.w1", "blocks.*.gate")], {"blocks.0.gate": torch.Size((3, 4, 5))})
    assert [claim.theirs for claim in found] == ["h.0.experts.0.w1", "h.0.experts.1.w1", "h.0.experts.2.w1"]
    whole = {"blocks.0.gate": torch.randn(3, 4, 5)}
    for place, claim in enumerate(found):
        assert claim.sizes({"blocks.0.gate": torch.Size((3, 4, 5))}) == [torch.Size((4, 5))]
        assert torch.equal(claim.rule.save(claim.of(whole)), whole["blocks.0.gate"][place])


def test_a_slice_is_claimed_once():
    shapes = {"blocks.0.gate": torch.Size((3, 4, 5))}
    for second in (Each("b.*.#", "blocks.*.gate"), Rename("b.*", "blocks.*.gate")):
        with pytest.raises(CheckpointError, match="two rules claim a tensor"):
            claims([Rename("a.*", "blocks.*.gate"), second], shapes)
