"""Plain text: one file is one document. The format of every file that no other format claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from glassformer.data.examples import Example
from glassformer.data.files import read_bytes
from glassformer.data.formats._lines import lines
from glassformer.data.text import Document, decode_utf8

SUFFIXES = (".txt", ".text", ".md", ".rst")


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The whole file."""
    text = decode_utf8(read_bytes(file), at=file)
    if text:
        yield Document(name, text)


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example]:
    """A line is an example, with its text; empty lines are none."""
    for number, line in enumerate(lines(file), start=1):
        if line.strip():
            yield Example(f"{file}, line {number}", {"text": line})
