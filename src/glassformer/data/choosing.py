"""Which format a file of examples has: the one that is said, or the one that its suffix says; where a suffix says too
little (``.txt``, or an unknown one), the one that knows the first line; else plain text.

A format that stands in several files side by side says of a whole place whether it ``covers`` it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from glassformer.core.discovery import load, load_all, names
from glassformer.core.errors import DataError, UnknownNameError, near
from glassformer.data.files import files_under, format_suffix, open_file

_FIRST = 1 << 16


def placed(place: Path, fields: Mapping[str, str], word: str | None = None) -> Iterator[tuple[ModuleType, Path]]:
    """The files of a place with their formats; a format of several files gets the place itself.

    Args:
        place: A file, a folder, or what the names of several files begin with.
        fields: The words of a task → names in the files.
        word: The name of the format, where it is said.

    Raises:
        DataError: There is nothing there, or more than one format fits.
        UnknownNameError: No format has that name.
    """
    said = None if word is None else _named(word)
    for module in load_all("data.formats") if said is None else (said,):
        covers = getattr(module, "covers", None)
        if covers is not None and (said is not None or covers(place, fields)):
            yield module, place
            return
    for file, _ in files_under(place):
        yield said or format_of(file, fields), file


def format_of(file: Path, fields: Mapping[str, str]) -> ModuleType:
    """The format of one file.

    Raises:
        DataError: The first line fits more than one.
    """
    by_suffix = {suffix: module for module in load_all("data.formats") for suffix in module.SUFFIXES}
    plain = load("data.formats", "text")
    if (module := by_suffix.get(format_suffix(file), plain)) is not plain:
        return module
    first = _first_line(file)
    fitting = [module for module in load_all("data.formats") if _fits(module, first, fields)]
    if len(fitting) > 1:
        found = ", ".join(map(name_of, fitting))
        raise DataError("more than one format fits", at=file, got=found, do="say which: --format NAME")
    return fitting[0] if fitting else plain


def name_of(module: ModuleType) -> str:
    """The word for a format."""
    return module.__name__.rpartition(".")[2]


def _fits(module: ModuleType, first: str, fields: Mapping[str, str]) -> bool:
    fits = getattr(module, "fits", None)
    return fits is not None and bool(fits(first, fields))


def _named(word: str) -> ModuleType:
    known = names("data.formats")
    if word not in known:
        raise UnknownNameError(f"no format {word!r}", expected=f"one of {near(word, known)}")
    return load("data.formats", word)


def _first_line(file: Path) -> str:
    """Its start, where a file is no text: the format that reads it says so with the line."""
    with open_file(file) as stream:
        return stream.readline(_FIRST).decode("utf-8-sig", errors="replace").rstrip("\r\n")
