"""Where documents come from: a file, a folder, or a corpus that Python carries."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from types import ModuleType

from glassformer.core.discovery import load, load_all, names
from glassformer.core.errors import DataError, UnknownNameError, near
from glassformer.data.files import files_under, format_suffix
from glassformer.data.splits import Split, by_name, by_tail
from glassformer.data.text import Document

EMBEDDED = "embedded:"
_ENOUGH_TO_SPLIT_BY_NAME = 100


@dataclass(frozen=True)
class Source:
    """Documents that can be read again and again, and how they are split.

    Args:
        place: What it was opened by.
        licence: What it may be used for; empty where only its owner knows.
        about: What it holds, in a line.
        read: Begin reading from the start.
        holds_test: Documents are split by name into all three splits; else only a validation part is held back.
    """

    place: str
    licence: str
    about: str
    read: Callable[[], Iterator[Document]]
    holds_test: bool = False

    def documents(self, *splits: Split) -> Iterator[Document]:
        """The documents of some splits; whole and of all of them without an argument.

        Raises:
            DataError: There is no text at all.
        """
        if splits:
            return (document for split, document in self.split() if split in splits)
        return _never_empty(self.read(), self.place)

    def split(self) -> Iterator[tuple[Split, Document]]:
        """Every document with its split, in one reading; few documents are cut, so that each is in two splits."""
        if self.holds_test or self._has_many():
            return by_name(self.documents(), holds_test=self.holds_test)
        return by_tail(self.documents())

    def _has_many(self) -> bool:
        return sum(1 for _ in islice(self.read(), _ENOUGH_TO_SPLIT_BY_NAME)) == _ENOUGH_TO_SPLIT_BY_NAME

    def digest(self, documents: Iterable[Document] | None = None) -> str:
        """sha256 over parts, names and texts, in reading order; of these documents if they were read already."""
        total = hashlib.sha256()
        for document in self.documents() if documents is None else documents:
            for text in (document.part, document.name, document.text):
                raw = text.encode("utf-8", "surrogatepass")
                total.update(len(raw).to_bytes(8, "little") + raw)
        return total.hexdigest()


def open_source(place: str | Path, *, field: str = "text") -> Source:
    """``embedded:NAME``, ``embedded:NAME/PART``, a file or a folder.

    Args:
        place: Where the documents are.
        field: The field of JSON Lines that holds the text.

    Raises:
        DataError: There is nothing there.
        UnknownNameError: No such embedded corpus, or no such part of it.
    """
    place = str(place)
    if place.startswith(EMBEDDED):
        return _embedded(place)
    files = files_under(Path(place))
    about = f"{len(files)} files" if len(files) > 1 or Path(place).is_dir() else "a file"
    return Source(place, "", about, lambda: _documents(files, field))


def embedded_names() -> tuple[str, ...]:
    """Names of the corpora that Python carries."""
    return names("data.embedded")


def _embedded(place: str) -> Source:
    name, _, part = place.removeprefix(EMBEDDED).partition("/")
    if name not in embedded_names():
        known = near(name, embedded_names())
        raise UnknownNameError("no such embedded corpus", at=place, expected=f"one of {known}")
    module = load("data.embedded", name)
    if part and part not in module.PARTS:
        raise UnknownNameError("no such part", at=place, expected=f"one of {near(part, module.PARTS)}")
    readers = [module.PARTS[part]] if part else list(module.PARTS.values())

    def read() -> Iterator[Document]:
        return chain.from_iterable(reader() for reader in readers)

    return Source(place, module.LICENCE, module.ABOUT, read, holds_test=True)


def _documents(files: list[tuple[Path, str]], field: str) -> Iterator[Document]:
    formats = {suffix: module for module in load_all("data.formats") for suffix in module.SUFFIXES}
    plain: ModuleType = load("data.formats", "text")
    for file, name in files:
        yield from formats.get(format_suffix(file), plain).read(file, name, field)


def _never_empty(documents: Iterator[Document], place: str) -> Iterator[Document]:
    is_empty = True
    for document in documents:
        is_empty = False
        yield document
    if is_empty:
        raise DataError("empty: there is no text here", at=place)
