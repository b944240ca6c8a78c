"""What data holds before anything is trained on it: counts, lengths, labels, and every line that cannot be used."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from glassformer.core.discovery import load
from glassformer.core.errors import DataError
from glassformer.data.batch import IGNORED, Sample
from glassformer.data.choosing import name_of, placed
from glassformer.data.examples import Example, read_examples
from glassformer.data.sources import EMBEDDED, open_source
from glassformer.data.text import refuse_surrogates
from glassformer.tokenizers.tokenizer import Tokenizer
from glassformer.train.objective import ExampleObjectiveConfig, Reading

#: Bad lines that are kept with their reasons; those beyond are counted.
MOST_BAD = 100
SHOWN = 5
_DOCUMENT_TOKENS = 24
_MOST_SHOWN = 400
_AT_ONCE = 256
#: Formats whose documents are one field of their examples, so that a bad one does not end the reading.
_ROWS = {"json_lines", "table", "parquet"}

Say = Callable[[str], None]


@dataclass
class Bad:
    """What is wrong with the data: the first lines with their reasons, and the number of all."""

    lines: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, error: DataError) -> None:
        self.count += 1
        if len(self.lines) < MOST_BAD:
            self.lines.append(str(error).encode(errors="backslashreplace").decode())


def documents(place: str, fields: Mapping[str, str], bad: Bad) -> Iterator[Example]:
    """The documents of a place as examples with a ``text``."""
    if place.startswith(EMBEDDED):
        for document in open_source(place).documents():
            yield Example(document.name, {"text": document.text})
        return
    name, is_empty = fields.get("text", "text"), True
    for module, file in placed(Path(place), {}):
        is_row = name_of(module) in _ROWS
        found = read_examples(file, broken=bad.add) if is_row else _read(module, file)
        try:
            for example in found:
                is_empty = False
                yield from _with_text(example, name if is_row else "text", bad)
        except DataError as error:
            is_empty = False
            bad.add(error)
    if is_empty:
        raise DataError("empty: there is no text here", at=place)


def _read(module: Any, file: Path) -> Iterator[Example]:
    return (Example(found.name, {"text": found.text}) for found in module.read(file, str(file), "text"))


def _with_text(example: Example, field: str, bad: Bad) -> Iterator[Example]:
    try:
        yield Example(example.place, {"text": example.text(field)})
    except DataError as error:
        bad.add(error)


def is_plain(place: str, fields: Mapping[str, str]) -> bool:
    """Whether every file of a place is plain text."""
    plain = load("data.formats", "text")
    return all(module is plain for module, _ in placed(Path(place), fields))


def counted(examples: Sequence[Example]) -> dict[str, Any]:
    """Number, duplicates, and of each field how many have it, how many are empty, and how long it is."""
    names = dict.fromkeys(name for example in examples for name in example.fields)
    seen = {hashlib.sha256(repr(sorted(example.fields.items(), key=_first)).encode()).digest() for example in examples}
    fields = {name: _field([example.fields[name] for example in examples if name in example.fields]) for name in names}
    return {"examples": len(examples), "duplicates": len(examples) - len(seen), "fields": fields}


def _first(pair: tuple[Any, Any]) -> str:
    return str(pair[0])


def _field(values: list[Any]) -> dict[str, Any]:
    texts = [len(value) for value in values if isinstance(value, str)]
    lists = [len(value) for value in values if isinstance(value, list | tuple)]
    found: dict[str, Any] = {"present": len(values), "empty": sum(map(_is_empty, values))}
    found |= {"characters": spread(texts)} if texts else {}
    return found | ({"items": spread(lists)} if lists else {})


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {}, ())


def spread(lengths: Iterable[int]) -> dict[str, float]:
    """Smallest, median, that below which 95 % are, and largest."""
    values = np.fromiter(lengths, dtype=np.int64)
    if not len(values):
        return {}
    median, high = np.percentile(values, [50, 95])
    return {"min": int(values.min()), "median": float(median), "95%": float(high), "max": int(values.max())}


def label_counts(examples: Iterable[Example], objective: ExampleObjectiveConfig | None) -> dict[str, int]:
    """How often each label occurs: those of an objective, or of a field ``label``; the common ones first."""
    found: Counter[str] = Counter()
    for example in examples if objective is None else named(examples, objective):
        if objective is not None:
            found.update(objective.names(example))
        elif not isinstance(example.fields.get("label"), list | dict | None):
            found[str(example.fields["label"])] += 1
    return dict(found.most_common())


def named(examples: Iterable[Example], objective: ExampleObjectiveConfig) -> list[Example]:
    """Those that have the labels of an objective; the others are named where their samples are made."""
    return [example for example in examples if _has_names(example, objective)]


def _has_names(example: Example, objective: ExampleObjectiveConfig) -> bool:
    try:
        list(objective.names(example))
    except DataError:
        return False
    return True


def sampled(
    examples: Sequence[Example], objective: ExampleObjectiveConfig, reading: Reading, bad: Bad, say: Say
) -> dict[str, Any]:
    """Lengths in tokens, and some examples as the model sees them; what cannot be used is told to ``bad``."""
    usable, sizes = 0, list[int]()
    shown: list[dict[str, Any]] = []
    for first in range(0, len(examples), _AT_ONCE):
        say(f"{first:,} of {len(examples):,} examples encoded ...")
        for some, rows in _rows_of(examples[first : first + _AT_ONCE], objective, reading, bad):
            usable += len(some)
            sizes += [row.size for row in rows]
            if len(shown) < SHOWN:
                shown += [seen_as(example, objective, reading) for example in some[: SHOWN - len(shown)]]
    return {"usable": usable, "rows": len(sizes), "tokens": spread(sizes), "shown": shown}


def _rows_of(
    some: Sequence[Example], objective: ExampleObjectiveConfig, reading: Reading, bad: Bad
) -> Iterator[tuple[Sequence[Example], list[Sample]]]:
    """Examples with their rows: all at once, or, where one of them is bad, by halves."""
    try:
        yield some, objective.samples(some, reading)
    except DataError as error:
        if len(some) == 1:
            bad.add(error)
            return
        middle = len(some) // 2
        for part in (some[:middle], some[middle:]):
            yield from _rows_of(part, objective, reading, bad)


def seen_as(example: Example, objective: ExampleObjectiveConfig, reading: Reading) -> dict[str, Any]:
    """The first row of an example for a person, with the example's place."""
    said = {*objective.names(example)}
    row = objective.samples([example], reading)[0]
    return {"place": example.place, **seen(row, reading.tokenizer, reading.labels if said else (), said)}


