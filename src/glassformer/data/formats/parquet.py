"""Parquet: typed columns, as most published data sets are kept; read by pyarrow, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glassformer.core.errors import DataError, UnsupportedError
from glassformer.data.examples import Example
from glassformer.data.text import Document

SUFFIXES = (".parquet",)

_AT_ONCE = 1024


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The text of one column of each row."""
    for example in examples(file, {}):
        text = example.text(field)
        if text:
            yield Document(f"{name}:{example.place.rpartition(' ')[2]}", text)


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example]:
    """The rows, numbered from 1, with all columns.

    Raises:
        DataError: The file is no Parquet, or damaged.
        UnsupportedError: pyarrow is not installed.
    """
    number = 0
    for rows in _batches(file):
        for row in rows:
            number += 1
            yield Example(f"{file}, row {number}", row)


def _batches(file: Path) -> Iterator[list[dict[str, Any]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        do = "pip install 'glassformer[data]'"
        raise UnsupportedError("reading .parquet", at=file, got="a Python without pyarrow", do=do) from None
    try:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=_AT_ONCE):
                yield batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError("a damaged Parquet file", at=file, got=error) from None
