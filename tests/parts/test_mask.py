"""The algebra of masks: what each allows, that ``&`` means and, and that chosen rows are rows of the whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from glassformer.parts.mask import Mask, Places

BATCH, LENGTH = 2, 6
PLACES = Places.run(LENGTH)


def allowed(mask, places=PLACES):
    """bool, batch query key; everything where the mask says nothing."""
    found = mask.allowed(places)
    shape = (BATCH, 1, places.query.shape[1], places.key.shape[1])
    return (torch.tensor(True) if found is None else found).expand(shape)[:, 0]


def picture(mask, places=PLACES):
    return ["".join(".#"[int(one)] for one in row) for row in allowed(mask, places)[0]]


def test_each_mask_is_what_its_name_says():
    assert picture(Mask.bidirectional()) == ["######"] * 6
    assert picture(Mask.causal()) == ["#.....", "##....", "###...", "####..", "#####.", "######"]
    assert picture(Mask.window(2)) == ["##....", "###...", ".###..", "..###.", "...###", "....##"]
    assert picture(Mask.causal() & Mask.window(2)) == ["#.....", "##....", ".##...", "..##..", "...##.", "....##"]
    assert picture(Mask.prefix_causal(torch.tensor([3, 0]))) == [
        "###...",
        "###...",
        "###...",
        "####..",
        "#####.",
        "######",
    ]
    assert picture(Mask.lengths(torch.tensor([4, 6]))) == ["####.."] * 6
    assert picture(Mask.padding(torch.tensor([[0, 1, 1, 1, 1, 0]]).bool())) == [".####."] * 6
    documents = Mask.documents(torch.tensor([[7, 7, 7, 2, 2, 2]]))
    assert picture(documents) == ["###..."] * 3 + ["...###"] * 3


def test_causality_is_said_in_positions_not_in_places():
    assert picture(Mask.causal(), Places.run(2, 5)) == ["####.", "#####"]
    assert picture(Mask.causal(), Places.run(1, 5)) == ["#####"]
    padded = torch.tensor([[-1, -1, 0, 1]])
    left = Mask.causal() & Mask.padding(padded >= 0)
    assert picture(left, Places(query=padded, key=padded, new_key=padded))[2:] == ["..#.", "..##"]


@st.composite
def masks(draw):
    """Any single condition, on 2 rows of 6 tokens."""
    rows = st.lists(st.integers(0, LENGTH), min_size=BATCH, max_size=BATCH).map(torch.tensor)
    table = st.lists(st.lists(st.integers(0, 2), min_size=LENGTH, max_size=LENGTH), min_size=BATCH, max_size=BATCH)
    kind = draw(st.sampled_from(["causal", "bidirectional", "prefix", "window", "lengths", "padding", "documents"]))
    return {
        "causal": lambda: Mask.causal(),
        "bidirectional": lambda: Mask.bidirectional(),
        "prefix": lambda: Mask.prefix_causal(draw(rows)),
        "window": lambda: Mask.window(draw(st.integers(1, LENGTH))),
        "lengths": lambda: Mask.lengths(draw(rows)),
        "padding": lambda: Mask.padding(torch.tensor(draw(table)) > 0),
        "documents": lambda: Mask.documents(torch.tensor(draw(table))),
    }[kind]()


@given(st.lists(masks(), min_size=2, max_size=4))
@settings(max_examples=200, deadline=None)
def test_masks_are_closed_under_and(several):
    together, expected = Mask.bidirectional(), torch.tensor(True)
    for mask in several:
        together, expected = together & mask, expected & allowed(mask)
    assert torch.equal(allowed(together), expected)


@given(masks(), masks(), st.permutations(range(LENGTH)))
@settings(max_examples=100, deadline=None)
def test_chosen_rows_are_rows_of_the_whole(one, two, order):
    mask, rows = one & two, torch.tensor(order[:3]).expand(BATCH, -1)
    some = PLACES.rows(PLACES.query.expand(BATCH, -1).gather(1, rows))
    assert torch.equal(allowed(mask.rows(rows), some), allowed(mask)[:, order[:3]])


@pytest.mark.parametrize("batch", [1, BATCH])
def test_biases_add_up_and_are_chosen_with_their_rows(batch):
    one, two = torch.randn(batch, 3, LENGTH, LENGTH), torch.randn(1, 1, LENGTH, LENGTH)
    mask = Mask.bias(one) & Mask.causal() & Mask.bias(two)
    torch.testing.assert_close(mask.added(), one + two)
    rows = torch.tensor([[5, 0], [1, 2]])
    chosen = mask.rows(rows).added()
    assert chosen.shape == (BATCH, 3, 2, LENGTH)
    torch.testing.assert_close(chosen[1], (one + two)[-1][:, [1, 2]])
    assert Mask.causal().added() is None


def test_what_a_kernel_may_take_the_short_way_for():
    valid = torch.ones(1, 4, dtype=torch.bool)
    assert Mask.causal().only_causal and not (Mask.causal() & Mask.padding(valid)).only_causal
    assert not (Mask.causal() & Mask.window(2)).only_causal and not Mask.bidirectional().only_causal
