from __future__ import annotations

import pytest

from glassformer.core import errors


def test_message_says_what_got_expected_and_what_to_do_in_one_line():
    error = errors.ConfigError(
        "heads do not\n divide", at="decoder.blocks[0]", got=7, expected="a multiple of 2", do="choose n_heads=8"
    )
    assert str(error) == (
        "decoder.blocks[0]: heads do not divide · got 7 · expected a multiple of 2 · choose n_heads=8"
    )


def test_absent_pieces_leave_no_trace():
    assert str(errors.DataError("no text")) == "no text"
    assert str(errors.DataError("no text", got=0)) == "no text · got 0"


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.CheckpointError, ValueError),
        (errors.DataError, ValueError),
        (errors.EditError, ValueError),
        (errors.UnknownNameError, KeyError),
        (errors.UnsupportedError, RuntimeError),
    ],
)
def test_every_error_is_of_the_tree_and_of_a_builtin_kind(kind, builtin):
    with pytest.raises(errors.GlassformerError, match=r"^what · got 1$") as caught:
        raise kind("what", got=1)
    assert isinstance(caught.value, builtin)
    assert str(caught.value) == "what · got 1"  # and not the repr, which a KeyError would print


def test_near_names_are_close_ones_or_the_first_few():
    assert errors.near("scors", ["scores", "pattern", "query"]) == "scores"
    assert errors.near("zzz", ["b", "a"]) == "a, b"
    assert errors.near("zzz", map(str, range(10, 110))) == "10, 100, 101, 102, 103, 104, 105, 106, 107 and 91 more"
    assert errors.near("zzz", map(str, range(9))).endswith("7, 8")
