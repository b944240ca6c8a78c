"""Every kernel equals the written-out attention wherever it says that it can compute, forward and backward."""

from __future__ import annotations

import pytest
import torch

from glassformer.core.errors import UnsupportedError
from glassformer.parts import kernels
from glassformer.parts.cache import NOWHERE
from glassformer.parts.kernels import Needs, choose, explicit, folded, packed as in_documents, sdpa
from glassformer.parts.mask import Mask, Places
from glassformer.parts.rows import positions_of, rows_of
from tests.builders import counted_flops

BATCH, HEADS, WIDTH = 2, 4, 8
SHORT, LONG = 9, 43


def real(length, left, right):
    """bool, batch position: the first row padded, the second whole."""
    valid = torch.ones(BATCH, length, dtype=torch.bool)
    valid[0, :left] = False
    valid[0, length - right :] = False
    return valid


def padded(mask, length, left=0, right=0):
    valid = real(length, left, right)
    positions = positions_of(valid)
    return mask & Mask.padding(valid), Places(query=positions, key=positions, new_key=positions)


def packed(mask, length, first):
    documents = (torch.arange(length) >= first).long().expand(BATCH, -1)
    positions = (torch.arange(length) - torch.where(documents > 0, first, 0)).long()
    return mask & Mask.documents(documents), Places(query=positions, key=positions, new_key=positions)


def documents(mask, *ids):
    """Rows of document ids, negative ones padding."""
    rows = rows_of((BATCH, SHORT), torch.device("cpu"), documents=torch.tensor(ids))
    return mask & rows.mask(), Places(query=rows.positions, key=rows.positions, new_key=rows.positions)


def bias(n_query, n_key, heads=HEADS):
    return Mask.bias(torch.randn(1, heads, n_query, n_key, generator=torch.Generator().manual_seed(1)))


def ring(window):
    """One new token a row, behind the last ``window`` positions in any order, some slots still empty."""
    key = torch.tensor([[5, 6, 7, 4], [NOWHERE, 0, 1, NOWHERE]])
    query = torch.tensor([[7], [1]])
    return Mask.causal() & Mask.window(window), Places(query=query, key=key, new_key=query)


CAUSAL, BOTH = Mask.causal(), Mask.bidirectional()
SLIDING, AROUND = CAUSAL & Mask.window(5), Mask.window(5)
TABLE = {
    "causal": (CAUSAL, Places.run(SHORT)),
    "bidirectional": (BOTH, Places.run(SHORT)),
    "prefix": (Mask.prefix_causal(torch.tensor([4, 0])), Places.run(SHORT)),
    "window": (SLIDING, Places.run(SHORT)),
    "window on both sides": (AROUND, Places.run(SHORT)),
    "long window": (SLIDING, Places.run(LONG)),
    "long window on both sides": (AROUND, Places.run(LONG)),
    "long window of one": (CAUSAL & Mask.window(1), Places.run(LONG)),
    "long window, whole blocks": (SLIDING, Places.run(40)),
    "long window, padded left": padded(SLIDING, LONG, left=11),
    "long window, padded right": padded(SLIDING, LONG, right=20),
    "long window on both sides, padded": padded(AROUND, LONG, left=7, right=6),
    "long window, packed": packed(SLIDING, LONG, 17),
    "long window on both sides, packed": packed(AROUND, LONG, 17),
    "long window, lengths": (SLIDING & Mask.lengths(torch.tensor([12, 43])), Places.run(LONG)),
    "long window, bias": (SLIDING & bias(LONG, LONG), Places.run(LONG)),
    "long window, prefix": (Mask.prefix_causal(torch.tensor([20, 1])) & Mask.window(5), Places.run(LONG)),
    "lengths": (Mask.lengths(torch.tensor([4, 9])), Places.run(SHORT)),
    "padded left": padded(CAUSAL, SHORT, left=4),
    "padded right": padded(CAUSAL, SHORT, right=4),
    "padded encoder": padded(BOTH, SHORT, left=2, right=3),
    "packed": packed(CAUSAL, SHORT, 4),
    "packed encoder": packed(BOTH, SHORT, 5),
    "packed, of many lengths": documents(CAUSAL, [0, 0, 0, 1, 1, 1, 2, 2, 3], [0, 1, 1, 1, 1, 1, 1, 1, 1]),
    "packed, padded": documents(BOTH, [-1, 0, 0, 0, 1, 1, 1, -1, -1], [0, 0, 1, 1, 2, 2, -1, 3, 3]),
    "packed, tokens hidden": (
        packed(BOTH, SHORT, 4)[0] & Mask.padding(real(SHORT, 0, 2)),
        packed(BOTH, SHORT, 4)[1],
    ),
    "bias": (BOTH & bias(SHORT, SHORT), Places.run(SHORT)),
    "bias of all heads, causal": (CAUSAL & bias(SHORT, SHORT, 1), Places.run(SHORT)),
    "bias, padded": ((padded(CAUSAL, SHORT, left=4)[0] & bias(SHORT, SHORT)), padded(CAUSAL, SHORT, left=4)[1]),
    "last queries": (CAUSAL, Places.run(3, SHORT)),
    "last query": (CAUSAL, Places.run(1, SHORT)),
    "last queries in a window": (SLIDING, Places.run(3, LONG)),
    "single token": (CAUSAL, Places.run(1)),
    "ring": ring(4),
    "memory": (
        Mask.padding(real(SHORT, 0, 4)),
        Places(torch.arange(5)[None], torch.arange(SHORT)[None], torch.arange(SHORT)[None]),
    ),
}
PACKS = {name for name in TABLE if "packed" in name and name != "packed, tokens hidden"}
FOLDS = {name for name in TABLE if name.startswith("long window") and "bias" not in name and "prefix" not in name}


