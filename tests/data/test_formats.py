from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from glassformer.core.errors import DataError, UnknownNameError, UnsupportedError
from glassformer.data.choosing import format_of, name_of
from glassformer.data.examples import Example, examples_of, read_examples
from glassformer.data.files import format_suffix, read_bytes
from glassformer.data.formats import json_value
from glassformer.data.sources import open_source

zstd = pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write


def rows(place: Path, **fields: str) -> list[dict[str, object]]:
    return [dict(example.fields) for example in read_examples(place, fields)]


def lines(place: Path, **fields: str) -> list[str]:
    return [example.place.removeprefix(f"{place}, ") for example in read_examples(place, fields)]


def both(place: Path, **fields: str) -> tuple[list[Example], list[str]]:
    bad: list[DataError] = []
    return list(read_examples(place, fields, broken=bad.append)), [str(error) for error in bad]


# -- compressed files -------------------------------------------------------------------------------------------------

PACK = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstd.compress}
TEXT = "".join(f'{{"text": "größe {number}"}}\n' for number in range(5000)).encode()


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_files_are_read_in_place(write, suffix) -> None:
    file = write(f"a.jsonl{suffix}", PACK[suffix](TEXT))
    assert format_suffix(file) == ".jsonl"
    assert read_bytes(file) == TEXT
    assert [document.text for document in open_source(file).documents()][4999] == "größe 4999"


@pytest.mark.parametrize("suffix", PACK)
def test_files_of_several_parts_are_read_to_the_end(write, suffix) -> None:
    assert read_bytes(write(f"a.txt{suffix}", PACK[suffix](b"one ") + PACK[suffix](b"two"))) == b"one two"


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("damage", ["cut", "other", "wrong inside"])
def test_damaged_files_are_one_line(write, suffix, damage) -> None:
    whole = PACK[suffix](TEXT)
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:-20],
        "other": b"nothing of the kind",
        "wrong inside": whole[:middle]
        + bytes(byte ^ 0xFF for byte in whole[middle : middle + 40])
        + whole[middle + 40 :],
    }
    file = write(f"a.jsonl{suffix}", damaged[damage])
    with pytest.raises(DataError, match=r"a\.jsonl.*: a damaged compressed file"):
        read_bytes(file)
    if damage == "cut":
        examples, bad = both(file)
        assert len(bad) == 1 and "a damaged compressed file" in bad[0]
        assert [example["text"] for example in examples] == [f"größe {number}" for number in range(len(examples))]


def test_zst_without_its_library_says_what_to_install(write, monkeypatch) -> None:
    file = write("a.txt.zst", zstd.compress(b"text"))
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.delattr("backports.zstd", raising=False)
    with pytest.raises(UnsupportedError, match=r"a\.txt\.zst: reading \.zst .* pip install 'glassformer\[data\]'"):
        read_bytes(file)
    with pytest.raises(DataError, match="a damaged compressed file"):
        read_bytes(write("b.txt.gz", b"nothing of the kind"))


def test_an_error_of_the_disk_stays_one(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none.txt.bz2")


# -- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_has_its_names_in_the_first_line(write) -> None:
    file = write("a.csv", b'\xef\xbb\xbftext,label\r\n"a, ""b""\r\nc",1\r\n\r\nd,2\r\n')
    assert rows(file) == [{"text": 'a, "b"\r\nc', "label": "1"}, {"text": "d", "label": "2"}]
    assert lines(file) == ["line 2", "line 5"]
    assert [document.name for document in open_source(file).documents()] == ["a.csv:2", "a.csv:5"]


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters='\n\t",é\x0b\u2028'), max_size=6)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6))
def test_a_csv_is_what_its_writer_wrote_line_by_line(tmp_path, table) -> None:
    file, written, starts = tmp_path / "a.csv", io.StringIO(newline=""), []
    writer = csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["text", "label"])
    for row in table:
        starts.append(f"line {written.getvalue().count(chr(10)) + 1}")
        writer.writerow(row)
    file.write_bytes(written.getvalue().encode())
    assert [tuple(row.values()) for row in rows(file)] == table
    assert lines(file) == starts