def encoded(examples: Sequence[Example], tokenizer: Tokenizer, say: Say) -> dict[str, Any]:
    """The same for documents, of which the beginning is shown."""
    sizes: list[int] = []
    shown: list[dict[str, Any]] = []
    for number, example in enumerate(examples, start=1):
        if number % 50 == 0:
            say(f"{number:,} documents encoded ...")
        (ids,) = tokenizer.encode_documents([example["text"]])
        sizes.append(len(ids))
        if len(shown) < SHOWN:
            shown.append({"place": example.place, "tokens": pieces(ids[:_DOCUMENT_TOKENS], tokenizer)})
    return {"usable": len(sizes), "rows": len(sizes), "tokens": {**spread(sizes), "all": sum(sizes)}, "shown": shown}


def seen(sample: Sample, tokenizer: Tokenizer, names: Sequence[str], said: Collection[str] = ()) -> dict[str, Any]:
    """A sample for a person: pieces of text for ids, names for labels; None where a token has no label.

    Args:
        sample: The row.
        tokenizer: Of its ids.
        names: Of the labels by number; none where labels are no names.
        said: Those that the example has.
    """
    found: dict[str, Any] = {"tokens": pieces(sample.tokens, tokenizer)}
    if sample.segments is not None:
        found["segments"] = list(sample.segments)
    if sample.target is not None:
        found["target"] = pieces(sample.target, tokenizer)
    labels = {name: _labels(value, tokenizer, names, said) for name, value in sample.labels.items()}
    return {**found, "labels": labels} if labels else found


def _labels(value: float | Sequence[int], tokenizer: Tokenizer, names: Sequence[str], said: Collection[str]) -> Any:
    if isinstance(value, int | float):
        return names[value] if names and isinstance(value, int) else value
    if len(value) == len(names) and {name for name, has in zip(names, value, strict=True) if has == 1} == {*said}:
        return sorted(said)  # a yes or no for each label of the set
    if names:
        return [None if number == IGNORED else names[number] for number in value]
    return [None if number == IGNORED else piece(number, tokenizer) for number in value]


def pieces(ids: Iterable[int], tokenizer: Tokenizer) -> list[str]:
    """The text of each token; the name of a special one."""
    return [piece(token, tokenizer) for token in ids]


def piece(token: int, tokenizer: Tokenizer) -> str:
    """The text of a token as far as it is whole characters; the name of a special one."""
    raw = tokenizer.token_bytes(token)
    return raw.decode(errors="replace") if raw else tokenizer.token_content(token)


def complete(examples: Iterable[Example], objective: ExampleObjectiveConfig, bad: Bad) -> int:
    """How many examples have all fields of an objective that reads no text; the others are told to ``bad``."""
    count = 0
    for example in examples:
        try:
            _ = [example[name] for name in objective.FIELDS], [*objective.names(example)]
            count += 1
        except DataError as error:
            bad.add(error)
    return count


def raw_rows(examples: Iterable[Example]) -> list[dict[str, Any]]:
    """The first examples with their fields, where there is no tokenizer."""
    rows = ((example.place, example.fields) for example in islice(examples, SHOWN))
    return [
        {"place": place, "fields": {str(name): shown(value) for name, value in fields.items()}}
        for place, fields in rows
    ]


def shown(value: Any) -> Any:
    """A value for a person and for JSON, the long ones cut, what JSON does not know as Python writes it."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [shown(item) for item in value[:_MOST_SHOWN]]
    if isinstance(value, Mapping):
        return {str(name): shown(item) for name, item in islice(value.items(), _MOST_SHOWN)}
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} ..."


def whole(examples: Iterable[Example], bad: Bad) -> Iterator[Example]:
    """The examples without those that hold half of a character anywhere, which no output can say."""
    for example in examples:
        try:
            _refuse_halves(example.fields, example.place)
        except DataError as error:
            bad.add(error)
        else:
            yield example


def _refuse_halves(value: Any, place: str) -> None:
    if isinstance(value, str):
        refuse_surrogates(value, at=place)
    elif isinstance(value, Mapping):
        _refuse_halves([*value, *value.values()], place)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_halves(item, place)
