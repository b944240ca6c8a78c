"""JSON files that hold one value: a list of objects, or the questions of SQuAD (Rajpurkar et al. 2016).

SQuAD is an object whose ``data`` is a list of articles with ``paragraphs``; any other object is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.files import read_bytes
from glassformer.data.formats import text as plain
from glassformer.data.formats._json import parse
from glassformer.data.text import Document, decode_utf8

SUFFIXES = (".json",)

_MOST_BYTES = 1 << 30


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The whole file, as it is plain text too."""
    return plain.read(file, name, field)


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example | DataError]:
    """Each object of the list, with all that it holds; or of each question ``context question answers id title``.

    ``answers`` is a list of objects with ``text`` and ``answer_start``, a character of the context; empty where there
    is no answer.

    Raises:
        DataError: The file is too large, no JSON, or neither of the two.
    """
    raw = read_bytes(file, most=_MOST_BYTES)
    if not raw.strip():
        return
    found = parse(decode_utf8(raw, at=file), str(file), expected="one JSON value")
    if isinstance(found, list):
        for number, item in enumerate(found, start=1):
            at = f"{file}, item {number}"
            yield Example(at, item) if isinstance(item, dict) else _no_object(item, at)
    elif isinstance(found, dict) and isinstance(found.get("data"), list):
        yield from _squad(found["data"], file)
    else:
        got = f"an object with {', '.join(found)[:100] or 'nothing'}" if isinstance(found, dict) else repr(found)[:100]
        do = "for one object a line, name the file .jsonl"
        raise DataError("JSON of another form", at=file, got=got, expected='a list of objects, or {"data": …}', do=do)


def _no_object(item: Any, at: str) -> DataError:
    return DataError("not a JSON object", at=at, got=type(item).__name__)


def _squad(articles: list[Any], file: Path) -> Iterator[Example | DataError]:
    for place, article in enumerate(articles):
        for number, paragraph in enumerate(_list(article, "paragraphs")):
            at = f"{file}, data {place}, paragraph {number}"
            context = paragraph.get("context") if isinstance(paragraph, dict) else None
            if not isinstance(context, str):
                yield DataError("a paragraph without a context", at=at)
                continue
            for question in _list(paragraph, "qas"):
                yield _question(question, context, _title(article), at)
            if not _list(paragraph, "qas"):
                yield DataError("a paragraph without questions", at=at)
        if not _list(article, "paragraphs"):
            yield DataError("an article without paragraphs", at=f"{file}, data {place}")


def _list(found: Any, name: str) -> list[Any]:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, list) else []


def _title(article: Any) -> dict[str, str]:
    title = article.get("title")
    return {"title": title} if isinstance(title, str) else {}


def _question(found: Any, context: str, title: dict[str, str], at: str) -> Example | DataError:
    if not isinstance(found, dict) or not isinstance(found.get("id"), str | int):
        return DataError("a question without an id", at=at)
    at = f"{at}, question {found['id']}"
    if not isinstance(found.get("question"), str) or not found["question"].strip():
        return DataError("an empty question", at=at)
    answers = found.get("answers")
    if not isinstance(answers, list):
        return DataError("no list of answers", at=at, got=repr(answers)[:100], expected="a list, which may be empty")
    for answer in answers:
        if (wrong := _wrong(answer, context)) is not None:
            return DataError(wrong, at=at, got=repr(answer)[:200])
    kept = [{"text": answer["text"], "answer_start": answer["answer_start"]} for answer in answers]
    said = {"context": context, "question": found["question"], "answers": kept, "id": str(found["id"])}
    return Example(at, {**said, **title})


def _wrong(answer: Any, context: str) -> str | None:
    said, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, dict) else (None, None)
    if not isinstance(said, str) or not isinstance(start, int) or isinstance(start, bool):
        return "an answer without its text and the character where it begins"
    if not said:
        return "an empty answer"
    if start < 0 or context[start : start + len(said)] != said:
        return "an answer that is not at its place in the context"
    return None