def test_a_tsv_is_taken_as_it_stands(write) -> None:
    odd = 'say "a\u2028b\x0cc'
    file = write("a.tsv", f"text\tlabel\n{odd}\t1\n'\"\t\n")
    assert rows(file) == [{"text": odd, "label": "1"}, {"text": "'\"", "label": ""}]
    assert lines(file) == ["line 2", "line 3"]


def test_columns_may_be_said_by_numbers(write) -> None:
    file = write("a.tsv", "walk\tV;PST\twalked\ngo\tV;PST\twent\n")
    found = rows(file, source="1+2", target="3")
    assert [(row["source"], row["target"]) for row in found] == [("walk V;PST", "walked"), ("go V;PST", "went")]
    with pytest.raises(DataError, match=r"line 1: no field 'label' · got 1, 2, 3 .*--field label=NAME"):
        next(read_examples(file, {"label": "4"}))["label"]


def test_a_cell_may_be_long(write) -> None:
    assert len(rows(write("a.csv", f'text,label\n"{"long " * 100_000}",1\n'))[0]["text"]) == 500_000


def test_rows_of_another_width_are_named_and_the_others_read(write) -> None:
    file = write("a.csv", 'text,label\na,1\nb\nc,2,3\n"d"e,4\nf,5\n"g,6\nh,7\n')
    examples, bad = both(file)
    assert [example["text"] for example in examples] == ["a", "f"]
    assert [line.removeprefix(f"{file}, ").partition(" ·")[0] for line in bad] == [
        "line 3: a row of another width",
        "line 4: a row of another width",
        "line 5: a broken table",
        "line 7: a broken table",
    ]
    with pytest.raises(DataError, match=r"a\.csv, line 3: a row of another width · got 1 cells · expected 2"):
        rows(file)


def test_a_column_cannot_be_there_twice(write) -> None:
    with pytest.raises(DataError, match=r"line 1: two columns of one name · got text, text.*say their numbers"):
        rows(write("a.csv", "text,text\na,b\n"))
    assert rows(write("b.csv", "text,text\na,b\n"), label="2")[1]["label"] == "b"


def test_other_files_are_tables_where_the_fields_say_so(write) -> None:
    splice = write("splice.txt", "EI,   NAME-1,   CCAG\nN,    NAME-2,   TTAG\n")
    assert [row["text"] for row in rows(splice, label="1", text="3")] == ["CCAG", "TTAG"]
    sick = write("sick.txt", "id\tsentence_A\tsentence_B\tscore\n1\ta b\tc d\t4.5\n")
    (found,) = read_examples(sick, {"text": "sentence_A", "pair": "sentence_B", "label": "score"})
    assert (found.text("text"), found.text("pair"), found.number("label")) == ("a b", "c d", 4.5)
    assert rows(sick)[0] == {"text": "id\tsentence_A\tsentence_B\tscore"}
    assert rows(write("deu.trn", "a\tb\n"), source="1", target="2")[0]["target"] == "b"


def test_a_field_that_is_said_is_never_another(write) -> None:
    file = write("a.jsonl", '{"text": "a", "label": 1, "stars": 5}\n{"text": "b", "label": 1}\n')
    first, second = read_examples(file, {"label": "stars", "text": "text"})
    assert (first.label("label"), first["text"]) == ("5", "a")
    with pytest.raises(DataError, match=r"line 2: no field 'label' · got text"):
        second.label("label")
    swapped = next(read_examples(file, {"text": "label", "label": "text"}))
    assert (swapped["text"], swapped["label"]) == (1, "a")


# -- lines, JSON Lines ------------------------------------------------------------------------------------------------


def test_lines_are_those_of_an_editor(write) -> None:
    file = write("a.txt", b"\xef\xbb\xbfone\x0cmore\xe2\x80\xa8still\r\n\r\n  \nfour")
    assert rows(file) == [{"text": "one\x0cmore\u2028still"}, {"text": "four"}]
    assert lines(file) == ["line 1", "line 4"]


def test_json_lines_go_on_after_a_bad_one(write) -> None:
    long = "9" * 5000
    file = write("a.jsonl", f'{{"text": "a"}}\n[1]\n{{"text": \n{{"n": {long}}}\n\n{"[" * 100_000}\n{{"text": "b"}}\n')
    examples, bad = both(file)
    assert [example["text"] for example in examples] == ["a", "b"]
    assert [line.removeprefix(f"{file}, ").partition(" ·")[0].partition(", column")[0] for line in bad] == [
        "line 2: not a JSON object",
        "line 3",
        "line 4: a number that is too long",
        "line 6: JSON nested too deeply",
    ]


