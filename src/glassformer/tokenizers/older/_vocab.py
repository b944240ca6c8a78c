"""Vocabularies as they stand in files: one token a line, or a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glassformer.core.errors import CheckpointError
from glassformer.tokenizers.files import json_object, read_lines, read_text
from glassformer.tokenizers.older._folder import Named


def read_vocab_lines(file: Path) -> dict[str, int]:
    """Token → id from a file in which the id is the number of the line.

    Raises:
        CheckpointError: the file is empty, or two lines are the same.
    """
    vocab: dict[str, int] = {}
    for number, line in enumerate(read_lines(file)):
        token = line.rstrip()
        if token in vocab:
            got = f"{token!r} in lines {vocab[token] + 1} and {number + 1}"
            raise CheckpointError("a token stands in the vocabulary twice", at=file, got=got)
        vocab[token] = number
    return vocab


def read_vocab_json(file: Path) -> dict[str, int]:
    """Token → id from a JSON object.

    Raises:
        CheckpointError: the file is empty or broken, or two tokens have the same id.
    """
    vocab = json_object(read_text(file), at=file)
    if not vocab:
        raise CheckpointError("the vocabulary is empty", at=file)
    owner: dict[int, str] = {}
    for token, number in vocab.items():
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**32:
            raise CheckpointError("not an id", at=file, got=f"{number!r} for {token!r}")
        if number in owner:
            got = f"{owner[number]!r} and {token!r}"
            raise CheckpointError(f"two tokens have the id {number}", at=file, got=got)
        owner[number] = token
    return vocab


def known(vocab: Mapping[str, int], named: Named, role: str) -> str:
    """The token of a role, which the vocabulary must have.

    Raises:
        CheckpointError: it has not.
    """
    content = named[role].content if role in named else None
    if content is None or content not in vocab:
        raise CheckpointError("the vocabulary lacks a special token", got=repr(content), expected=role)
    return content
