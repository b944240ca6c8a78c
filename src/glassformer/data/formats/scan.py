"""SCAN: ``IN: jump twice OUT: I_JUMP I_JUMP`` (Lake and Baroni 2018, https://arxiv.org/abs/1711.00350)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.formats import text
from glassformer.data.formats._lines import lines
from glassformer.data.text import Document

SUFFIXES = ()

_LINE = re.compile(r"IN: (.+?) OUT: (.+)")


def fits(first: str, fields: Mapping[str, str]) -> bool:
    """Whether a file that begins so is one of these."""
    return _LINE.fullmatch(first.strip()) is not None


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The whole file, as it is plain text too."""
    return text.read(file, name, field)


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example | DataError]:
    """``source`` and ``target`` of each line; empty lines are none."""
    for number, line in enumerate(lines(file), start=1):
        if not line.strip():
            continue
        at, found = f"{file}, line {number}", _LINE.fullmatch(line.strip())
        if found is None:
            yield DataError("not of the form IN: … OUT: …", at=at, got=repr(line)[:100])
        else:
            yield Example(at, {"source": found[1], "target": found[2]})
