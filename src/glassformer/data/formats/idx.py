"""IDX, the format of MNIST: a file of pictures and a file of labels side by side, named alike (LeCun et al. 1998)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.files import read_bytes
from glassformer.data.text import Document

SUFFIXES: tuple[str, ...] = (".idx",)
IMAGES, LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"
_ENDS = ("", ".gz")
_BYTES = 8  # the code of uint8
_MOST = 1 << 32


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """Refused: there is no text in pictures."""
    raise DataError("pictures hold no text", at=file, do="train on them with --objective classify_images")


def covers(place: Path, fields: Mapping[str, str]) -> bool:
    """Whether a place is one of the two files, what both names begin with, or a folder of such files."""
    return bool(_beginnings(place))


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example]:
    """``image``: uint8, height width · ``label``: a number.

    Raises:
        DataError: More than one pair of files, a file that is missing or damaged, or unequal numbers.
    """
    beginnings = _beginnings(file)
    if len(beginnings) != 1:
        got = ", ".join(beginning.name for beginning in beginnings)
        raise DataError("one pair of files", at=file, got=got or "none", do=f"say which, for instance {file}/train")
    images, labels = (_array(_file(beginnings[0], end), axes) for end, axes in ((IMAGES, 3), (LABELS, 1)))
    if len(images) != len(labels):
        got = f"{len(images)} pictures and {len(labels)} labels"
        raise DataError("one label a picture", at=beginnings[0], got=got)
    for number, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        yield Example(f"{beginnings[0]}, picture {number}", {"image": image, "label": str(label)})


def _beginnings(place: Path) -> list[Path]:
    """What the names of both files begin with, for each pair of a place."""
    if place.is_dir():
        files = [path for path in sorted(place.iterdir()) if path.is_file()]
        return sorted({found for path in files for found in _beginnings(path)})
    for end in (IMAGES, LABELS):
        head, middle, tail = place.name.partition(end)
        if middle and tail in _ENDS:
            return [place.with_name(head)]
    exists = any(place.with_name(f"{place.name}{IMAGES}{end}").is_file() for end in _ENDS)
    return [place] if place.name and exists else []


def _file(beginning: Path, middle: str) -> Path:
    for end in _ENDS:
        found = beginning.with_name(f"{beginning.name}{middle}{end}")
        if found.is_file():
            return found
    raise DataError("no such file", at=beginning.with_name(f"{beginning.name}{middle}"))


def _array(file: Path, axes: int) -> NDArray[Any]:
    """uint8 of so many axes: two zeros, a type, the number of axes, their sizes in 4 bytes each, the numbers."""
    raw = read_bytes(file, most=_MOST)
    head = 4 + 4 * axes
    if len(raw) < head or raw[:4] != bytes((0, 0, _BYTES, axes)):
        raise DataError("not IDX", at=file, got=raw[:4].hex(" "), expected=f"bytes of {axes} axes")
    sizes = [int.from_bytes(raw[place : place + 4], "big") for place in range(4, head, 4)]
    count = 1
    for size in sizes:
        count *= size
    if len(raw) - head != count or count == 0:
        got, expected = f"{len(raw) - head} numbers", f"{' x '.join(map(str, sizes))}"
        raise DataError("a damaged file of pictures", at=file, got=got, expected=expected)
    return np.frombuffer(raw, np.uint8, offset=head).reshape(sizes)