def test_messages_are_checked_where_they_are_asked_for(write) -> None:
    good = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    wrong = [[], "hi", [{"role": "user"}], [{"content": "hi"}], ["hi"], [good[0], {"role": "user", "content": ["a"]}]]
    file = write("a.jsonl", "".join(json.dumps({"talk": one}) + "\n" for one in (good, *wrong)))
    assert len(rows(file)) == 7
    examples, bad = both(file, messages="talk")
    assert [example["messages"] for example in examples] == [good]
    assert len(bad) == 6
    assert "line 2: field 'messages' is no list of messages · got []" in bad[0]
    assert "line 4, message 0: no message" in bad[2]
    assert "line 7, message 1: no message" in bad[5]
    with pytest.raises(DataError, match="example 1: field 'messages' is no list of messages"):
        list(examples_of([{"messages": good}, {"messages": 3}], {"messages": "messages"}))


# -- words with tags --------------------------------------------------------------------------------------------------


def test_conll_is_sentences_of_words_with_tags(write) -> None:
    file = write("a.conll", "-DOCSTART- -X- O\n\nEU NNP B-ORG\n#1 CD O\n\n\nrejects VBZ O\n")
    assert rows(file) == [
        {"words": ["EU", "#1"], "text": "EU #1", "tags": ["B-ORG", "O"]},
        {"words": ["rejects"], "text": "rejects", "tags": ["O"]},
    ]
    assert lines(file) == ["line 3", "line 7"]
    assert rows(file, tags="2")[0]["tags"] == ["NNP", "CD"]
    assert [document.text for document in open_source(file).documents()] == ["EU #1", "rejects"]


def test_conll_names_the_broken_line_and_goes_on(write) -> None:
    file = write("a.conll", "a\tO\r\nb\tO\r\n\r\nc\r\nd\tO\r\n\r\ne\t\r\n\r\nf\tO\r\n")
    examples, bad = both(file)
    assert [example["words"] for example in examples] == [["a", "b"], ["f"]]
    assert "line 4: a line of another width · got 1 columns · expected 2" in bad[0]
    assert "line 7: an empty column" in bad[1]


CONLLU = """# sent_id = 1
# text = Don't go
1-2	Don't	_	_	_	_	_	_	_	_
1	Do	do	AUX	VB	Mood=Imp	3	aux	_	_
2	n't	not	PART	RB	_	3	advmod	_	_
3	go	go	VERB	VB	_	0	root	_	_
3.1	away	away	ADV	_	_	_	_	3:x	_

1	Yes	yes	INTJ	UH	_	0	root	_	_

"""


def test_conllu_is_words_with_columns(write) -> None:
    file = write("a.conllu", CONLLU)
    first, second = read_examples(file, {"tags": "upos"})
    assert first["words"] == ["Do", "n't", "go"]
    assert first["tags"] == ["AUX", "PART", "VERB"]
    assert (first["head"], first["deprel"], first["xpos"]) == ([3, 3, 0], ["aux", "advmod", "root"], ["VB", "RB", "VB"])
    assert (first["text"], second["text"]) == ("Don't go", "Yes")
    assert (first.place, second.place) == (f"{file}, line 3", f"{file}, line 9")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tdo\tAUX", "\tAUX", "line 4: 9 columns instead of 10"),
        ("2\tn't", "4\tn't", "line 5: the word has another number than 2"),
        ("go\tgo\tVERB", "go\t\tVERB", "line 6: an empty column"),
        ("\t0\troot", "\t9\troot", "line 3: a head that is no word of the sentence · got 3 3 9"),
        ("\t3\taux", "\tx\taux", "line 3: a head that is no word of the sentence · got x 3 0"),
    ],
)
def test_conllu_names_the_broken_line_and_goes_on(write, old, new, message) -> None:
    examples, bad = both(write("a.conllu", CONLLU.replace(old, new, 1)))
    assert [example["words"] for example in examples] == [["Yes"]]
    assert len(bad) == 1
    assert message in bad[0]


