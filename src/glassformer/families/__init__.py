"""Published families, a file a group of ``model_type``s: how a config.json and tensor names map onto a description.

A family module holds

    MODEL_TYPES     the ``model_type``s it reads, the one it writes first
    ARCHITECTURES   class name in ``architectures`` → what its head is, the default first
    PREFIX          of the backbone's tensors where a head stands behind it
    JUNK            patterns of tensors that are computed, not learned
    TIED_COPIES     tensors that may stand beside the one they share → that one
    SPECIAL         the token ids that an absent key means
    unused(config)  → patterns of tensors that this description does not read; may be absent
    RANK            0 for the forms that are tried first for a new description, where several can say it; else absent
    head_name(config) → what its head is               the one of ``_shared`` where its words are enough
    to_config(keys, head) → TransformerConfig        from_config(config) → keys          rules(config) → list of Rule

Names of tensors in ``JUNK`` and ``TIED_COPIES`` are without the prefix.
"""

from __future__ import annotations

import reprlib
from types import ModuleType

from glassformer.core.discovery import load_all
from glassformer.core.errors import CheckpointError, near


def families() -> tuple[ModuleType, ...]:
    """Every family, of this package and of installed extensions."""
    return load_all("families")


def family_of(model_type: object, path: str) -> ModuleType:
    """The family that reads a ``model_type``; an unknown one is an error that lists the nearest known."""
    table = {name: family for family in families() for name in family.MODEL_TYPES}
    if not isinstance(model_type, str) or model_type not in table:
        expected = f"one of {near(str(model_type)[:100], table)}"
        raise CheckpointError("unknown model_type", at=path, got=reprlib.repr(model_type), expected=expected)
    return table[model_type]
