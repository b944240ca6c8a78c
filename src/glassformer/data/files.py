"""Files as they lie on disk: compressed ones are read in place, folders in the order of their names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from glassformer.core.errors import DataError

_DECOMPRESS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


@contextmanager
def open_file(file: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed.

    Raises:
        DataError: A compressed file is damaged.
    """
    try:
        with _DECOMPRESS.get(file.suffix.lower(), Path.open)(file, "rb") as stream:
            yield stream
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError("a damaged compressed file", at=file, got=error) from None


def read_bytes(file: Path) -> bytes:
    """All bytes of a file, decompressed."""
    with open_file(file) as stream:
        return stream.read()


def format_suffix(file: Path) -> str:
    """``.jsonl`` for ``a.jsonl`` and for ``a.jsonl.gz``."""
    inner = file.with_suffix("") if file.suffix.lower() in _DECOMPRESS else file
    return inner.suffix.lower()


def files_under(place: Path) -> list[tuple[Path, str]]:
    """Every file with its name relative to ``place``, sorted by name; hidden ones are left out.

    Raises:
        DataError: There is no such place, or the folder has no files.
    """
    if place.is_file():
        return [(place, place.name)]
    if not place.is_dir():
        raise DataError("no such file or folder", at=place)
    found = {path.relative_to(place).as_posix(): path for path in place.rglob("*") if path.is_file()}
    visible = {name: path for name, path in found.items() if not any(step.startswith(".") for step in name.split("/"))}
    if not visible:
        raise DataError("a folder without files", at=place)
    return [(visible[name], name) for name in sorted(visible)]