def test_a_column_that_is_not_there_is_named(write) -> None:
    with pytest.raises(DataError, match=r"a\.conllu, line 3: no field 'tags' · got text, words, .*upos"):
        next(read_examples(write("a.conllu", CONLLU)))["tags"]


# -- parallel files ---------------------------------------------------------------------------------------------------


def test_lines_of_parallel_files_belong_together(write, tmp_path) -> None:
    write("train.en.gz", gzip.compress(b"a\nb\x0c\n\n"))
    write("train.de", "A\r\nB\u2028\r\n\r\n")
    write("val.en", "c")
    write("val.de", "C")
    found = list(read_examples(tmp_path / "train", {"source": "en", "target": "de"}))
    assert [(one["source"], one["target"]) for one in found] == [("a", "A"), ("b\x0c", "B\u2028"), ("", "")]
    assert found[1].place == f"{tmp_path / 'train.en.gz'}, line 2"
    assert rows(tmp_path, source="val.en", target="val.de")[0]["target"] == "C"
    with pytest.raises(DataError, match=r"several sets of parallel files · got train, val · say one of them: .*train"):
        rows(tmp_path, source="en", target="de")


def test_one_set_in_a_folder_needs_no_name(write, tmp_path) -> None:
    write("x/all.en", "a\n")
    write("x/all.de", "A\n")
    assert rows(tmp_path / "x", source="en", target="de") == [{"en": "a", "de": "A", "source": "a", "target": "A"}]


def test_parallel_files_of_unequal_length_are_refused_with_both_counts(write, tmp_path) -> None:
    write("train.en", "a\nb\n")
    write("train.de", "A\nB\nC\n")
    with pytest.raises(DataError, match=r"unequal length · got lines: train\.en 2, train\.de 3"):
        rows(tmp_path / "train", source="en", target="de")
    with pytest.raises(DataError, match=r"these parallel files are not all there · got train\.en, train\.fr"):
        rows(tmp_path / "train", source="en", target="fr")
    with pytest.raises(DataError, match="no such file or folder"):
        rows(tmp_path / "test", source="en", target="de")


def test_words_tags_and_label_of_a_folder(write, tmp_path) -> None:
    write("atis/seq.in.gz", gzip.compress(b"fly to boston\n"))
    write("atis/seq.out", "O O B-city\n")
    write("atis/label", "flight\n")
    assert rows(tmp_path / "atis") == [{"words": "fly to boston", "tags": "O O B-city", "label": "flight"}]
    assert rows(tmp_path / "atis", words="seq.in", tags="seq.out")[0]["tags"] == "O O B-city"


def test_fields_that_name_no_files_leave_a_folder_a_folder(write, tmp_path) -> None:
    write("x/a.jsonl", '{"body": "a", "stars": 1}\n')
    assert rows(tmp_path / "x", text="body", label="stars")[0]["label"] == 1


# -- SQuAD and other JSON ---------------------------------------------------------------------------------------------


def squad(**change: object) -> str:
    question = {"id": "q1", "question": "Who?", "answers": [{"text": "né Ann", "answer_start": 4}], **change}
    return json.dumps({"data": [{"title": "T", "paragraphs": [{"context": "The né Ann.", "qas": [question]}]}]})


