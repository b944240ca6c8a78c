"""Examples: what a file says about one case of a task, with the place where it says it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassformer.core.discovery import load, load_all
from glassformer.core.errors import DataError
from glassformer.data.files import files_under, format_suffix
from glassformer.data.text import refuse_surrogates


@dataclass(frozen=True)
class Example:
    """Fields by name, and the file and line, or the number, that they come from."""

    place: str
    fields: Mapping[str, Any]

    def __getitem__(self, field: str) -> Any:
        """A field.

        Raises:
            DataError: It is not there.
        """
        if field not in self.fields:
            known = ", ".join(map(str, self.fields)) or "no fields"
            do = f"say which field it is: --field {field}=NAME"
            raise DataError(f"no field {field!r}", at=self.place, got=known[:200], do=do)
        return self.fields[field]

    def text(self, field: str) -> str:
        """A field that holds text.

        Raises:
            DataError: It holds something else, or half a character.
        """
        value = self[field]
        if not isinstance(value, str):
            raise DataError(f"field {field!r} is not text", at=self.place, got=type(value).__name__)
        refuse_surrogates(value, at=self.place)
        return value

    def number(self, field: str) -> float:
        """A field that holds a finite number.

        Raises:
            DataError: It holds none.
        """
        value = self[field]
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = float("nan")
        if not abs(found) < float("inf"):
            raise DataError(f"field {field!r} is no finite number", at=self.place, got=repr(value)[:100])
        return found


def read_examples(place: str | Path, fields: Mapping[str, str] | None = None) -> Iterator[Example]:
    """The examples of a file or of all files of a folder.

    Args:
        place: Where they are.
        fields: The words of a task → the names that the files have for them, or numbers of columns without a header.

    Raises:
        DataError: There is nothing there, or a line is broken; with file and line.
    """
    formats = {suffix: module for module in load_all("data.formats") for suffix in module.SUFFIXES}
    plain, is_empty = load("data.formats", "text"), True
    for file, _ in files_under(Path(place)):
        for example in formats.get(format_suffix(file), plain).examples(file, dict(fields or {})):
            is_empty = False
            yield renamed(example, fields)
    if is_empty:
        raise DataError("empty: there are no examples here", at=place)


def examples_of(rows: Iterable[Mapping[str, Any]], fields: Mapping[str, str] | None = None) -> Iterator[Example]:
    """The examples of any iterable of dicts, named by their numbers."""
    for number, row in enumerate(rows):
        yield renamed(Example(f"example {number}", row), fields)


def renamed(example: Example, fields: Mapping[str, str] | None) -> Example:
    """The example in the words of a task, its own beside them."""
    if not fields:
        return example
    words = {word: example.fields[name] for word, name in fields.items() if name in example.fields}
    return Example(example.place, {**example.fields, **words})


def columns(fields: Mapping[str, str], width: int) -> Sequence[str] | None:
    """The names of numbered columns, where ``fields`` says numbers: a table without a header."""
    if fields and all(name.isdigit() for name in fields.values()):
        return [str(number + 1) for number in range(width)]
    return None
