from __future__ import annotations

import gzip
import json
import lzma
import sys
import sysconfig
from pathlib import Path

import pytest

from glassformer.core.errors import DataError, UnknownNameError
from glassformer.data.files import files_under
from glassformer.data.repeats import drop_repeats, leak, paragraphs, repeated_share
from glassformer.data.sources import embedded_names, open_source
from glassformer.data.splits import by_name, by_tail, chosen_by_name, cut_tail, split_of
from glassformer.data.text import Document

LINES = '{"text": "first"}\n\n{"text": "", "n": 1}\n{"n": 2, "text": "third é"}\n'


def texts(place: Path, **options: str) -> dict[str, str]:
    return {document.name: document.text for document in open_source(place, **options).documents()}


def test_a_text_file_is_one_document(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfzwei\r\nZeilen \xc3\xa9")
    assert texts(tmp_path / "a.txt") == {"a.txt": "zwei\r\nZeilen é"}


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path) -> None:
    (tmp_path / "b/c").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/no.txt").write_text("no")
    (tmp_path / "b/c/two.md").write_text("2")
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "z.jsonl").write_text(LINES)
    found = texts(tmp_path)
    assert list(found) == ["a.py", "b/c/two.md", "z.jsonl:1", "z.jsonl:4"]
    assert found["z.jsonl:4"] == "third é"
    assert [name for _, name in files_under(tmp_path)] == ["a.py", "b/c/two.md", "empty.txt", "z.jsonl"]


def test_compressed_files_are_read_in_place(tmp_path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("größer".encode()))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    (tmp_path / "c.txt.xz").write_bytes(lzma.compress(b"x"))
    assert list(texts(tmp_path).values()) == ["größer", "first", "third é", "x"]


def test_another_field_may_hold_the_text(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "b", "text": 3}\n')
    assert texts(tmp_path / "a.jsonl", field="body") == {"a.jsonl:1": "b"}


FORMAT = """
from glassformer.data.text import Document

SUFFIXES = (".shout",)


def read(file, name, field):
    yield Document(name, file.read_text().upper())
"""
CORPUS = """
from glassformer.data.text import Document

ABOUT, LICENCE = "a poem", "CC0-1.0"
PARTS = {"verses": lambda: iter([Document(str(n), f"verse {n}", "verses") for n in range(99)])}
"""


def test_a_new_file_in_the_folder_adds_a_format(tmp_path, drop_in) -> None:
    drop_in("data.formats", "shout", FORMAT)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/a.shout").write_text("quiet")
    assert texts(tmp_path / "a") == {"a.shout": "QUIET"}


