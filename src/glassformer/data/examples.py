"""Examples: what a file says about one case of a task, with the place where it says it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from glassformer.core.errors import DataError
from glassformer.data.choosing import name_of, placed
from glassformer.data.files import format_suffix
from glassformer.data.text import refuse_surrogates

_ABOUT = (".md", ".rst")


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

    def label(self, field: str) -> str:
        """A field that holds the name of a label, or a whole number.

        Raises:
            DataError: It holds something else, or nothing.
        """
        value = self[field]
        if not isinstance(value, str | Integral) or not str(value).strip():
            raise DataError(f"field {field!r} is no label", at=self.place, got=repr(value)[:100])
        return str(value)

    def messages(self, field: str) -> Sequence[Mapping[str, Any]]:
        """A field that holds a conversation: messages with a role and a content.

        Raises:
            DataError: It is empty, or one of them is no message; with its number.
        """
        value = self[field]
        if not isinstance(value, list | tuple) or not value:
            got = repr(value)[:100]
            raise DataError(f"field {field!r} is no list of messages", at=self.place, got=got)
        for number, message in enumerate(value):
            has_role = isinstance(message, Mapping) and isinstance(message.get("role"), str) and message["role"]
            if not has_role or not isinstance(message.get("content"), str):
                at = f"{self.place}, message {number}"
                raise DataError("no message", at=at, got=repr(message)[:100], expected="role and content, both text")
            refuse_surrogates(message["content"], at=f"{self.place}, message {number}")
        return value


def read_examples(
    place: str | Path,
    fields: Mapping[str, str] | None = None,
    *,
    format: str | None = None,
    broken: Callable[[DataError], None] | None = None,
) -> Iterator[Example]:
    """The examples of a file or of all files of a folder.

    Args:
        place: Where they are.
        fields: The words of a task → the names that the files have for them, or numbers of columns without a header.
        format: The name of the format, where neither the suffix nor the first line says it.
        broken: Is told what is wrong with a line, and the next one is read; without it the first one ends the reading.

    Raises:
        DataError: There is nothing there, or a line is broken; with file and line.
    """
    is_empty = True
    for found in _found(Path(place), dict(fields or {}), format):
        is_empty = False
        if not isinstance(found, DataError):
            yield found
        elif broken is None:
            raise found
        else:
            broken(found)
    if is_empty:
        raise DataError("empty: there are no examples here", at=place)


def _found(place: Path, fields: Mapping[str, str], format: str | None) -> Iterator[Example | DataError]:
    """Examples, and errors in the places of those that are none; a file that cannot be read on ends with its error.

    In a folder, .md and .rst say something about the data: they are no part of it.
    """
    for module, file in placed(place, fields, format):
        if file != place and format_suffix(file) in _ABOUT:
            continue
        try:
            if not hasattr(module, "examples"):
                raise DataError("a format without examples", at=file, got=name_of(module))
            for found in module.examples(file, fields):
                yield found if isinstance(found, DataError) else checked(renamed(found, fields), fields)
        except DataError as error:
            yield error


def examples_of(rows: Iterable[Mapping[str, Any]], fields: Mapping[str, str] | None = None) -> Iterator[Example]:
    """The examples of any iterable of dicts, named by their numbers."""
    for number, row in enumerate(rows):
        found = checked(renamed(Example(f"example {number}", row), fields), fields)
        if isinstance(found, DataError):
            raise found
        yield found


def renamed(example: Example, fields: Mapping[str, str] | None) -> Example:
    """The example in the words of a task, its own beside them; ``source=1+2`` is two texts with a space between.

    A word whose name is not there is not there either, even if the example has a field of that word.
    """
    if not fields:
        return example
    words = {word: _value(example.fields, name) for word, name in fields.items() if _has(example.fields, name)}
    kept = {name: value for name, value in example.fields.items() if name not in fields}
    return Example(example.place, {**kept, **words})


def checked(example: Example, fields: Mapping[str, str] | None) -> Example | DataError:
    """The example, or what is wrong with its ``messages`` where the fields name them."""
    try:
        if fields and "messages" in fields:
            example.messages("messages")
    except DataError as error:
        return error
    return example


def columns(fields: Mapping[str, str], width: int) -> Sequence[str] | None:
    """The names of numbered columns, where ``fields`` says numbers: a table without a header."""
    return [str(number + 1) for number in range(width)] if are_numbers(fields) else None


def are_numbers(fields: Mapping[str, str]) -> bool:
    """Whether the fields are columns said by their numbers."""
    return bool(fields) and all(part.isdecimal() for name in fields.values() for part in name.split("+"))


def _has(fields: Mapping[str, Any], name: str) -> bool:
    return name in fields or all(isinstance(fields.get(part), str) for part in name.split("+"))


def _value(fields: Mapping[str, Any], name: str) -> Any:
    return fields[name] if name in fields else " ".join(fields[part] for part in name.split("+"))