def inputs(places, n_kv_heads=HEADS):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(BATCH, HEADS, places.query.shape[1], WIDTH, generator=generator)
    key, value = (torch.randn(BATCH, n_kv_heads, places.key.shape[1], WIDTH, generator=generator) for _ in "kv")
    return [tensor.requires_grad_() for tensor in (query, key, value)]


def can(kernel, name):
    """What a kernel must not refuse."""
    return {folded: name in FOLDS, in_documents: name in PACKS}.get(kernel, True)


def computed(kernel, mask, places, n_kv_heads=HEADS, soft_cap=None, sinks=None):
    """Heads of a kernel at real tokens, and the gradients of a weighted sum of them."""
    tensors = inputs(places, n_kv_heads)
    heads = kernel.prepare(mask, places)(*tensors, scale=0.3, soft_cap=soft_cap, sinks=sinks, dropout=0.0)
    heads = heads * (places.query >= 0)[:, None, :, None]
    tensors += [] if sinks is None else [sinks]
    weights = torch.randn(heads.shape, generator=torch.Generator().manual_seed(2))
    return [heads, *torch.autograd.grad((heads * weights).sum(), tensors)]


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("kernel", kernels.kernels(), ids=lambda kernel: kernel.__name__.rpartition(".")[2])
def test_kernels_equal_the_reference_or_say_why_not(kernel, name, n_kv_heads):
    mask, places = TABLE[name]
    reason = kernel.refuses(mask, places, Needs())
    assert can(kernel, name) == (not reason), reason
    sinks = torch.tensor([0.5, -1.0, 2.0, 0.0], requires_grad=True)
    for sink in () if reason else (None, sinks):
        found = (computed(one, mask, places, n_kv_heads, sinks=sink) for one in (kernel, explicit))
        for got, expected in zip(*found, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_a_sink_takes_its_share_of_each_row():
    mask, places = TABLE["causal"]
    query, key, value = (tensor.detach() for tensor in inputs(places))
    sinks = torch.tensor([0.5, -1.0, 2.0, 0.0])
    scores = explicit.scores_of(query, key, scale=0.3, soft_cap=None, bias=None)
    pattern = explicit.pattern_of(scores, mask.allowed(places), sinks)
    weights = scores.exp() * mask.allowed(places)
    whole = weights.sum(-1, keepdim=True) + sinks.exp()[:, None, None]
    torch.testing.assert_close(pattern, weights / whole)
    heads = sdpa.prepare(mask, places)(query, key, value, scale=0.3, sinks=sinks)
    torch.testing.assert_close(heads, pattern @ value)


def test_the_reference_equals_a_plain_loop():
    mask, places = padded(CAUSAL & bias(SHORT, SHORT), SHORT, left=4)
    query, key, value = (tensor.detach() for tensor in inputs(places))
    heads = explicit.prepare(mask, places)(query, key, value, scale=0.3, soft_cap=2.0, dropout=0.0)
    for batch, head, row in ((0, 1, 5), (1, 3, 0), (1, 2, 8)):
        first = 4 if batch == 0 else 0
        scores = 2 * torch.tanh(key[batch, head] @ query[batch, head, row] * 0.3 / 2) + mask.added()[0, head, row]
        pattern = scores[first : row + 1].exp() / scores[first : row + 1].exp().sum()
        torch.testing.assert_close(heads[batch, head, row], pattern @ value[batch, head, first : row + 1])


REASONS = {
    "causal": (folded, "needs a window"),
    "window": (folded, "needs at least 4 windows a row"),
    "long window, bias": (folded, "cannot fold a prefix or a bias"),
    "long window, prefix": (folded, "cannot fold a prefix or a bias"),
    "last queries in a window": (folded, "needs the same tokens as queries and keys"),
    "single token": (in_documents, "needs packed documents"),
    "packed, tokens hidden": (in_documents, "cannot hide tokens of a document"),
}


@pytest.mark.parametrize("name", REASONS)
def test_refusals_have_a_reason(name):
    kernel, reason = REASONS[name]
    assert kernel.refuses(*TABLE[name], Needs()) == reason


def test_a_soft_cap_is_computed_by_the_reference_only():
    needs = Needs(soft_cap=True)
    for name in ("causal", "long window"):
        assert sdpa.refuses(*TABLE[name], needs) == folded.refuses(*TABLE["long window"], needs) == "has no soft cap"
        assert isinstance(choose(*TABLE[name], needs), explicit.ExplicitAttend)
    capped, plain = (computed(explicit, *TABLE["causal"], soft_cap=cap)[0] for cap in (0.5, None))
    assert (capped - plain).abs().max() > 0.01


def test_the_fastest_that_can_is_chosen():
    assert isinstance(choose(*TABLE["causal"], Needs()), sdpa.FusedAttend)
    assert choose(*TABLE["causal"], Needs()) == sdpa.FusedAttend(None, True)  # no mask is built
    assert choose(*TABLE["last query"], Needs()) == sdpa.FusedAttend(None, False)
    assert isinstance(choose(*TABLE["window"], Needs()), sdpa.FusedAttend)
    assert all(isinstance(choose(*TABLE[name], Needs()), folded.FoldedAttend) for name in FOLDS - PACKS)
    assert all(isinstance(choose(*TABLE[name], Needs()), in_documents.PackedAttend) for name in PACKS)


def test_documents_of_one_length_are_one_call():
    mask, places = TABLE["packed, of many lengths"]
    first, second = in_documents.prepare(mask, places).rows
    assert [(run.start, run.count, run.length) for run in first] == [(0, 2, 3), (6, 1, 2), (8, 1, 1)]
    assert [(run.start, run.count, run.length) for run in second] == [(0, 1, 1), (1, 1, 8)]
    assert isinstance(choose(mask, places, Needs(compiled=True)), sdpa.FusedAttend)


def test_where_no_kernel_can_all_reasons_are_given(monkeypatch):
    monkeypatch.setattr(kernels, "kernels", lambda: (folded, sdpa))
    message = r"no attention kernel for this mask · got folded: needs a window; sdpa: has no soft cap"
    with pytest.raises(UnsupportedError, match=message):
        choose(CAUSAL, Places.run(SHORT), Needs(soft_cap=True))


@pytest.fixture
def uncached():
    kernels.kernels.cache_clear()
    yield
    kernels.kernels.cache_clear()


def test_a_kernel_of_a_new_file_is_tried_in_its_turn(uncached, drop_in):
    source = "RANK = 1\ndef refuses(*_): return ''\ndef prepare(mask, places): return 'striped'\n"
    drop_in("parts.kernels", "zebra", source)
    assert choose(CAUSAL, Places.run(SHORT), Needs()) == "striped"


EMPTY = {
    "lengths": (Mask.lengths(torch.tensor([0, 5])), Places.run(LONG)),
    "window beside documents": packed(SLIDING & Mask.lengths(torch.tensor([0, 43])), LONG, 17),
    "padding": (SLIDING & Mask.padding(real(LONG, 43, 0)), Places.run(LONG)),
    "bias": (Mask.lengths(torch.tensor([0, 43])) & bias(LONG, LONG), Places.run(LONG)),
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("kernel", kernels.kernels(), ids=lambda kernel: kernel.__name__.rpartition(".")[2])
def test_a_row_that_sees_nothing_gives_zeros_and_zero_gradients(kernel, name):
    mask, places = EMPTY[name]
    if kernel.refuses(mask, places, Needs()):
        assert kernel in (folded, in_documents)
        return
    heads, *gradients = computed(kernel, mask, places)
    assert not heads[0].any() and heads[1].any()
    for gradient in gradients:
        assert not gradient[0].any() and gradient[1].any() and gradient.isfinite().all()


@pytest.mark.parametrize("name", [name for name in TABLE if not name.startswith("long")])
def test_patterns_sum_to_one_and_hide_exactly(name):
    mask, places = TABLE[name]
    query, key, _ = inputs(places)
    allowed = mask.allowed(places)
    pattern = explicit.pattern_of(explicit.scores_of(query, key, scale=3.0, soft_cap=None, bias=mask.added()), allowed)
    seen = torch.ones_like(pattern, dtype=torch.bool) if allowed is None else allowed.expand_as(pattern)
    torch.testing.assert_close(pattern.sum(-1), seen.any(-1).float())
    assert not pattern[~seen].any() and (pattern[seen] > 0).all()


def flops(kernel, length):
    tensors, attend = inputs(Places.run(length)), kernel.prepare(CAUSAL & Mask.window(8), Places.run(length))
    return counted_flops(lambda: attend(*tensors, scale=1.0, soft_cap=None, dropout=0.0))


def test_folding_grows_with_the_length_not_with_its_square():
    assert flops(folded, 512) == 2 * flops(folded, 256) > 0
    assert flops(sdpa, 512) == 4 * flops(sdpa, 256)
    assert flops(sdpa, 512) == 32 * flops(folded, 512)  # each block of 8 queries sees 16 keys, not 512
    assert folded.prepare(CAUSAL & Mask.window(8), Places.run(512)).allowed.numel() == 512 * 16