def test_squad_is_questions_with_answers_at_their_places(write) -> None:
    (found,) = read_examples(write("a.json", squad()))
    assert found.fields == {
        "context": "The né Ann.",
        "question": "Who?",
        "answers": [{"text": "né Ann", "answer_start": 4}],
        "id": "q1",
        "title": "T",
    }
    assert rows(write("b.json", squad(answers=[], is_impossible=True)))[0]["answers"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": [{"text": "Ann", "answer_start": 4}]}, "question q1: an answer that is not at its place"),
        ({"answers": [{"text": "The", "answer_start": -11}]}, "question q1: an answer that is not at its place"),
        ({"answers": [{"text": "", "answer_start": 4}]}, "question q1: an empty answer"),
        ({"answers": [{"text": "Ann"}]}, "question q1: an answer without its text and the character"),
        ({"answers": ["Ann"]}, "question q1: an answer without its text and the character"),
        ({"answers": None}, "question q1: no list of answers"),
        ({"question": " "}, "question q1: an empty question"),
        ({"id": None}, "paragraph 0: a question without an id"),
    ],
)
def test_squad_names_the_question_that_is_wrong(write, change, message) -> None:
    examples, bad = both(write("a.json", squad(**change)))
    assert not examples
    assert len(bad) == 1 and message in bad[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [{}, {"paragraphs": [{}, {"context": "a"}, 3]}]}', "data 0: an article without paragraphs"),
        ('{"version": 1}', "JSON of another form · got an object with version"),
        ('"text"', "JSON of another form · got 'text'"),
        ('{"data": {"a": 1}}', "JSON of another form"),
        ('[{"text": "a"}, 3]', "item 2: not a JSON object · got int"),
        ('{"data": \n[}', r"line 2, column 2: not JSON"),
        ("[" * 200_000, "JSON nested too deeply"),
        ('{"a":' * 100_000, "JSON nested too deeply"),
        ("[" + "9" * 5000 + "]", "a number that is too long"),
        (b'{"data": "\xff"}', "not UTF-8"),
        (" \n", "empty: there are no examples"),
    ],
)
def test_other_json_is_refused(write, content, message) -> None:
    with pytest.raises(DataError, match=message):
        rows(write("a.json", content))


def test_a_list_of_objects_is_examples(write) -> None:
    assert rows(write("a.json", '[{"text": "a", "n": [1]}, {"text": "b"}]')) == [{"text": "a", "n": [1]}, {"text": "b"}]


def test_a_bomb_is_not_unpacked(write, monkeypatch) -> None:
    monkeypatch.setattr(json_value, "_MOST_BYTES", 1 << 20)
    file = write("a.json.gz", gzip.compress(b" " * (1 << 22) + b"[]"))
    assert file.stat().st_size < 1 << 13
    with pytest.raises(DataError, match=r"a\.json\.gz: too large to be read whole · expected at most 1,048,576 bytes"):
        rows(file)


def test_json_stays_a_text_for_a_language_model(write) -> None:
    assert [document.text for document in open_source(write("a.json", squad())).documents()] == [squad()]


# -- SCAN, FASTA ------------------------------------------------------------------------------------------------------


def test_scan_is_commands_and_actions(write) -> None:
    file = write("a.txt", "IN: jump twice OUT: I_JUMP I_JUMP\n\nIN: run\nIN: walk OUT: I_WALK\n")
    examples, bad = both(file)
    assert [(one["source"], one["target"]) for one in examples] == [("jump twice", "I_JUMP I_JUMP"), ("walk", "I_WALK")]
    assert len(bad) == 1 and "line 3: not of the form IN: … OUT: …" in bad[0]
    assert len(list(open_source(file).documents())) == 1


def test_fasta_is_sequences_over_several_lines(write) -> None:
    file = write("set.fasta", ">p1 first\r\nMKV*\r\n-ac\r\n\r\n>p2\r\nX\r\n")
    assert rows(file, label="file") == [
        {"text": "MKV*-ac", "header": "p1 first", "id": "p1", "file": "set", "label": "set"},
        {"text": "X", "header": "p2", "id": "p2", "file": "set", "label": "set"},
    ]
    assert lines(file) == ["line 1", "line 5"]
    assert [document.text for document in open_source(file).documents()] == ["MKV*-ac", "X"]
    assert rows(write("enhancer.cv.txt", ">c1\nACGT\n"))[0]["file"] == "enhancer"


def test_fasta_names_the_broken_line_and_goes_on(write) -> None:
    examples, bad = both(write("a.fa", "ACGT\n>a\nAC GT\n>b\n\n>\nAC\n>c\nACGT\nAC1T\n>d\nA\n"))
    assert [example["id"] for example in examples] == ["d"]
    assert [line.partition(", ")[2] for line in bad] == [
        "line 1: a sequence without a header · got 'ACGT'",
        "line 3: not a letter of a sequence · got ' ' at column 3",
        "line 4: a header without a sequence · got b",
        "line 6: an empty header",
        "line 10: not a letter of a sequence · got '1' at column 3",
    ]


# -- Parquet ----------------------------------------------------------------------------------------------------------


