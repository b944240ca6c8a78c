"""Documents, and the checks that every text passes before anything is computed with it."""

from __future__ import annotations

from dataclasses import dataclass

from glassformer.core.errors import DataError


@dataclass(frozen=True)
class Document:
    """A text with the name that decides which split it belongs to, and the part of its source that it comes from."""

    name: str
    text: str
    part: str = ""


def decode_utf8(raw: bytes, *, at: object) -> str:
    """Bytes of a text file as text; a byte order mark is dropped.

    Raises:
        DataError: It is binary or not UTF-8; with the line.
    """
    if (place := raw.find(b"\0")) >= 0:
        line = raw.count(b"\n", 0, place) + 1
        raise DataError("a binary file, not text", at=f"{at}, line {line}", got="a zero byte", expected="UTF-8 text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        do = f"convert it, for example: iconv -f latin1 -t utf-8 {at}"
        got = f"byte 0x{raw[error.start]:02x}"
        raise DataError("not UTF-8", at=f"{at}, line {line}", got=got, expected="UTF-8 text", do=do) from None


def refuse_surrogates(text: str, *, at: object = None) -> None:
    """Half a character cannot be encoded.

    Raises:
        DataError: The text holds a lone surrogate, which no UTF-8 text can.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X} at character {error.start}"
        do = "decode the text as UTF-8 with errors='replace' first"
        raise DataError("the text holds half of a character (a lone surrogate)", at=at, got=found, do=do) from None
