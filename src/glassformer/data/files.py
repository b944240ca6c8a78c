"""Files as they lie on disk: compressed ones are read in place, folders in the order of their names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from glassformer.core.errors import DataError, UnsupportedError

_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def _open_zstd(file: Path, mode: str) -> IO[bytes]:
    try:
        stream: IO[bytes] = _zstd().open(file, mode)
    except ImportError:
        do = "pip install 'glassformer[data]'"
        raise UnsupportedError("reading .zst", at=file, got="a Python without backports.zstd", do=do) from None
    return stream


_DECOMPRESS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
    ".zst": _open_zstd,
}


@contextmanager
def open_file(file: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed.

    Raises:
        DataError: A compressed file is damaged.
        UnsupportedError: It is a .zst, which this Python cannot read.
    """
    try:
        with _DECOMPRESS.get(file.suffix.lower(), Path.open)(file, "rb") as stream:
            yield stream
    except _damages() as error:
        raise DataError("a damaged compressed file", at=file, got=error) from None
    except OSError as error:
        if error.errno is not None or error.strerror is not None:
            raise  # the disk's; what bz2 says of damage has neither
        raise DataError("a damaged compressed file", at=file, got=error) from None


def read_bytes(file: Path, *, most: int | None = None) -> bytes:
    """All bytes of a file, decompressed.

    Raises:
        DataError: It is damaged, or holds more than ``most`` bytes.
    """
    with open_file(file) as stream:
        if most is None:
            return stream.read()
        found = stream.read(most + 1)
    if len(found) > most:
        raise DataError("too large to be read whole", at=file, expected=f"at most {most:,} bytes")
    return found


def is_compression(suffix: str) -> bool:
    """Whether files that end so are decompressed when they are read."""
    return suffix.lower() in _DECOMPRESS


def format_suffix(file: Path) -> str:
    """``.jsonl`` for ``a.jsonl`` and for ``a.jsonl.gz``."""
    inner = file.with_suffix("") if is_compression(file.suffix) else file
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


def _zstd() -> Any:
    """What reads zstd: part of Python from 3.14 on, before that a package."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def _damages() -> tuple[type[Exception], ...]:
    """What the libraries raise for damaged files."""
    try:
        return (*_DAMAGED, _zstd().ZstdError)
    except ImportError:
        return _DAMAGED
