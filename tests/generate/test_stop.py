from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from glassformer.core.errors import DataError
from glassformer.generate.stop import StopStrings


def passed(pieces, strings):
    stops = StopStrings(strings)
    shown = [stops.push(piece) for piece in pieces]
    return [*shown, stops.finish()], stops.found


def test_a_stop_string_across_pieces_is_not_shown():
    assert passed(["Hello", " wor", "ld. E", "N", "D now"], ["END"]) == (["Hello", " wor", "ld. ", "", "", ""], "END")


def test_what_could_have_been_one_is_shown_as_soon_as_it_is_none():
    assert passed(["a E", "N", "x"], ["END"]) == (["a ", "", "ENx", ""], None)


def test_what_could_have_been_one_is_shown_at_the_end():
    assert passed(["a EN"], ["END"]) == (["a ", "EN"], None)


def test_without_strings_all_passes_at_once():
    assert passed(["a", "b"], []) == (["a", "b", ""], None)


def test_the_string_that_is_complete_first_ends_the_text():
    assert passed(["abcd"], ["abcd", "bc"]) == (["a", ""], "bc")
    assert passed(["xabc"], ["c", "abc"]) == (["x", ""], "abc")


def test_nothing_comes_after_it():
    stops = StopStrings(["."])
    assert stops.push("a. b") == "a"
    assert (stops.push("more"), stops.finish()) == ("", "")


def test_an_empty_string_is_refused():
    with pytest.raises(DataError, match="a stop string is empty"):
        StopStrings(["a", ""])


def expected(text, strings):
    """By definition: the first place at which any string is complete, and the longest that ends there."""
    for end in range(1, len(text) + 1):
        found = [one for one in strings if text[:end].endswith(one)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@given(
    text=st.text("ab", max_size=24),
    cuts=st.lists(st.integers(0, 24), max_size=6),
    strings=st.lists(st.text("ab", min_size=1, max_size=5), max_size=3),
)
def test_where_pieces_are_cut_changes_nothing(text, cuts, strings):
    borders = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(borders)]
    shown, _ = passed(pieces, strings)
    assert "".join(shown) == expected(text, strings)
