"""What callers say about rows, the positions that follow, and what is refused."""

from __future__ import annotations

import pytest
import torch

from glassformer.core.errors import DataError
from glassformer.parts.mask import Mask
from glassformer.parts.rows import Rows, rows_of

CPU = torch.device("cpu")


def rows(length=5, batch=2, **said):
    return rows_of((batch, length), CPU, **said)


def truth(*texts):
    return torch.tensor([[letter == "#" for letter in text] for text in texts])


def test_plain_rows_are_one_run_for_the_whole_batch():
    plain = rows()
    assert plain.positions.tolist() == [[0, 1, 2, 3, 4]] and plain.lengths.tolist() == [5]
    assert plain.valid is None and plain.offset == 0 and plain.mask() == Mask.bidirectional()


@pytest.mark.parametrize("said", [{"valid": truth("#####", "#####")}, {"lengths": torch.tensor([5, 5])}])
def test_rows_without_padding_are_plain_rows_however_said(said):
    assert rows(**said).valid is None and rows(**said).offset == 0


def test_positions_count_real_tokens_on_either_side():
    padded = rows(valid=truth("..###", "###.."))
    assert padded.positions.tolist() == [[-1, -1, 0, 1, 2], [0, 1, 2, -1, -1]]
    assert padded.lengths.tolist() == [3, 3] and padded.last().tolist() == [4, 2] and padded.offset is None
    both = rows(valid=truth(".##..", "....."))
    assert both.positions.tolist() == [[-1, 0, 1, -1, -1], [-1] * 5] and both.lengths.tolist() == [2, 0]


def test_lengths_are_padding_on_the_right():
    one, other = rows(lengths=torch.tensor([2, 5])), rows(valid=truth("##...", "#####"))
    assert torch.equal(one.positions, other.positions) and torch.equal(one.valid, other.valid)
    assert rows(lengths=[2, 5]).lengths.tolist() == [2, 5]


def test_positions_begin_again_in_each_document():
    packed = rows(7, 1, documents=torch.tensor([[4, 4, 9, 9, 9, -1, 4]]))
    assert packed.positions.tolist() == [[0, 1, 0, 1, 2, -1, 0]]
    allowed = packed.mask().allowed(places(packed))[0, 0]
    assert allowed[2].tolist() == [False, False, True, True, True, False, False]
    assert allowed[6].tolist() == [False] * 6 + [True]  # the same id again is another document


def places(rows: Rows):
    from glassformer.parts.mask import Places

    return Places(query=rows.positions, key=rows.positions, new_key=rows.positions)


VALID, LENGTHS, DOCUMENTS = truth("#####", "###.."), torch.tensor([5, 3]), torch.zeros(2, 5, dtype=torch.int64)
WRONG = {
    "valid and lengths": (
        {"valid": VALID, "lengths": LENGTHS},
        "valid and lengths say the same thing · give one of them",
    ),
    "valid and documents": ({"valid": VALID, "documents": DOCUMENTS}, "valid and documents say the same thing"),
    "all three": ({"valid": VALID, "lengths": LENGTHS, "documents": DOCUMENTS}, "valid and lengths and documents say"),
    "valid of numbers": ({"valid": VALID.long()}, r"valid · got torch\.int64 \(2, 5\) · expected torch\.bool \(2, 5\)"),
    "valid of floats": ({"valid": VALID.float()}, r"valid · got torch\.float32 .* True stands for a real token"),
    "valid of four axes": (
        {"valid": VALID[:, None, None]},
        r"valid · got torch\.bool \(2, 1, 1, 5\) · expected .*\(2, 5\)",
    ),
    "valid of other length": ({"valid": VALID[:, :4]}, r"got torch\.bool \(2, 4\) · expected torch\.bool \(2, 5\)"),
    "holes": (
        {"valid": truth("##.##", "#####")},
        "valid · got padding between real tokens · expected padding at the ends",
    ),
    "lengths of floats": ({"lengths": LENGTHS.float()}, r"lengths · got torch\.float32 \(2,\) · expected int \(2,\)"),
    "lengths of truth": ({"lengths": LENGTHS > 4}, r"lengths · got torch\.bool \(2,\) · expected int \(2,\)"),
    "one length": ({"lengths": LENGTHS[:1]}, r"lengths · got torch\.int64 \(1,\) · expected int \(2,\)"),
    "too long": ({"lengths": LENGTHS + 1}, r"lengths · got \[6, 4\] · expected 1 … 5"),
    "nothing": ({"lengths": LENGTHS - 3}, r"lengths · got \[2, 0\] · expected 1 … 5"),
    "documents of floats": (
        {"documents": DOCUMENTS.float()},
        r"documents · got torch\.float32 .* expected int \(2, 5\)",
    ),
    "documents of truth": (
        {"documents": DOCUMENTS > 0},
        r"documents · got torch\.bool \(2, 5\) · expected int \(2, 5\)",
    ),
    "one document a row": (
        {"documents": DOCUMENTS[:, 0]},
        r"documents · got torch\.int64 \(2,\) · expected int \(2, 5\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_one_error(name):
    said, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        rows(**said)