def test_parquet_rows(tmp_path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "a.parquet"
    table = {"text": [f"text {number}" for number in range(3000)], "tags": [[str(number)] for number in range(3000)]}
    parquet.write_table(pyarrow.table(table), file)
    found = list(read_examples(file))
    assert [example["text"] for example in found] == table["text"]
    assert found[2999].fields["tags"] == ["2999"]
    assert found[2999].place == f"{file}, row 3000"
    assert sum(1 for _ in open_source(file).documents()) == 3000
    with pytest.raises(DataError, match="row 1: no field 'body'"):
        list(open_source(file, field="body").documents())
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a\.parquet: a damaged Parquet file"):
        list(read_examples(file))


def test_parquet_without_its_library_says_what_to_install(write, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnsupportedError, match=r"reading \.parquet .* pip install 'glassformer\[data\]'"):
        rows(write("a.parquet", b"PAR1"))


# -- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "fields", "format"),
    [
        ("a.jsonl", "{}", {}, "json_lines"),
        ("a.CSV.xz", "", {}, "table"),
        ("a.txt", "plain text", {}, "text"),
        ("a.txt", "IN: a OUT: b", {}, "scan"),
        ("a.txt", ">x", {}, "fasta"),
        ("a.md", "> ", {}, "text"),
        ("a.txt", "a\tb", {"text": "a"}, "table"),
        ("a.txt", "a\tb", {"text": "c"}, "text"),
        ("a.dat", "a,b", {"text": "2"}, "table"),
        ("a.json", ">x", {}, "json_value"),
    ],
)
def test_a_format_is_known_by_suffix_or_first_line(tmp_path, name, first, fields, format) -> None:
    file = tmp_path / name
    file.write_bytes(lzma.compress(first.encode()) if name.endswith("xz") else first.encode())
    assert name_of(format_of(file, fields)) == format


def test_a_format_may_be_said(write) -> None:
    file = write("a.txt", "EU\tB\n")
    assert next(read_examples(file, format="conll"))["tags"] == ["B"]
    assert next(read_examples(write("b.tsv", "EU\tB\n"), format="text")).fields == {"text": "EU\tB"}
    with pytest.raises(UnknownNameError, match=r"no format 'conl' · expected one of conll"):
        list(read_examples(file, format="conl"))


def test_a_format_of_documents_alone_has_no_examples(write, drop_in) -> None:
    drop_in("data.formats", "shout", "SUFFIXES = ('.shout',)\ndef read(file, name, field): ...\n")
    with pytest.raises(DataError, match=r"a\.shout: a format without examples · got shout"):
        rows(write("a.shout", "A"))


def test_two_fitting_formats_are_not_guessed_between(write) -> None:
    with pytest.raises(DataError, match=r"more than one format fits · got fasta, table · say which: --format NAME"):
        rows(write("a.txt", ">x\ty\n"), text="1")


ONE_OF_EACH = {
    "a.txt": "a text\n",
    "b.txt": "IN: a OUT: b\n",
    "a.csv": "text\na\n",
    "a.tsv": "text\na\n",
    "a.jsonl": '{"text": "a"}\n',
    "a.json": '[{"text": "a"}]',
    "b.json": squad(),
    "a.conll": "a\n",
    "a.conllu": CONLLU,
    "a.fasta": ">a\nACGT\n",
    "x/seq.in": "a\n",
}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_field_that_is_absent_is_named_with_its_place(write, name) -> None:
    file = write(name, ONE_OF_EACH[name])
    if name == "x/seq.in":
        write("x/seq.out", "O\n")
        file = file.parent
    first = next(read_examples(file))
    for ask in (first.label, first.text, first.number, first.messages, first.__getitem__):
        with pytest.raises(
            DataError, match=r"(line|row|item|question) \w+: no field 'stars' · got \w+.*--field stars="
        ):
            ask("stars")


def test_a_readme_beside_the_data_is_no_part_of_it(write, tmp_path) -> None:
    write("x/a.jsonl", '{"text": "a"}\n')
    write("x/README.md", "# About\n")
    write("x/sub/notes.rst", "notes\n")
    assert rows(tmp_path / "x") == [{"text": "a"}]
    assert rows(tmp_path / "x/README.md") == [{"text": "# About"}]


