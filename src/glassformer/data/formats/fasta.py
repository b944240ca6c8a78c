"""FASTA: ``>`` and a header, then a sequence over one or several lines (Pearson and Lipman 1988)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.formats._lines import lines
from glassformer.data.text import Document

SUFFIXES = (".fasta", ".fa", ".faa", ".fna")

#: IUPAC's letters for amino acids, with those for nucleotides among them, the stop and the gap.
_OUTSIDE = re.compile(r"[^A-Za-z*-]")
_HEADER = re.compile(r">\s*\S")


def fits(first: str, fields: Mapping[str, str]) -> bool:
    """Whether a file that begins so is one of these."""
    return _HEADER.match(first) is not None


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """Each sequence, named by the line of its header."""
    for example in examples(file, {}):
        if isinstance(example, DataError):
            raise example
        yield Document(f"{name}:{example.place.rpartition(' ')[2]}", example["text"])


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example | DataError]:
    """``text`` is the sequence, ``header`` its header, ``id`` the first word of that, ``file`` the file's name."""
    label = file.name.partition(".")[0]
    for number, header, rows in _records(lines(file)):
        wrong = _wrong(header, rows)
        if wrong is not None:
            place, what, got = wrong
            yield DataError(what, at=f"{file}, line {place or number}", got=got)
            continue
        sequence = "".join(row for _, row in rows)
        said = {"text": sequence, "header": header, "id": header.split()[0], "file": label}
        yield Example(f"{file}, line {number}", said)


def _records(found: list[str]) -> Iterator[tuple[int, str, list[tuple[int, str]]]]:
    """(line of the header, header, lines of the sequence with their numbers); lines before a header have none."""
    number, header, rows = 0, "", list[tuple[int, str]]()
    for place, line in enumerate(found, start=1):
        if line.startswith(">"):
            if header or rows:
                yield number, header, rows
            number, header, rows = place, line[1:].strip() or " ", []
        elif line.strip():
            rows.append((place, line.strip()))
    if header or rows:
        yield number, header, rows


def _wrong(header: str, rows: list[tuple[int, str]]) -> tuple[int | None, str, str | None] | None:
    """(line, what, got) of the first mistake of a record."""
    if not header:
        return rows[0][0], "a sequence without a header", repr(rows[0][1])[:100]
    if not header.strip():
        return None, "an empty header", None
    if not rows:
        return None, "a header without a sequence", header[:100]
    for place, row in rows:
        if (found := _OUTSIDE.search(row)) is not None:
            return place, "not a letter of a sequence", f"{found[0]!r} at column {found.start() + 1}"
    return None
