"""CoNLL: a word and its columns a line, tab or space between, an empty line between sentences (Tjong Kim Sang 2003)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.formats._lines import lines
from glassformer.data.text import Document

SUFFIXES = (".conll", ".bio", ".iob")

_DOCUMENT = "-DOCSTART-"
Line = tuple[int, str]


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The words of each sentence, with one space between."""
    for example in examples(file, {}):
        if isinstance(example, DataError):
            raise example
        yield Document(f"{name}:{example.place.rpartition(' ')[2]}", example["text"])


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example | DataError]:
    """Sentences: ``words`` is the first column and ``tags`` the last; fields may say others by number."""
    width, wanted = None, {*fields.values()}
    for sentence in sentences(lines(file)):
        rows = [_cells(line) for _, line in sentence]
        if rows[0][0] == _DOCUMENT:
            continue
        width = len(rows[0]) if width is None else width
        wrong = next((place for place, row in enumerate(rows) if len(row) != width or not all(row)), None)
        if wrong is not None:
            yield _refused(f"{file}, line {sentence[wrong][0]}", rows[wrong], width)
            continue
        columns = [list(column) for column in zip(*rows, strict=True)]
        numbered = {str(number): column for number, column in enumerate(columns, start=1) if str(number) in wanted}
        tags = {"tags": columns[-1]} if width > 1 else {}
        yield Example(f"{file}, line {sentence[0][0]}", {**_text(columns[0]), **tags, **numbered})


def _text(words: list[str]) -> dict[str, object]:
    return {"words": words, "text": " ".join(words)}


def sentences(found: list[str]) -> Iterator[list[Line]]:
    """Runs of lines that are not empty, with their numbers."""
    run: list[Line] = []
    for number, line in enumerate([*found, ""], start=1):
        if line.strip():
            run.append((number, line))
        elif run:
            yield run
            run = []


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()


def _refused(at: str, cells: list[str], width: int) -> DataError:
    if len(cells) != width:
        return DataError("a line of another width", at=at, got=f"{len(cells)} columns", expected=str(width))
    return DataError("an empty column", at=at, got=repr("\t".join(cells))[:100], expected="a word and its tag")
