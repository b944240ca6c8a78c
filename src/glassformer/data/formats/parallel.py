"""Files side by side whose lines belong together, such as a text and its translation, or words, tags and a label.

The place is a folder, or what the names of the files begin with; the fields say what they end with::

    multi30k/train    source=en target=de               multi30k/train.en.gz and multi30k/train.de.gz
    atis/train        words=seq.in tags=seq.out         atis/train/seq.in.gz and atis/train/seq.out.gz

A folder with ``seq.in`` and ``seq.out`` (and ``label``) needs no fields: its ``words`` and ``tags`` (and ``label``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.files import is_compression
from glassformer.data.formats._lines import lines
from glassformer.data.text import Document

SUFFIXES = ()

_SLOTS = {"words": "seq.in", "tags": "seq.out", "label": "label"}  # the folders of Goo et al. 2018


def covers(place: Path, fields: Mapping[str, str]) -> bool:
    """Whether the fields name files of the place, each one of its own; or it has the files of words and tags."""
    if place.is_file():
        return False
    if fields and not place.exists():
        known = _known(place.parent)
        return any(f"{place.name}.{ending}" in known for ending in fields.values())
    if fields:
        return len(set(fields.values())) > 1 and bool(_sets(place, list(fields.values())))
    return place.is_dir() and set(_slots(place)) >= {"words", "tags"}


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """No documents: those of one side are read as plain text."""
    raise DataError("parallel files are examples", at=file, do="for their text, name one of the files")


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example | DataError]:
    """A line of each file together.

    Raises:
        DataError: A file is missing, there are several sets of them, or they are not of one length.
    """
    found = _files(file, fields) if fields else _slots(file)
    if not found:
        begin = "" if file.is_dir() else f"{file.name}."
        got = ", ".join(f"{begin}{name}" for name in fields.values()) or "no fields"
        do = "say what their names end with: --field source=en --field target=de"
        raise DataError("these parallel files are not all there", at=file, got=got, do=do)
    texts = {name: lines(one) for name, one in found.items()}
    counts = {len(text) for text in texts.values()}
    if len(counts) > 1:
        got = ", ".join(f"{found[name].name} {len(text)}" for name, text in texts.items())
        raise DataError("parallel files of unequal length", at=file, got=f"lines: {got}")
    first = next(iter(found.values()))
    for number, row in enumerate(zip(*texts.values(), strict=True), start=1):
        yield Example(f"{first}, line {number}", dict(zip(texts, row, strict=True)))


def _files(place: Path, fields: Mapping[str, str]) -> dict[str, Path]:
    """Name → file."""
    endings = list(dict.fromkeys(fields.values()))
    sets = _sets(place, endings)
    if len(sets) == 1:
        (found,) = sets.values()
        return dict(zip(endings, found, strict=True))
    if sets:
        do = f"say one of them: {place / min(sets)}"
        raise DataError("several sets of parallel files", at=place, got=", ".join(sorted(sets)), do=do)
    return {}


def _sets(place: Path, endings: list[str]) -> dict[str, list[Path]]:
    """What the names of whole sets of files begin with → a file for each ending; whole names begin with nothing."""
    folder, begin = (place, "") if place.is_dir() else (place.parent, f"{place.name}.")
    known = _known(folder)
    if all(f"{begin}{ending}" in known for ending in endings):
        return {begin: [known[f"{begin}{ending}"] for ending in endings]}
    if begin:
        return {}
    first = endings[0]
    stems = [name.removesuffix(f".{first}") for name in known if name.endswith(f".{first}")]
    whole = [stem for stem in stems if all(f"{stem}.{ending}" in known for ending in endings)]
    return {stem: [known[f"{stem}.{ending}"] for ending in endings] for stem in whole}


def _slots(place: Path) -> dict[str, Path]:
    known = _known(place)
    return {word: known[name] for word, name in _SLOTS.items() if name in known}


def _known(folder: Path) -> dict[str, Path]:
    """The files of a folder by their names without the suffix of a compression."""
    files = sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
    return {file.stem if is_compression(file.suffix) else file.name: file for file in files}
