"""Pictures, one folder a class, as they lie on a disk or in a .tar or .zip; they are decoded when they are used."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.files import files_under, format_suffix, is_compression, open_file
from glassformer.data.images import Encoded
from glassformer.data.text import Document

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
ARCHIVES = (".tar", ".zip")
SUFFIXES = (*PICTURES, *ARCHIVES)
#: A picture of more bytes is refused before it is read from an archive.
MOST_BYTES = 1 << 28
_LOOKED_AT = 200

Found = list[tuple[str, Encoded]]


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """Refused: there is no text in pictures."""
    raise DataError("pictures hold no text", at=file, do="train on them with --objective classify_images")


def covers(place: Path, fields: Mapping[str, str]) -> bool:
    """Whether a folder holds pictures, and little else."""
    if not place.is_dir():
        return False
    looked_at = [is_picture(path.name) for path in islice(place.rglob("*"), _LOOKED_AT) if path.is_file()]
    return sum(looked_at) > len(looked_at) // 2


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example]:
    """``image``, and as ``label`` the folders that it lies in, below the one that all lie in; sorted by name.

    Raises:
        DataError: There is no picture, or an archive is damaged.
    """
    held = sorted(_held(file))
    if not held:
        raise DataError("no pictures", at=file, expected=f"files that end in {', '.join(PICTURES)}")
    folders = [PurePosixPath(name).parent.parts for name, _ in held]
    shared = _shared(min(folders), max(folders))
    for (name, image), folder in zip(held, folders, strict=True):
        label = {"label": "/".join(folder[shared:])} if folder[shared:] else {}
        place = f"{file}: {name}" if _is_archive(file) else str(image.file)
        yield Example(place, {"image": image, **label})


def _shared(first: tuple[str, ...], last: tuple[str, ...]) -> int:
    """How many steps the first and the last of sorted paths share, and all between them."""
    pairs = enumerate(zip(first, last, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(first), len(last)))


def is_picture(name: str) -> bool:
    """Whether a file is one, by its name."""
    steps = name.split("/")
    return name.lower().endswith(PICTURES) and not any(step.startswith((".", "__MACOSX")) for step in steps)


def _held(file: Path) -> Found:
    """The pictures of a folder, an archive, or a single file."""
    if file.is_dir():
        return [(name, Encoded(path)) for path, name in files_under(file) if is_picture(name)]
    if not _is_archive(file):
        return [(file.name, Encoded(file))]
    return _in_zip(file) if format_suffix(file) == ".zip" else _in_tar(file)


def _is_archive(file: Path) -> bool:
    return not file.is_dir() and format_suffix(file) in ARCHIVES


def _in_tar(file: Path) -> Found:
    """Pieces of the file, or bytes where that is compressed."""
    found: Found = []
    in_memory = is_compression(file.suffix)
    try:
        with open_file(file) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not (member.isfile() and is_picture(member.name)):
                    continue
                _check_size(member.size, file, member.name)
                piece = archive.extractfile(member) if in_memory or member.issparse() else None
                raw = None if piece is None else piece.read()
                found.append((member.name, Encoded(file, member.offset_data, member.size, raw)))
    except tarfile.TarError as error:
        raise DataError("a damaged archive", at=file, got=error) from None
    return found


def _in_zip(file: Path) -> Found:
    found: Found = []
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if not member.is_dir() and is_picture(member.filename):
                    _check_size(member.file_size, file, member.filename)
                    found.append((member.filename, Encoded(file, raw=archive.read(member))))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # zipfile raises the last two for a compression that it does not know and for a password
        raise DataError("a damaged or locked archive", at=file, got=error) from None
    return found


def _check_size(size: int, file: Path, name: str) -> None:
    if size > MOST_BYTES:
        at, expected = f"{file}: {name}", f"at most {MOST_BYTES:,}"
        raise DataError("a picture of too many bytes", at=at, got=f"{size:,}", expected=expected)
