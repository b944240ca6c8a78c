"""JSON Lines: one object a line, whose text stands in one field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.files import open_file
from glassformer.data.text import Document, decode_utf8, refuse_surrogates

SUFFIXES = (".jsonl", ".ndjson")


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The text of each line, named by file and line.

    Raises:
        DataError: A line is not a JSON object with a text in that field; with file and line.
    """
    for number, found in _objects(file):
        at = f"{file}, line {number}"
        text = _field(found, field, at)
        refuse_surrogates(text, at=at)
        if text:
            yield Document(f"{name}:{number}", text)


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example]:
    """Each object, with all that it holds."""
    return (Example(f"{file}, line {number}", found) for number, found in _objects(file))


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects with the numbers of their lines."""
    with open_file(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _object(line, f"{file}, line {number}")


def _object(line: bytes, at: str) -> dict[str, Any]:
    try:
        found = json.loads(decode_utf8(line, at=at))
    except RecursionError:
        raise DataError("JSON nested too deeply", at=at) from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"not JSON: {error.msg}", at=f"{at}, column {error.colno}", expected="one object a line"
        ) from None
    if not isinstance(found, dict):
        raise DataError("not a JSON object", at=at, got=type(found).__name__)
    return found


def _field(found: dict[str, Any], field: str, at: str) -> str:
    if field not in found:
        fields = ", ".join(map(str, found)) or "no fields"
        raise DataError(f"no field {field!r}", at=at, got=fields[:200], do="name the field that holds the text")
    if not isinstance(found[field], str):
        raise DataError(f"field {field!r} is not text", at=at, got=type(found[field]).__name__)
    text: str = found[field]
    return text
