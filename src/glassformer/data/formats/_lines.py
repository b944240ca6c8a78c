"""Lines of a text file, numbered as an editor numbers them."""

from __future__ import annotations

from pathlib import Path

from glassformer.data.files import read_bytes
from glassformer.data.text import decode_utf8


def lines(file: Path) -> list[str]:
    r"""All lines without their ends; only ``\n`` and ``\r\n`` end one, as other breaks may stand inside a text.

    Raises:
        DataError: The file is not UTF-8 text; with the line.
    """
    found = decode_utf8(read_bytes(file), at=file).split("\n")
    if not found[-1]:
        found.pop()
    return [line.removesuffix("\r") for line in found]
