"""Examples → batches: sources of text, their splits, and the order in which they are seen."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glassformer.data.batch import Batch as Batch
    from glassformer.data.sources import Source as Source, open_source as open_source
    from glassformer.data.text import Document as Document
    from glassformer.data.text_data import (
        Share as Share,
        TextData as TextData,
        TextFolder as TextFolder,
        read_text as read_text,
    )

_HOMES = {
    "Batch": "batch",
    "Document": "text",
    "Share": "text_data",
    "Source": "sources",
    "TextData": "text_data",
    "TextFolder": "text_data",
    "open_source": "sources",
    "read_text": "text_data",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
