"""Tables: comma or tab separated, with the names of the columns in the first line, or with numbered columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glassformer.core.errors import DataError
from glassformer.data.examples import Example, columns
from glassformer.data.files import format_suffix, read_bytes
from glassformer.data.text import Document, decode_utf8

SUFFIXES = (".csv", ".tsv")


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The text of one column of each row."""
    for example in examples(file, {"text": field}):
        text = example.fields.get(field)
        if text is None:
            raise DataError(f"no column {field!r}", at=example.place, got=", ".join(example.fields)[:200])
        if text:
            yield Document(f"{name}:{example.place.rpartition(' ')[2]}", text)


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example]:
    """The rows; cells of a .csv may be quoted, those of a .tsv are taken as they stand.

    Raises:
        DataError: A row has more or fewer cells than the first; with file and line.
    """
    text = io.StringIO(decode_utf8(read_bytes(file), at=file), newline="")
    is_quoted = format_suffix(file) == ".csv"
    rules: Any = {"delimiter": ","} if is_quoted else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    reader = csv.reader(text, strict=True, **rules)
    names = None
    try:
        for cells in reader:
            if not cells:
                continue
            at = f"{file}, line {reader.line_num}"
            if names is None:
                names = columns(fields, len(cells))
                if names is None:
                    names = _header(cells, at)
                    continue
            if len(cells) != len(names):
                raise DataError("a row of another width", at=at, got=f"{len(cells)} cells", expected=str(len(names)))
            yield Example(at, dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise DataError("a broken table", at=f"{file}, line {reader.line_num}", got=error) from None


def _header(cells: list[str], at: str) -> list[str]:
    if len(set(cells)) != len(cells):
        do = "give the columns other names, or say their numbers: --field text=1 --field label=2"
        raise DataError("two columns of one name", at=at, got=", ".join(cells)[:200], do=do)
    return cells
