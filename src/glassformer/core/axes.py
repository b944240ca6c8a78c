"""The words that name the axes of a value. A tap says the axes of its value as data: ``"batch head query key"``.

``position`` where there is one sequence axis, ``query`` and ``key`` where there are two.
"""

from __future__ import annotations

WORDS = frozenset(
    [
        "batch",
        "position",
        "query",
        "key",
        "head",
        "kv_head",
        "head_dim",
        "model",
        "hidden",
        "vocab",
        "expert",
        "layer",
        "patch",
        "frame",
        "channel",
        "state",
        "label",
    ]
)

#: Words that count tokens along a sequence; their indices are positions of the row, not places in a padded tensor.
SEQUENCE = frozenset({"position", "query", "key"})


def split(axes: str) -> tuple[str, ...]:
    """``"batch position model"`` → ``("batch", "position", "model")``; an unknown word is our own mistake."""
    words = tuple(axes.split())
    assert WORDS.issuperset(words), f"unknown axis word in {axes!r}; known: {sorted(WORDS)}"
    return words
