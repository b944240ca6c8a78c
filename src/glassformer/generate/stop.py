"""When a text ends: stop strings, found also where they lie across the borders of tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from glassformer.core.errors import DataError

#: Why a row ended: an end token, a stop string, or as many tokens as were asked for.
Reason = Literal["end", "stop", "length"]


class StopStrings:
    """Passes a text on piece by piece until one of some strings is in it; that string is not passed on.

    What may be the beginning of such a string is held back until it is clear. Of several strings the one that is
    complete first ends the text, of two that end together the longer one, wherever the pieces are cut.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self.strings = tuple(strings)
        if "" in self.strings:
            raise DataError("a stop string is empty", expected="at least one character")
        self.held = ""
        self.found: str | None = None

    def push(self, piece: str) -> str:
        """The text that is certain now; nothing once a string was found."""
        if self.found is not None:
            return ""
        text = self.held + piece
        ends = [(text.find(one) + len(one), -len(one), one) for one in self.strings if one in text]
        if ends:
            end, _, self.found = min(ends)
            self.held = ""
            return text[: end - len(self.found)]
        kept = max((_overlap(text, one) for one in self.strings), default=0)
        self.held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def finish(self) -> str:
        """What was held back, for a text that ends here."""
        rest, self.held = self.held, ""
        return rest


def _overlap(text: str, string: str) -> int:
    """The length of the longest end of the text that is a beginning of the string, but not all of it."""
    longest = min(len(text), len(string) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(string[:size])), 0)
