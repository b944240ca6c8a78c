"""Texts that mostly repeat others: a held-out part must not stand in the training part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_PARAGRAPH_BREAK = re.compile(r"\n\s*\n")


def paragraphs(text: str) -> list[str]:
    """The pieces between blank lines, without the space around them."""
    return [piece.strip() for piece in _PARAGRAPH_BREAK.split(text) if piece.strip()]


def repeated_share(text: str, others: set[str]) -> float:
    """The share of the characters of ``text`` that lie in paragraphs which also stand in ``others``."""
    pieces = paragraphs(text)
    total = sum(map(len, pieces))
    return sum(len(piece) for piece in pieces if piece in others) / total if total else 0.0


def drop_repeats(texts: Mapping[str, str], *, most: float = 0.5) -> list[str]:
    """Names of the texts of which at most this share stands, paragraph by paragraph, in longer texts that are kept."""
    kept: list[str] = []
    seen: set[str] = set()
    for name in sorted(texts, key=lambda name: (-len(texts[name]), name)):
        if repeated_share(texts[name], seen) <= most:
            kept.append(name)
            seen.update(paragraphs(texts[name]))
    return kept


def leak(held_out: Iterable[str], training: Iterable[str]) -> float:
    """The share of the held-out characters whose paragraph stands verbatim in a training text."""
    seen = {piece for text in training for piece in paragraphs(text)}
    joined = "\n\n".join(held_out)
    return repeated_share(joined, seen)
