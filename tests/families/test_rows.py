"""One answer whatever the batch: a row padded, packed, shuffled, in pieces, cropped, forked and reordered is itself.

What a row gives alone, in one forward without a cache, is the truth; that it is the right one is shown by
``test_parity.py``.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import Tensor

from glassformer.core.errors import UnsupportedError
from tests.families.forms import FAMILIES, FORMS, VOCAB
from tests.families.helpers import Pair, head_of, padded

PLAIN = [form for form in FORMS if not form.light and head_of(form) in ("tokens", "hidden", "encoder")]
WHOLE = [form.name for form in PLAIN if FAMILIES[form.family].kind != "pair"]
CACHED = [form.name for form in PLAIN if FAMILIES[form.family].kind == "decoder"]
PAIRS = [form.name for form in PLAIN if FAMILIES[form.family].kind == "pair" and head_of(form) != "encoder"]
#: The longest row; windows of the tiny models are shorter.
LONGEST = 24

few = settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
lengths = st.lists(st.integers(1, LONGEST), min_size=2, max_size=4)
seeds = st.integers(0, 2**31)


@pytest.fixture(scope="module")
def doubled(pair_of):
    """A form's pair whose model here computes in float64: who sees whom is compared, not how sums are rounded."""
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        if name not in made:
            made[name] = dataclasses.replace(pair_of(name), ours=copy.deepcopy(pair_of(name).ours).double())
        return made[name]

    return get


@pytest.fixture
def pair(request, doubled) -> Pair:
    return doubled(request.param)


def rows_of(lengths: list[int], seed: int) -> list[Tensor]:
    """Rows of tokens that mean nothing special."""
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(5, VOCAB, (length,), generator=draw) for length in lengths]


def close(mine: Tensor, alone: Tensor, scale: float, what: str) -> None:
    off = float((mine - alone).abs().max()) / scale
    assert mine.shape == alone.shape and off <= 1e-5, f"{what} is off by {off:.1e}"


@torch.no_grad()
def truths(pair: Pair, rows: list[Tensor]) -> tuple[list[Tensor], float]:
    """What each row gives alone, and the largest number in it."""
    found = [pair.ours(row[None])[0] for row in rows]
    return found, max(float(one.abs().max()) for one in found)


@pytest.mark.parametrize("pair", WHOLE, indirect=True)
@few
@given(lengths=lengths, seed=seeds, side=st.sampled_from(["left", "right"]))
def test_padded_and_shuffled(pair: Pair, lengths, seed, side):
    rows = rows_of(lengths, seed)
    alone, scale = truths(pair, rows)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    tokens, valid = padded([rows[place] for place in order], side)
    with torch.no_grad():
        out = pair.ours(tokens, valid=valid)
    for mine, real, place in zip(out, valid, order, strict=True):
        close(mine[real], alone[place], scale, f"row {place}, padded {side}")


@pytest.mark.parametrize("pair", WHOLE, indirect=True)
@few
@given(lengths=lengths, seed=seeds, tail=st.integers(0, 5))
def test_packed_beside_others(pair: Pair, lengths, seed, tail):
    rows = rows_of(lengths, seed)
    alone, scale = truths(pair, rows)
    tokens = torch.cat([*rows, torch.zeros(tail, dtype=torch.int64)])[None]
    documents = torch.repeat_interleave(torch.arange(len(rows) + 1), torch.tensor([*lengths, tail]))[None]
    documents = torch.where(documents == len(rows), -1, documents)
    try:
        with torch.no_grad():
            out = pair.ours(tokens, documents=documents)[0]
    except UnsupportedError as error:  # frequencies that change with a document's length; said, not computed wrongly
        assert pair.form.by_length and "change with a document's length" in str(error)
        return
    for mine, truth in zip(out.split([*lengths, tail]), alone, strict=False):
        close(mine, truth, scale, "a packed row")


@dataclass
class Cached:
    """Rows in a cache, fed piece by piece; what each gives is compared with the row alone."""

    pair: Pair
    rows: list[Tensor]

    def __post_init__(self) -> None:
        self.alone, self.scale = truths(self.pair, self.rows)
        self.cache = self.pair.ours.cache(len(self.rows), LONGEST + 8)
        self.done = [0] * len(self.rows)

    @torch.no_grad()
    def feed(self, counts: list[int], side: str) -> None:
        """The next tokens of each row, so many of it, padded on a side."""
        pieces = [row[at : at + count] for row, at, count in zip(self.rows, self.done, counts, strict=True)]
        tokens, valid = padded(pieces, side)
        out = self.pair.ours(tokens, valid=valid, cache=self.cache)
        for row, (mine, real) in enumerate(zip(out, valid, strict=True)):
            at = self.done[row]
            self.done[row] += int(real.sum())
            close(mine[real], self.alone[row][at : self.done[row]], self.scale, f"row {row} from {at}")