def test_a_new_file_in_the_folder_adds_a_corpus(drop_in) -> None:
    drop_in("data.embedded", "poem", CORPUS)
    source = open_source("embedded:poem/verses")
    assert source.licence == "CC0-1.0"
    assert {split for split, _ in source.split()} == {"train", "validation", "test"}


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", r"a\.txt: empty: there is no text here"),
        ("a.txt", b"one\ntwo\0", r"a\.txt, line 2: a binary file, not text"),
        ("a.txt", b"one\n\ntwo \xe9", r"a\.txt, line 3: not UTF-8 · got byte 0xe9.*iconv"),
        ("a.txt.gz", b"nothing of the kind", r"a\.txt\.gz: a damaged compressed file"),
        ("a.txt.gz", gzip.compress(b"text" * 1000, mtime=0)[:-9], r"a\.txt\.gz: a damaged compressed file"),
        ("a.txt.xz", b"nothing of the kind", r"a\.txt\.xz: a damaged compressed file"),
        ("a.jsonl", b"", r"a\.jsonl: empty"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n', r"a\.jsonl, line 2, column \d+: not JSON"),
        ("a.jsonl", b'{"text": "a"}\n"b"\n', r"a\.jsonl, line 2: not a JSON object · got str"),
        ("a.jsonl", b'{"text": "a"}\n\n{"body": "b"}\n', r"a\.jsonl, line 3: no field 'text' · got body"),
        ("a.jsonl", b"{}\n", r"a\.jsonl, line 1: no field 'text' · got no fields"),
        ("a.jsonl", b'{"text": 3}\n', r"a\.jsonl, line 1: field 'text' is not text · got int"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"a\.jsonl, line 1: .*lone surrogate"),
        ("a.jsonl", b'{"text": "\xff"}\n', r"a\.jsonl, line 1, line 1: not UTF-8"),
        ("a.jsonl", b"[" * 100_000 + b"\n", r"a\.jsonl, line 1: JSON nested too deeply"),
    ],
)
def test_bad_files_are_one_line_with_file_and_line(tmp_path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        texts(tmp_path / name)


def test_nothing_there(tmp_path) -> None:
    with pytest.raises(DataError, match=r"none: no such file or folder"):
        open_source(tmp_path / "none")
    with pytest.raises(DataError, match="a folder without files"):
        open_source(tmp_path)
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").touch()
    with pytest.raises(DataError, match="empty"):
        texts(tmp_path)


# -- splits -----------------------------------------------------------------------------------------------------------


def test_splits_are_tenths_by_name() -> None:
    splits = [split_of(f"document {number}") for number in range(2000)]
    assert abs(splits.count("test") - 200) < 50
    assert abs(splits.count("validation") - 200) < 50
    assert split_of("string-methods") == "test"
    assert split_of("assignment") == "validation"


def test_a_larger_portion_holds_the_smaller() -> None:
    names = [f"document {number}" for number in range(1000)]
    portions = [{name for name in names if chosen_by_name(name, portion)} for portion in (0.1, 0.25, 1.0)]
    assert portions[0] < portions[1] < portions[2] == set(names)
    assert abs(len(portions[1]) - 250) < 50
    tested = [name for name in portions[1] if split_of(name) == "test"]
    assert 10 < len(tested) < 50


def test_many_documents_are_split_whole(tmp_path) -> None:
    rows = [json.dumps({"text": f"text {number}"}) for number in range(300)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    source = open_source(tmp_path / "a.jsonl")
    train, validation = ({d.name for d in source.documents(split)} for split in ("train", "validation"))
    assert train | validation == {f"a.jsonl:{number}" for number in range(1, 301)}
    assert not train & validation
    assert 15 < len(validation) < 50
    assert not list(source.documents("test"))
    assert {split for split, _ in by_name(source.documents(), holds_test=True)} == {"train", "validation", "test"}


def test_few_documents_are_cut_near_their_end(tmp_path) -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    (tmp_path / "a.txt").write_text(text)
    source = open_source(tmp_path / "a.txt")
    (train,), (validation,) = (list(source.documents(split)) for split in ("train", "validation"))
    assert train.text + validation.text == text
    assert validation.text.startswith("line ")
    assert abs(len(validation.text) - len(text) / 10) < 20
    assert not list(source.documents("test"))


@pytest.mark.parametrize(
    "text", ["a", "ab", "no line break at all " * 20, "\n", "a\n" * 30, "x" * 200 + "\n" + "y" * 3]
)
def test_cutting_loses_nothing(text: str) -> None:
    head, tail = cut_tail(text)
    assert head + tail == text
    assert tail
    assert len(tail) <= max(1, round(len(text) / 10))
    parts = [(split, document.text) for split, document in by_tail([Document("n", text)])]
    assert "".join(part for _, part in parts) == text


# -- repeats ----------------------------------------------------------------------------------------------------------


def test_texts_that_mostly_repeat_longer_ones_are_dropped() -> None:
    chapter = "First paragraph.\n\nSecond\nparagraph.\n\nThird one."
    topics = {
        "book": chapter + "\n\nFourth.",
        "chapter": chapter,
        "own": "Second\nparagraph.\n\nWords of its own, many.",
    }
    assert paragraphs(chapter) == ["First paragraph.", "Second\nparagraph.", "Third one."]
    assert sorted(drop_repeats(topics)) == ["book", "own"]
    assert sorted(drop_repeats(topics, most=1.0)) == ["book", "chapter", "own"]
    assert repeated_share("", {"a"}) == 0.0
    assert leak(["Third one.\n\nabcdefghij"], [chapter]) == 0.5


# -- embedded corpora -------------------------------------------------------------------------------------------------


def test_embedded_corpora_are_found() -> None:
    assert {"reference", "stdlib"} <= set(embedded_names())
    with pytest.raises(UnknownNameError, match=r"embedded:referense: no such embedded corpus.*reference"):
        open_source("embedded:referense")
    with pytest.raises(UnknownNameError, match=r"embedded:stdlib/dogs: no such part.*docs"):
        open_source("embedded:stdlib/dogs")


def test_reference_is_split_by_topic_and_does_not_leak() -> None:
    source = open_source("embedded:reference")
    held = {split: {d.name: d.text for d in source.documents(split)} for split in ("train", "validation", "test")}
    assert min(map(len, held.values())) >= 3
    assert sum(map(len, held.values())) == len({name for part in held.values() for name in part}) > 40
    assert sum(len(text) for text in held["test"].values()) > 20_000
    training = [*held["train"].values(), *held["validation"].values()]
    assert leak(held["test"].values(), training) < 0.006  # without the rule it is 0.19
    from pydoc_data.topics import topics

    plain = {name: text for name, text in topics.items() if split_of(name) == "test"}
    assert leak(plain.values(), [text for name, text in topics.items() if name not in plain]) > 0.1
    assert source.licence == "PSF-2.0"
    assert source.digest() == open_source("embedded:reference").digest()


@pytest.fixture
def small_library(tmp_path, monkeypatch) -> Path:
    files = {
        "a.py": '"""Module a."""\n\ndef f():\n    """Does f."""\n    return 1\n',
        "pack/__init__.py": "",
        "pack/b.py": '"""Module b."""\nclass C:\n    "Does f."\n    def g(self): "Does g."\n',
        "test/test_a.py": '"""A test."""\n',
        "encodings/utf.py": '"""A table."""\n',
        "idlelib/idle_test/x.py": '"""A test."""\n',
        "none.py": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    return tmp_path


def test_the_library_gives_docstrings_and_source_without_tests(small_library) -> None:
    found = [(d.part, d.name, d.text) for d in open_source("embedded:stdlib").documents()]
    assert [entry for entry in found if entry[0] == "docs"] == [
        ("docs", "a.py", "Module a.\n\nDoes f."),
        ("docs", "pack/b.py", "Module b.\n\nDoes g."),
    ]
    assert [name for part, name, _ in found if part == "source"] == ["a.py", "none.py", "pack/b.py"]
    assert [d.part for d in open_source("embedded:stdlib/source").documents()] == ["source"] * 3


def test_a_python_without_its_texts_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(DataError, match="no help texts"):
        list(open_source("embedded:reference").documents())
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DataError, match="no source of its standard library"):
        list(open_source("embedded:stdlib").documents())
