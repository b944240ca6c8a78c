"""CoNLL-U: ten tab-separated columns a word, as Universal Dependencies write them (Nivre et al. 2020).

Words are the syntactic ones: the lines of multiword tokens (``3-4``) and of empty nodes (``5.1``) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from glassformer.core.errors import DataError
from glassformer.data.examples import Example
from glassformer.data.formats._lines import lines
from glassformer.data.formats.conll import Line, sentences
from glassformer.data.text import Document

SUFFIXES = (".conllu",)

_COLUMNS = ("id", "words", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_LEFT_OUT = re.compile(r"\d+-\d+|\d+\.\d+")
_TEXT = "# text ="


def read(file: Path, name: str, field: str) -> Iterator[Document]:
    """The text of each sentence, where the file says it, else its words with a space between."""
    for example in examples(file, {}):
        if isinstance(example, DataError):
            raise example
        yield Document(f"{name}:{example.place.rpartition(' ')[2]}", example["text"])


def examples(file: Path, fields: Mapping[str, str]) -> Iterator[Example | DataError]:
    """Sentences: ``text``, and a list each of ``words lemma upos xpos feats head deprel``; ``head`` 0 is the root."""
    for sentence in sentences(lines(file)):
        comments = [line for _, line in sentence if line.startswith("#")]
        rows = [(number, line) for number, line in sentence if not line.startswith("#")]
        words: list[list[str]] = []
        wrong = None
        for number, line in rows:
            cells = line.split("\t")
            wrong = _wrong(cells, len(words) + 1)
            if wrong is not None:
                yield DataError(wrong, at=f"{file}, line {number}", got=repr(line)[:100])
                break
            if not _LEFT_OUT.fullmatch(cells[0]):
                words.append(cells)
        if wrong is None and words:
            yield _example(file, rows, words, comments)


def _example(file: Path, rows: list[Line], words: list[list[str]], comments: list[str]) -> Example | DataError:
    at = f"{file}, line {rows[0][0]}"
    columns = dict(zip(_COLUMNS, map(list, zip(*words, strict=True)), strict=True))
    heads = [int(head) if head.isdecimal() else -1 for head in columns["head"]]
    has_heads = any(head != "_" for head in columns["head"])
    if has_heads and not all(0 <= head <= len(words) for head in heads):
        return DataError("a head that is no word of the sentence", at=at, got=" ".join(columns["head"])[:100])
    said = (line.removeprefix(_TEXT).strip() for line in comments if line.startswith(_TEXT))
    text = next(said, " ".join(columns["words"]))
    kept = {name: columns[name] for name in _COLUMNS[1:8]}
    return Example(at, {"text": text, **kept, **({"head": heads} if has_heads else {})})


def _wrong(cells: list[str], expected: int) -> str | None:
    """What is wrong with a line, the word with the number ``expected`` or one that is left out."""
    if len(cells) != len(_COLUMNS):
        return f"{len(cells)} columns instead of {len(_COLUMNS)}, with a tab between"
    if not all(cells):
        return "an empty column; what is not there is an underscore"
    if not _LEFT_OUT.fullmatch(cells[0]) and cells[0] != str(expected):
        return f"the word has another number than {expected}"
    return None
