"""The Python language reference as ``help()`` shows it: ``pydoc_data.topics``."""

from __future__ import annotations

from collections.abc import Iterator

from glassformer.core.errors import DataError
from glassformer.data.repeats import drop_repeats
from glassformer.data.text import Document

ABOUT = "the language reference, one topic a document; topics that mostly repeat longer ones are left out"
LICENCE = "PSF-2.0"


def topics() -> Iterator[Document]:
    """One document a topic.

    Raises:
        DataError: This Python came without its help texts.
    """
    try:
        from pydoc_data.topics import topics as texts
    except ImportError:
        raise DataError("this Python has no help texts (pydoc_data)", at="embedded:reference") from None
    kept = set(drop_repeats(texts))
    return (Document(name, text, "topics") for name, text in texts.items() if name in kept)


PARTS = {"topics": topics}
