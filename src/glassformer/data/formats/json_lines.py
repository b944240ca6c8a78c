"""JSON Lines: one object a line, whose text stands in one field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.files import open_file
from glassformer.data.formats._json import parse
from glassformer.data.text import Document, decode_utf8, refuse_surrogates

SUFFIXES = (".jsonl", ".ndjson")


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The text of each line, named by file and line.

    Raises:
        DataError: A line is not a JSON object with a text in that field; with file and line.
    """
    for number, found in _objects(file):
        if isinstance(found, DataError):
            raise found
        at = f"{file}, line {number}"
        text = _field(found, field, at)
        refuse_surrogates(text, at=at)
        if text:
            yield Document(f"{name}:{number}", text)


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example | DataError]:
    """Each object, with all that it holds."""
    for number, found in _objects(file):
        yield found if isinstance(found, DataError) else Example(f"{file}, line {number}", found)


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any] | DataError]]:
    """The objects with the numbers of their lines, and what is wrong with the lines that hold none."""
    with open_file(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _object(line, f"{file}, line {number}")


def _object(line: bytes, at: str) -> dict[str, Any] | DataError:
    try:
        found = parse(decode_utf8(line, at=at), at, expected="one object a line", one_line=True)
    except DataError as error:
        return error
    return found if isinstance(found, dict) else DataError("not a JSON object", at=at, got=type(found).__name__)


def _field(found: dict[str, Any], field: str, at: str) -> str:
    if field not in found:
        fields = ", ".join(map(str, found)) or "no fields"
        raise DataError(f"no field {field!r}", at=at, got=fields[:200], do="name the field that holds the text")
    if not isinstance(found[field], str):
        raise DataError(f"field {field!r} is not text", at=at, got=type(found[field]).__name__)
    text: str = found[field]
    return text