def test_empty_files_hold_no_examples(write) -> None:
    for suffix in (".txt", ".csv", ".tsv", ".jsonl", ".json", ".conll", ".conllu", ".fasta"):
        with pytest.raises(DataError, match="empty: there are no examples here"):
            rows(write(f"a{suffix}", ""))


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".jsonl", ".json", ".conll", ".conllu", ".fasta"])
def test_other_encodings_are_refused_with_the_line(write, suffix) -> None:
    with pytest.raises(DataError, match=r"a\.\w+, line 2.*: not UTF-8 · got byte 0xe9"):
        rows(write(f"a{suffix}", b'{"a": "b"}\n{"caf\xe9": 1}\n'))


# -- examples of one's own --------------------------------------------------------------------------------------------


class Set:
    """What a data set of another library is like: a length, rows by number, and iteration over dicts."""

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, object]:
        return self.rows[number]


@pytest.mark.parametrize("kind", [list, iter, Set, lambda rows: (row for row in rows)])
def test_examples_of_anything_that_gives_dicts(kind) -> None:
    given = [{"body": f"text {number}", "stars": number} for number in range(3)]
    found = list(examples_of(kind(given), {"text": "body", "label": "stars"}))
    assert [(one.text("text"), one.label("label"), one.place) for one in found] == [
        (f"text {number}", str(number), f"example {number}") for number in range(3)
    ]
    assert "text" not in given[0]


def test_examples_are_taken_as_they_come() -> None:
    def endless():
        number = 0
        while True:
            yield {"text": str(number)}
            number += 1

    found = examples_of(endless())
    assert [next(found)["text"] for _ in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize("value", ["", "  ", None, [], {}, 1.5])
def test_a_label_is_a_word_or_a_whole_number(value) -> None:
    with pytest.raises(DataError, match="line 3: field 'label' is no label"):
        Example("line 3", {"label": value}).label("label")
    for number in (0, np.int64(0), np.uint8(0), "0"):
        assert Example("line 3", {"label": number}).label("label") == "0"


# -- real files -------------------------------------------------------------------------------------------------------

REAL = Path(__file__).parents[3] / "shared/data"
COUNTS = {  # as the READMEs of these sets say them: examples, and words where they say those
    "wnut17/wnut17train.conll.gz": ({}, 3394, 62_730),
    "wnut17/emerging.dev.conll": ({}, 1009, 15_733),
    "ud-english-partut/en_partut-ud-train.conllu.gz": ({"tags": "upos"}, 1781, 43_504),
    "ud-english-partut/en_partut-ud-test.conllu": ({"tags": "upos"}, 153, 3408),
    "xquad/xquad.es.json.gz": ({}, 1190, None),
    "atis/train": ({}, 4478, None),
    "atis/test": ({}, 893, None),
    "multi30k/val": ({"source": "en", "target": "cs"}, 1014, None),
    "scan/train_simple.txt.gz": ({}, 16_728, None),
    "cogs/dev.tsv.gz": ({"source": "1", "target": "2"}, 3000, None),
    "sick/SICK_trial.txt": ({"text": "sentence_A", "label": "relatedness_score"}, 500, None),
    "splice/splice_train.txt.gz": ({"label": "1", "text": "3"}, 2552, None),
    "enhancer/non.cv.txt.gz": ({"label": "file"}, 1484, None),
    "g2p-sigmorphon2020/fre_train.tsv": ({"source": "1", "target": "2"}, 3600, None),
    "inflection-sigmorphon2023/deu.dev": ({"source": "1+2", "target": "3"}, 1000, None),
    "sst2/dev.tsv": ({"text": "1", "label": "2"}, 872, None),
}


@pytest.mark.parametrize("name", COUNTS)
def test_real_files_hold_what_their_readmes_count(name) -> None:
    if not REAL.is_dir():
        pytest.skip("../shared/data is not here")
    fields, count, words = COUNTS[name]
    found = list(read_examples(REAL / name, fields))
    assert len(found) == count
    assert words is None or sum(len(one["words"]) for one in found) == words
    assert all(field in one.fields for one in found for field in fields)
    if name.startswith("splice"):
        assert {len(str(one["text"])) for one in found} == {60}
        assert {*Counter(one["label"] for one in found)} == {"EI", "IE", "N"}
