from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from glassformer.__main__ import main

ROWS = [("good film", 1), ("bad film", 0), ("so good", 1), ("so bad", 0), ("good film", 1), ("a bad one", 0)]


@pytest.fixture
def films(tmp_path: Path) -> Path:
    file = tmp_path / "films.tsv"
    file.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS))
    return file


def check(capsys, *arguments: object) -> tuple[int, dict]:
    code = main(["data", "check", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_counts_lengths_labels_and_repeats(films, capsys):
    code, found = check(capsys, films)
    assert code == 0
    assert (found["examples"], found["duplicates"], found["reads"]) == (6, 1, "examples")
    assert found["labels"] == {"1": 3, "0": 3}
    lengths = sorted(len(text) for text, _ in ROWS)
    text = found["fields"]["text"]
    assert (text["present"], text["empty"]) == (6, 0)
    assert text["characters"]["min"] == lengths[0] and text["characters"]["max"] == lengths[-1]
    assert text["characters"]["median"] == (lengths[2] + lengths[3]) / 2
    assert [row["place"] for row in found["shown"]] == [f"{films}, line {number}" for number in range(2, 7)]
    assert found["shown"][0]["fields"] == {"text": "good film", "label": "1"}
    assert "tokens" not in found


def test_examples_are_shown_as_the_model_sees_them(films, capsys):
    code, found = check(capsys, films, "--objective", "classify", "--tokenizer", "wordpiece:60")
    assert code == 0
    assert found["usable"] == 6
    row = found["shown"][1]
    assert row["tokens"][0] == "[CLS]" and row["tokens"][-1] == "[SEP]"
    assert "".join(row["tokens"][1:-1]).replace(" ", "") == "badfilm"
    assert row["labels"] == {"label": "0"}
    assert found["tokens"]["max"] >= max(len(one["tokens"]) for one in found["shown"])


def test_tags_stand_beside_their_tokens(tmp_path, capsys):
    (tmp_path / "a.conll").write_text("Rome B-LOC\nburns O\n\nhi O\n")
    code, found = check(capsys, tmp_path / "a.conll", "--objective", "tag", "--tokenizer", "bytes")
    assert code == 0
    assert found["labels"] == {"O": 2, "B-LOC": 1}
    assert "".join(found["shown"][0]["tokens"]) == "Rome burns"
    assert found["shown"][0]["labels"]["tags"] == ["B-LOC", *[None] * 4, "O", *[None] * 4]
    assert main(["data", "check", str(tmp_path / "a.conll"), "--objective", "tag", "--tokenizer", "bytes"]) == 0
    assert "R → B-LOC|o|m|e| |b → O|u|r|n|s" in capsys.readouterr().out


def test_targets_are_shown_with_what_is_to_be_said(tmp_path, capsys):
    (tmp_path / "a.en").write_text("one\n")
    (tmp_path / "a.de").write_text("eins\n")
    fields = ("--field", "source=en", "--field", "target=de")
    code, found = check(capsys, tmp_path / "a", *fields, "--objective", "sequence_to_sequence", "-m", "t5-tiny")
    assert code == 0
    (row,) = found["shown"]
    assert "".join(row["tokens"]) == "one</s>"
    assert "".join(row["target"]) == "<pad>eins"
    assert "".join(row["labels"]["tokens"]) == "eins</s>"
    assert set(found["fields"]) == {"source", "target"}


def test_several_labels_are_shown_by_their_names(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "ab", "labels": ["x", "z"]}\n{"text": "abc", "labels": "y"}\n{"text": "c", "labels": []}\n'
    )
    arguments = (tmp_path / "a.jsonl", "--objective", "multi_label", "--tokenizer", "bytes")
    code, found = check(capsys, *arguments)
    assert code == 0
    assert [row.get("labels") for row in found["shown"]][:2] == [{"labels": ["x", "z"]}, {"labels": ["y"]}]


def test_settings_of_an_objective_are_heard(films, capsys):
    arguments = (films, "--objective", "classify", "--tokenizer", "bytes", "--set")
    assert check(capsys, *arguments, "smoothing=0.1")[0] == 0
    assert main(["data", "check", *map(str, arguments), "smoothing=2"]) == 2
    assert "smoothing" in capsys.readouterr().err


def test_pictures_have_their_fields_and_no_tokens(tmp_path, capsys):
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not looked at")
    code, found = check(capsys, tmp_path, "--objective", "classify_images")
    assert (code, found["usable"], found["labels"]) == (0, 3, {"cat": 2, "dog": 1})
    assert "tokens" not in found and len(found["shown"]) == 3
    assert main(["data", "check", str(tmp_path / "cat"), "--objective", "classify_images"]) == 2
    assert "no field 'label'" in capsys.readouterr().out


def test_questions_are_shown_with_their_answers(tmp_path, capsys):
    qas = [{"id": "1", "question": "who?", "answers": [{"text": "Ann", "answer_start": 7}]}]
    qas += [{"id": "2", "question": "who?", "answers": [{"text": "Bob", "answer_start": 7}]}]
    squad = {"data": [{"paragraphs": [{"context": "it was Ann.", "qas": qas}]}]}
    (tmp_path / "a.json").write_text(json.dumps(squad))
    code, found = check(capsys, tmp_path / "a.json", "--objective", "span", "--tokenizer", "wordpiece:60")
    assert (code, found["usable"], found["bad_count"]) == (2, 1, 1)
    assert "question 2: an answer that is not at its place" in found["bad"][0]
    (row,) = found["shown"]
    begin, end = row["labels"]["start"], row["labels"]["end"]
    assert "".join(row["tokens"][begin : end + 1]).replace(" ", "").replace("##", "") == "ann"


def test_every_bad_line_is_named_and_the_rest_is_read(tmp_path, capsys):
    file = tmp_path / "a.jsonl"
    file.write_text(
        '{"text": "a", "label": "x"}\n{"text": \n{"text": "b"}\n{"text": "", "label": ""}\n{"text": 3, "label": "x"}\n'
    )
    code, found = check(capsys, file, "--objective", "classify", "--tokenizer", "bytes")
    assert code == 2
    assert (found["examples"], found["usable"], found["bad_count"]) == (4, 1, 4)
    assert found["fields"]["text"]["empty"] == 1
    places = [line.removeprefix(f"{file}, ").partition(":")[0].partition(",")[0] for line in found["bad"]]
    assert places == ["line 2", "line 3", "line 4", "line 5"]
    assert main(["data", "check", str(file), "--objective", "classify", "--tokenizer", "bytes"]) == 2
    out = capsys.readouterr().out
    assert "4 bad:" in out and "line 3: no field 'label'" in out


def test_many_bad_lines_are_counted_and_some_named(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' + "no\n" * 150)
    code, found = check(capsys, tmp_path / "a.jsonl")
    assert (code, found["bad_count"], len(found["bad"])) == (2, 150, 100)
    main(["data", "check", str(tmp_path / "a.jsonl")])
    assert "and 50 more" in capsys.readouterr().out


def test_rows_longer_than_the_context_are_bad_or_cut(films, capsys):
    arguments = (films, "--objective", "classify", "--tokenizer", "bytes", "--context", 8)
    code, found = check(capsys, *arguments)
    assert (code, found["usable"], found["bad_count"]) == (2, 3, 3)
    assert "longer than the model" in found["bad"][0]
    code, found = check(capsys, *arguments, "--truncate")
    assert (code, found["usable"], found["tokens"]["max"]) == (0, 6, 8)


def test_text_is_documents(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("one text\nof two lines\n")
    (tmp_path / "b.txt").write_text("two")
    code, found = check(capsys, tmp_path)
    assert (code, found["reads"], found["examples"]) == (0, "documents", 2)
    code, found = check(capsys, tmp_path, "--objective", "next_token", "--tokenizer", "bytes")
    assert found["tokens"]["all"] == 22 + 3
    assert "".join(found["shown"][1]["tokens"]) == "two"


def test_documents_of_a_field_go_on_after_a_bad_line(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"body": "a"}\nno\n{"text": "b"}\n{"body": "c"}\n')
    code, found = check(
        capsys, tmp_path / "a.jsonl", "--objective", "next_token", "--field", "body", "--tokenizer", "bytes"
    )
    assert (code, found["examples"], found["bad_count"]) == (2, 2, 2)


def test_what_a_file_holds_cannot_steer_the_terminal(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a\x1b[2Jb\nc"}) + "\n")
    assert main(["data", "check", str(tmp_path / "a.jsonl"), "--tokenizer", "bytes"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "|⏎|c" in out


def test_half_a_character_anywhere_is_a_bad_line(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "more": [{"b": "\\ud800"}]}\n{"c\\udc00": 1}\n{"text": "b"}\n')
    code, found = check(capsys, tmp_path / "a.jsonl")
    assert (code, found["examples"], found["bad_count"]) == (2, 1, 2)
    assert "line 1: the text holds half of a character" in found["bad"][0]
    code, found = check(capsys, tmp_path / "a.jsonl", "--objective", "next_token", "--tokenizer", "bytes")
    assert (code, found["examples"]) == (2, 2)
    assert r"line 2: no field 'text' · got c\udc00" in found["bad"][0]


def test_fields_may_be_swapped(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("text,label,more\n1,long text,x\n")
    code, found = check(capsys, tmp_path / "a.csv", "--field", "text=label", "--field", "label=text")
    assert code == 0
    assert found["shown"][0]["fields"] == {"more": "x", "text": "long text", "label": "1"}


def test_values_that_are_no_json_are_shown(tmp_path, capsys):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = {"when": [datetime.date(2020, 1, 2)], "raw": [b"ab"], "long": ["x" * 5000], "n": [{"a": [1, None]}]}
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    code, found = check(capsys, tmp_path / "a.parquet")
    fields = found["shown"][0]["fields"]
    assert (code, fields["when"], fields["raw"]) == (0, "datetime.date(2020, 1, 2)", "b'ab'")
    assert len(fields["long"]) < 500 and fields["n"] == {"a": [1, None]}


def test_nothing_but_bad_lines(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text("no\n" * 3)
    for more in ((), ("--objective", "classify"), ("--objective", "classify", "--tokenizer", "bytes")):
        code, found = check(capsys, tmp_path / "a.jsonl", *more)
        assert (code, found["examples"], found["bad_count"], found["shown"]) == (2, 0, 3, [])
        assert main(["data", "check", str(tmp_path / "a.jsonl"), *more]) == 2
        assert "3 bad:" in capsys.readouterr().out


def test_an_embedded_corpus_can_be_checked(drop_in, monkeypatch, capsys):
    source = "from glassformer.data.text import Document\nABOUT = LICENCE = 'x'\n"
    drop_in("data.embedded", "poem", source + "PARTS = {'p': lambda: iter([Document('a', 'verse', 'p')])}\n")
    code, found = check(capsys, "embedded:poem")
    assert (code, found["examples"], found["fields"]["text"]["characters"]["max"]) == (0, 1, 5)


def test_the_format_may_be_said(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("Rome\tB-LOC\n")
    code, found = check(capsys, tmp_path / "a.txt", "--format", "conll")
    assert (code, found["fields"]["tags"]["items"]["max"]) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check",), "data check needs DATA"),
        (("list", "a.txt"), "data list takes no DATA"),
        (("check", "none.txt"), "none.txt: no such file or folder"),
        (("check", "empty.csv"), "empty.csv: empty"),
        (("check", "a.csv", "--format", "tabel"), "no format 'tabel'"),
        (("check", "a.csv", "--objective", "clasify"), "nothing called 'clasify'"),
        (("check", "a.csv", "--field", "=x"), "not NAME=VALUE"),
        (("check", "a.csv", "--objective", "next_token", "--format", "table"), "--format is for examples"),
        (("check", "embedded:reference", "--objective", "classify"), "embedded:reference: no such file"),
    ],
)
def test_what_cannot_be_checked_is_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").touch()
    Path("a.csv").write_text("text,label\na,b\n")
    assert main(["data", *arguments]) == 2
    assert message in capsys.readouterr().err
