"""Tables: comma or tab separated, with the names of the columns in the first line, or with numbered columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from glassformer.core.errors import DataError
from glassformer.data.examples import Example, are_numbers, columns
from glassformer.data.files import format_suffix, read_bytes
from glassformer.data.formats._lines import lines
from glassformer.data.text import Document, decode_utf8

SUFFIXES = (".csv", ".tsv")

#: A row, or what is wrong with it.
Cells = list[str] | csv.Error


def fits(first: str, fields: Mapping[str, str]) -> bool:
    """Whether columns are said by numbers, or the fields stand between tabs in the first line."""
    return are_numbers(fields) or ("\t" in first and bool(fields) and {*fields.values()} <= {*first.split("\t")})


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The text of one column of each row."""
    for example in examples(file, {"text": field}):
        if isinstance(example, DataError):
            raise example
        text = example.fields.get(field)
        if text is None:
            raise DataError(f"no column {field!r}", at=example.place, got=", ".join(example.fields)[:200])
        if text:
            yield Document(f"{name}:{example.place.rpartition(' ')[2]}", text)


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example | DataError]:
    """The rows, each named by its first line; cells of a .csv may be quoted, others are taken as they stand.

    Raises:
        DataError: The first line names a column twice.
    """
    names = None
    for line, cells in _quoted(file) if format_suffix(file) == ".csv" else _plain(file):
        at = f"{file}, line {line}"
        if isinstance(cells, csv.Error):
            yield DataError("a broken table", at=at, got=cells)
            continue
        if names is None:
            names = columns(fields, len(cells))
            if names is None:
                names = _header(cells, at)
                continue
        if len(cells) != len(names):
            yield DataError("a row of another width", at=at, got=f"{len(cells)} cells", expected=str(len(names)))
        else:
            yield Example(at, dict(zip(names, cells, strict=True)))


def _quoted(file: Path) -> Iterator[tuple[int, Cells]]:
    """The rows of a .csv with the numbers of their first lines; a quoted cell may go on over several."""
    text = decode_utf8(read_bytes(file), at=file)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # the text is in memory: a limit would protect nothing
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells: Cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = error
        if cells:
            yield line, cells


def _plain(file: Path) -> Iterator[tuple[int, Cells]]:
    """The rows of other tables: tabs between, or commas (with space around) where the first line has no tab."""
    found = lines(file)
    first = next((line for line in found if line), "")
    is_by_tab = format_suffix(file) == ".tsv" or "\t" in first
    for number, line in enumerate(found, start=1):
        if line:
            yield number, line.split("\t") if is_by_tab else [cell.strip() for cell in line.split(",")]


def _header(cells: list[str], at: str) -> list[str]:
    if len(set(cells)) != len(cells):
        do = "give the columns other names, or say their numbers: --field text=1 --field label=2"
        raise DataError("two columns of one name", at=at, got=", ".join(cells)[:200], do=do)
    return cells
