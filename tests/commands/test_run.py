from __future__ import annotations

import io
import json
import sys

import pytest

import glassformer as gf
from glassformer.__main__ import main
from glassformer.checkpoints.adapter import save_adapter
from glassformer.models.adapters import adapt, adapters_of
from glassformer.models.transformer import SpecialTokens
from glassformer.parts.head import ClassifyHeadConfig, SpanHeadConfig, TagHeadConfig
from glassformer.parts.lora import LoraConfig
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.builders import bert_like, lively, t5_like

TEXTS = ["The cat sat.", "A dog", "on the mat, and more"]


def saved(place, config, labels=()):
    model = lively(config.replace(vocab_size=257))
    model.labels = labels
    model.special = SpecialTokens(end=(256,), pad=0, decoder_start=0)
    model.save(place, tokenizer=byte_tokenizer())
    return str(place)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    config = bert_like().replace(head=ClassifyHeadConfig(n_labels=3))
    return saved(tmp_path_factory.mktemp("run") / "classifier", config, ("good", "bad", "so so"))


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("run") / "translator", t5_like())


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("run") / "reader", bert_like().replace(head=SpanHeadConfig()))


def said(capsys, *arguments):
    """Exit code, lines of stdout, the last line of stderr."""
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out.splitlines(), (err.splitlines() or [""])[-1]


def pipe(monkeypatch, content: bytes):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_the_same_from_the_command_line_stdin_and_files(classifier, tmp_path, monkeypatch, capsys):
    one_by_one = [said(capsys, "run", classifier, text)[1][0] for text in TEXTS]
    assert all(line.split("\t")[0] in ("good", "bad", "so so") for line in one_by_one)
    pipe(monkeypatch, "\n".join(TEXTS).encode() + b"\n")
    assert said(capsys, "run", classifier)[1] == one_by_one
    (tmp_path / "a.txt").write_bytes("\r\n".join(TEXTS).encode() + b"\r\n")
    assert said(capsys, "classify", classifier, "--file", tmp_path / "a.txt")[1] == one_by_one
    (tmp_path / "a.tsv").write_text("".join(f"x\t{text}\n" for text in TEXTS))
    assert said(capsys, "run", classifier, "--file", tmp_path / "a.tsv", "--field", "text=2")[1] == one_by_one
    (tmp_path / "b.txt").write_text("".join(f"x\t{text}\n" for text in TEXTS))
    assert said(capsys, "run", classifier, "--file", tmp_path / "b.txt", "--field", "text=2")[1] == one_by_one
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"review": text}) + "\n" for text in TEXTS))
    assert said(capsys, "run", classifier, "--file", tmp_path / "a.jsonl", "--field", "text=review")[1] == one_by_one


def test_json_says_what_was_asked_and_all_that_is_known(classifier, capsys):
    code, lines, _ = said(capsys, "classify", classifier, "A dog", "a cat", "--json")
    found = json.loads(lines[0])
    assert (code, found["text"], found["pair"]) == (0, "A dog", "a cat")
    assert set(found["probabilities"]) == {"good", "bad", "so so"}
    assert found["probability"] == max(found["probabilities"].values())
    _, lines, _ = said(capsys, "classify", classifier, "A dog", "--top", 2)
    assert len(lines[0].split("\t")) == 4


def test_translate_and_summarize_write(translator, tmp_path, monkeypatch, capsys):
    model, tokenizer = gf.load(translator), gf.load_tokenizer(translator)
    pipe(monkeypatch, "\n".join(TEXTS).encode())
    code, lines, _ = said(capsys, "translate", translator, "--max-tokens", 8, "--json")
    assert code == 0
    found = [json.loads(line) for line in lines]
    assert [line["source"] for line in found] == TEXTS
    assert [line["written"] for line in found] == gf.generate(model, tokenizer, TEXTS, max_tokens=8)
    _, lines, _ = said(capsys, "summarize", translator, TEXTS[0], "--max-tokens", 8, "--beams", 2, "--prefix", "s: ")
    expected = gf.generate(model, tokenizer, "s: " + TEXTS[0], max_tokens=8, beams=2)
    assert lines == [" ".join(expected.split())]


def test_answer_takes_a_question_and_a_context(reader, capsys):
    code, lines, _ = said(capsys, "answer", reader, "who sat?", "the cat sat", "--json")
    found = json.loads(lines[0])
    assert code == 0
    assert found["answer"] == "the cat sat"[found["start"] : found["end"]]
    assert (found["question"], found["context"]) == ("who sat?", "the cat sat")


