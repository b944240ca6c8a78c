"""Every error that a user can cause, in one tree.

    GlassformerError
    ├── ConfigError        a description that cannot be built            (also a ValueError)
    ├── CheckpointError    a folder or file that cannot be read or written (also a ValueError)
    ├── DataError          text, labels or samples that cannot be used   (also a ValueError)
    ├── DivergedError      a training that went wrong again and again    (also a RuntimeError)
    ├── EditError          a read or an edit that cannot be done         (also a ValueError)
    ├── UnknownNameError   a name that does not exist                    (also a KeyError)
    └── UnsupportedError   a combination that does not work              (also a RuntimeError)

The message is one line: what · got · expected · what to do, behind the dotted path or file it is about.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GlassformerError(Exception):
    """A mistake that has a cause outside this package; its text is meant for a person."""

    def __init__(
        self,
        what: str,
        *,
        at: object = None,
        got: object = None,
        expected: object = None,
        do: str | None = None,
    ) -> None:
        self.what, self.at, self.got, self.expected, self.do = what, at, got, expected, do
        pieces = [what if at is None else f"{at}: {what}"]
        pieces += [] if got is None else [f"got {got}"]
        pieces += [] if expected is None else [f"expected {expected}"]
        pieces += [] if do is None else [do]
        super().__init__(" · ".join(" ".join(str(piece).split()) for piece in pieces))

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class ConfigError(GlassformerError, ValueError):
    """A description that cannot be built."""


class CheckpointError(GlassformerError, ValueError):
    """A folder or file that cannot be read or written."""


class DataError(GlassformerError, ValueError):
    """Text, labels or samples that cannot be used."""


class DivergedError(GlassformerError, RuntimeError):
    """A training whose steps go wrong again and again; the command line ends with a code of its own."""


class EditError(GlassformerError, ValueError):
    """A read or an edit of a value that cannot be done."""


class UnknownNameError(GlassformerError, KeyError):
    """A name that does not exist; the message lists near ones."""


class UnsupportedError(GlassformerError, RuntimeError):
    """A combination that does not work; the message lists the alternatives."""


def near(name: str, names: Iterable[str], *, most: int = 3) -> str:
    """The closest of ``names``, for the end of a message; where none is close all, or some and how many more."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=most, cutoff=0.5)
    more = f" and {len(known) - 3 * most} more" if len(known) > 3 * most and not close else ""
    return ", ".join(close or known[: 3 * most]) + more
