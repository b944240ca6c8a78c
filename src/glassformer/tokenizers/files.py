"""The files of a tokenizer as text and JSON, with one clear error for each way in which they are broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glassformer.core.errors import CheckpointError

_MOST_BYTES = 512 * 2**20


def read_bytes(file: Path) -> bytes:
    """The bytes of a file that is small enough to be part of a tokenizer.

    Raises:
        CheckpointError: it is too large.
    """
    if (size := file.stat().st_size) > _MOST_BYTES:
        expected = f"at most {_MOST_BYTES}"
        raise CheckpointError("too large to be a tokenizer file", at=file, got=f"{size} bytes", expected=expected)
    return file.read_bytes()


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        CheckpointError: it is too large, or not UTF-8.
    """
    try:
        return read_bytes(file).decode()
    except UnicodeDecodeError as error:
        raise CheckpointError("not UTF-8", at=file, got=error.reason) from None


def read_lines(file: Path) -> list[str]:
    """The lines of a file; only a line feed ends one, for vocabularies hold other separators as tokens.

    Raises:
        CheckpointError: it is empty, too large, or not UTF-8.
    """
    lines = read_text(file).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise CheckpointError("the file is empty", at=file)
    return [line.removesuffix("\r") for line in lines]


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no file.

    Raises:
        CheckpointError: it is none.
    """
    return json_object(read_text(file), at=file) if file.is_file() else {}


def json_object(text: str, *, at: object) -> dict[str, Any]:
    """A JSON object.

    Raises:
        CheckpointError: it is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError("not JSON", at=at, got=error) from None
    if not isinstance(found, dict):
        raise CheckpointError("not a JSON object", at=at, got=type(found).__name__)
    return found