@pytest.mark.parametrize("pair", CACHED, indirect=True)
@few
@given(data=st.data(), seed=seeds)
def test_in_pieces(pair: Pair, data, seed):
    """Pieces of any size, of each row its own, then token by token."""
    rows = rows_of([LONGEST] * data.draw(st.integers(1, 3)), seed)
    if pair.form.by_length:  # a row must not grow over the length at which its frequencies change
        rows = [row[:8] for row in rows]
    cached = Cached(pair, rows)
    longest = len(rows[0])
    for _ in range(2):
        left = longest - max(cached.done) - 2
        if left < 1:
            break
        counts = [data.draw(st.integers(1, left)) for _ in rows]
        cached.feed(counts, data.draw(st.sampled_from(["left", "right"])))
    while max(cached.done) < longest:
        cached.feed([1] * len(rows), "right")


@pytest.mark.parametrize("pair", CACHED, indirect=True)
@few
@given(data=st.data(), seed=seeds)
def test_cropped_reordered_and_forked(pair: Pair, data, seed):
    length = 8 if pair.form.by_length else LONGEST
    rows = rows_of([length] * 2, seed)
    cached = Cached(pair, rows)
    first = data.draw(st.integers(2, length - 3))
    cached.feed([first] * 2, "right")
    kept = data.draw(st.integers(1, first))
    try:
        cached.cache.crop(kept)
        cached.done = [kept] * 2
    except UnsupportedError as error:
        assert "a sliding cache cannot be cropped once its window is full" in str(error)
    order = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=4))
    cached.cache.reorder(torch.tensor(order))
    cached.rows, cached.alone = ([one[row] for row in order] for one in (cached.rows, cached.alone))
    cached.done = [cached.done[row] for row in order]
    cached.feed([1] * len(order), "right")
    cached.feed([length - cached.done[0]] * len(order), "left")


@pytest.mark.parametrize("pair", CACHED, indirect=True)
def test_a_shared_prefix_is_forked(pair: Pair):
    prefix, *tails = rows_of([4, 4, 3, 2], seed=7)
    rows = [torch.cat((prefix, tail)) for tail in tails]
    cached = Cached(pair, [prefix])
    cached.feed([len(prefix)], "right")
    cached.cache.reorder(torch.zeros(len(rows), dtype=torch.int64))
    cached.rows, cached.done = rows, [len(prefix)] * len(rows)
    cached.alone, cached.scale = truths(pair, rows)
    cached.feed([len(tail) for tail in tails], "left")


@pytest.mark.parametrize("pair", PAIRS, indirect=True)
@few
@given(data=st.data(), seed=seeds, side=st.sampled_from(["left", "right"]))
def test_pairs(pair: Pair, data, seed, side):
    """Source and target padded on a side, then the target in pieces with beams that change places."""
    count = data.draw(st.integers(2, 3))
    sources = rows_of([data.draw(st.integers(1, LONGEST)) for _ in range(count)], seed)
    targets = rows_of([8] * count, seed + 1)
    with torch.no_grad():
        alone = [pair.ours(one[None], other[None])[0] for one, other in zip(sources, targets, strict=True)]
        scale = max(float(one.abs().max()) for one in alone)
        source, valid = padded(sources, side)
        out = pair.ours(source, torch.stack(targets), source_valid=valid)
        cache = pair.ours.cache(count, 16)
        first = pair.ours(source, torch.stack(targets)[:, :5], source_valid=valid, cache=cache)
        order = data.draw(st.permutations(range(count)))
        cache.reorder(torch.tensor(order))
        rest = torch.stack([targets[row] for row in order])[:, 5:]
        try:
            last = pair.ours(source, rest, source_valid=valid, cache=cache)
        except UnsupportedError as error:  # experts of bounded room need the whole row
            assert "these experts are chosen for a whole row, not in a cache" in str(error)
            last = None
    for row in range(count):
        close(out[row], alone[row], scale, "a padded pair")
        close(first[row], alone[row][:5], scale, "the first piece")
        if last is not None:
            close(last[row], alone[order[row]][5:], scale, "the last piece")
