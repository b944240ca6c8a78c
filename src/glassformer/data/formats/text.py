"""Plain text: one file is one document. The format of every file that no other format claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from glassformer.data.files import read_bytes
from glassformer.data.text import Document, decode_utf8

SUFFIXES = (".txt", ".text", ".md", ".rst")


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The whole file."""
    text = decode_utf8(read_bytes(file), at=file)
    if text:
        yield Document(name, text)
