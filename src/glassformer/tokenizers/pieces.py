"""The bytes that one token stands for, told from the decoder of its ``tokenizer.json``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@cache
def byte_characters() -> dict[int, str]:
    """The printable character that stands for each byte in byte-level vocabularies (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


@cache
def _character_bytes() -> dict[str, int]:
    return {character: byte for byte, character in byte_characters().items()}


def steps(section: Mapping[str, Any] | None, inner: str) -> Iterator[Mapping[str, Any]]:
    """The parts of a decoder or normalizer section, with sequences (held under ``inner``) laid out flat."""
    if section is None:
        return
    if section.get("type") == "Sequence":
        for part in section.get(inner, ()):
            yield from steps(part, inner)
    else:
        yield section


class Pieces:
    """Token text → bytes, for byte-level, byte-fallback, Metaspace, WordPiece and plain vocabularies.

    ``byte_level``: every token is a string of bytes, and no sign for the end of a word is among them, as CLIP's has.
    """

    def __init__(self, description: Mapping[str, Any]) -> None:
        decoder = list(steps(description.get("decoder"), "decoders"))
        kinds = {step.get("type") for step in decoder}
        self._of_bytes = "ByteLevel" in kinds
        self._word_end = next((end for step in decoder if (end := _word_end(step))), None) if self._of_bytes else None
        self.byte_level = self._of_bytes and self._word_end is None
        self._byte_fallback = "ByteFallback" in kinds
        self._space = next((step["replacement"] for step in decoder if step.get("type") == "Metaspace"), None)
        if self._space is None and any(_replaces_underline(step) for step in decoder):
            self._space = "▁"
        self._continuation = next((step["prefix"] for step in decoder if step.get("type") == "WordPiece"), None)

    def bytes_of(self, piece: str) -> bytes:
        """The bytes that the token ``piece`` adds to a text (in the middle of it)."""
        if self._of_bytes:
            inside = piece.removesuffix(self._word_end or "")
            return _byte_level(inside) + b" " * (inside != piece)
        if self._byte_fallback and (match := _BYTE_TOKEN.fullmatch(piece)):
            return bytes([int(match[1], 16)])
        if self._space is not None:
            return piece.replace(self._space, " ").encode()
        if self._continuation is not None:
            joined = piece.startswith(self._continuation)
            return piece.removeprefix(self._continuation).encode() if joined else b" " + piece.encode()
        return piece.encode()


def _replaces_underline(step: Mapping[str, Any]) -> bool:
    return step.get("type") == "Replace" and step.get("pattern") == {"String": "▁"} and step.get("content") == " "


def _word_end(step: Mapping[str, Any]) -> str | None:
    """What stands for the space behind a word, such as ``</w>``."""
    pattern = step.get("pattern")
    is_space = step.get("type") == "Replace" and step.get("content") == " " and isinstance(pattern, Mapping)
    return pattern.get("String") if is_space and pattern is not None else None


def _byte_level(piece: str) -> bytes:
    """As the library decodes: a token with one foreign character is taken literally."""
    table = _character_bytes()
    if all(character in table for character in piece):
        return bytes(table[character] for character in piece)
    return piece.encode()