def test_tags_and_their_entities(tmp_path, capsys):
    folder = saved(tmp_path / "m", bert_like().replace(head=TagHeadConfig(n_labels=3)), ("O", "B-a", "I-a"))
    code, lines, _ = said(capsys, "tag", folder, "the cat sat")
    assert code == 0
    assert [word.split("/")[0] for word in lines[0].split()] == ["the", "cat", "sat"]
    _, lines, _ = said(capsys, "tag", folder, "the cat sat", "--json")
    found = json.loads(lines[0])
    assert len(found["tags"]) == len(found["probabilities"]) == 3
    assert isinstance(found["entities"], list)


def test_an_adapter_is_merged_into_the_model(classifier, tmp_path, capsys):
    adapted = gf.load(classifier)
    adapt(adapted, LoraConfig(targets=("*_proj",)))
    for part in adapters_of(adapted).values():
        part.lora_b.data.fill_(0.1)
    save_adapter(adapted, tmp_path / "adapter")
    _, (plain,), _ = said(capsys, "classify", classifier, TEXTS[0], "--json")
    _, (other,), _ = said(capsys, "classify", classifier, TEXTS[0], "--json", "--adapter", tmp_path / "adapter")
    tokens = byte_tokenizer().encode_batch([TEXTS[0]])
    expected = adapted(tokens)[0].softmax(-1).tolist()
    found = json.loads(other)["probabilities"]
    assert [found[name] for name in ("good", "bad", "so so")] == pytest.approx(expected, abs=1e-5)
    assert json.loads(plain)["probabilities"] != pytest.approx(found, abs=1e-3)


def test_wrong_input_is_one_line_and_exit_code_2(classifier, translator, reader, tmp_path, monkeypatch, capsys):
    long, empty, gap = tmp_path / "long.txt", tmp_path / "empty.txt", tmp_path / "gap.txt"
    long.write_text("a\n" + "b" * 70 + "\n")
    empty.write_text("")
    gap.write_text("a\n\nb\n")
    table = tmp_path / "t.csv"
    table.write_text("a,b\nx,y\n")
    cases = {
        ("run", classifier, "--file", long): f"{long}, line 2: an example is longer than the model · got 70 tokens · ",
        ("run", classifier, "--file", empty): f"{empty}: empty: there are no texts here",
        ("run", classifier, "--file", gap): f"{gap}, line 2: an empty text · expected one text a line",
        (
            "run",
            classifier,
            "--file",
            table,
        ): f"{table}, line 2: no field 'text' · got a, b · say which field it is: --f",
        ("run", classifier, "--file", tmp_path / "no.txt"): f"{tmp_path / 'no.txt'}: no such file or folder",
        ("run", classifier, "x", "--file", long): "a text and a file of texts · expected one of them",
        ("run", classifier, "x", "--field", "text=1"): "--field is for a file with fields · got no file",
        ("run", classifier, "x", "--beams", 2): "--beams says nothing to a model that can classify · leave it out",
        ("run", translator, "x", "y"): "a second text for a model that can write · expected one text",
        ("tag", classifier, "x"): "this model can classify · got one is to tag · use glassformer run",
        ("answer", reader, "who?"): "the text: no field 'context' · got question",
        ("run", classifier, "x", "--top", 0): "top · got 0 · expected at least 1",
    }
    for arguments, line in cases.items():
        code, out, err = said(capsys, *arguments)
        assert (code, out) == (2, []), arguments
        assert err.startswith(f"glassformer: {line}"), err
    code, lines, _ = said(capsys, "run", classifier, "--file", long, "--truncate")
    assert (code, len(lines)) == (0, 2)
    pipe(monkeypatch, b"\xff\n")
    code, out, err = said(capsys, "run", classifier)
    assert (code, out) == (2, [])
    assert "stdin, line 1" in err


def test_an_alias_shows_the_options_that_say_something_to_its_models(capsys):
    with pytest.raises(SystemExit):
        raise SystemExit(main(["classify", "--help"]))
    out = capsys.readouterr().out
    assert "SECOND" in out
    assert "--top" in out
    assert "--beams" not in out
    code, _, err = said(capsys, "classify", "x", "y", "--beams", "2")
    assert (code, "--beams" in err) == (2, True)
    main(["translate", "--help"])
    out = capsys.readouterr().out
    assert "--beams" in out
    assert "SECOND" not in out
