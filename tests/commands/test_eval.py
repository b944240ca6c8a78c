from __future__ import annotations

import json

import pytest

from glassformer.__main__ import main
from glassformer.evaluate.metric import known
from glassformer.evaluate.task import tasks
from glassformer.parts.head import ClassifyHeadConfig, TagHeadConfig
from tests.builders import bert_like, gpt_like, t5_like
from tests.commands.test_run import TEXTS, said, saved

REVIEWS = [("The cat sat.", "good"), ("A dog", "bad"), ("on the mat, and more", "good"), ("no", "so so")]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    config = bert_like().replace(head=ClassifyHeadConfig(n_labels=3))
    return saved(tmp_path_factory.mktemp("eval") / "classifier", config, ("good", "bad", "so so"))


@pytest.fixture
def reviews(tmp_path):
    place = tmp_path / "reviews.tsv"
    place.write_text("".join(f"{text}\t{label}\n" for text, label in REVIEWS))
    return place


def measured(capsys, *arguments):
    code, lines, err = said(capsys, "eval", *arguments, "--json")
    assert code == 0, err
    return json.loads(lines[0])


def test_metrics_of_a_classifier_are_those_of_what_run_says(classifier, reviews, capsys):
    found = measured(capsys, classifier, reviews, "--field", "text=1", "--field", "label=2")
    _, lines, _ = said(capsys, "run", classifier, "--file", reviews, "--field", "text=1")
    right = [line.split("\t")[0] == label for line, (_, label) in zip(lines, REVIEWS, strict=True)]
    accuracy = found["metrics"]["accuracy"]
    assert accuracy["value"] == sum(right) / 4
    assert accuracy["floor"] == 0.5
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert (found["task"], found["examples"]) == ("classify", 4)
    assert set(found["metrics"]) == {"accuracy", "macro_f1", "matthews"}
    assert found["seconds"] > 0


def test_for_a_person_it_is_a_line_a_metric(classifier, reviews, capsys):
    fields = ("--field", "text=1", "--field", "label=2")
    code, lines, _ = said(capsys, "eval", classifier, reviews, *fields, "--metric", "accuracy")
    assert code == 0
    value = measured(capsys, classifier, reviews, *fields)["metrics"]["accuracy"]
    assert lines[0] == f"accuracy  {value['value']:.4f}  [{value['low']:.4f}, {value['high']:.4f}]  floor 0.5000"
    assert lines[1].startswith("4 examples · floor: always the most frequent label · ")
    assert len(lines) == 2


def test_tags_of_a_conll_file(tmp_path, capsys):
    folder = saved(tmp_path / "m", bert_like().replace(head=TagHeadConfig(n_labels=3)), ("O", "B-a", "I-a"))
    (tmp_path / "x.conll").write_text("the B-a\ncat I-a\n\nthe B-a\ndog O\n")
    found = measured(capsys, folder, tmp_path / "x.conll")
    assert set(found["metrics"]) == {"entity_f1", "tag_accuracy"}
    assert found["metrics"]["tag_accuracy"]["floor"] == 0.5  # the word "the"; cat and dog are nowhere else
    assert found["examples"] == 2


def test_translations_with_the_signature_of_sacrebleu(tmp_path, capsys):
    folder = saved(tmp_path / "m", t5_like())
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"de": t, "en": t[::-1]}) + "\n" for t in TEXTS))
    arguments = (folder, tmp_path / "x.jsonl", "--field", "source=de", "--field", "target=en", "--max-tokens", 8)
    found = measured(capsys, *arguments)["metrics"]
    assert found["chrf"]["signature"].startswith("nrefs:1|case:mixed")
    assert found["bleu"]["floor"] == pytest.approx(known()["bleu"](TEXTS, [text[::-1] for text in TEXTS]))
    others = measured(capsys, *arguments, "--metric", "rouge_l", "--metric", "wer", "--beams", 2)["metrics"]
    assert set(others) == {"rouge_l", "wer"}
    assert others["wer"]["better"] == "lower"


def test_text_for_a_decoder(tmp_path, capsys):
    folder = saved(tmp_path / "m", gpt_like())
    (tmp_path / "x.txt").write_text("green bottles\nhanging on the wall\n" * 5)
    found = measured(capsys, folder, tmp_path / "x.txt")
    metrics = found["metrics"]
    assert metrics["bits_per_byte"]["value"] > metrics["bits_per_byte"]["floor"]  # nothing was learned
    assert found["task"] == "predict text"


def test_wrong_input_is_one_line_and_exit_code_2(classifier, reviews, tmp_path, capsys):
    fields = ("--field", "text=1", "--field", "label=2")
    odd, empty, long = tmp_path / "odd.tsv", tmp_path / "empty.tsv", tmp_path / "long.tsv"
    odd.write_text("a\tgood\nb\tugly\n")
    empty.write_text("")
    long.write_text("a\tgood\n" + "b" * 70 + "\tgood\n")
    cases = {
        (
            "eval",
            classifier,
            odd,
            *fields,
        ): f"{odd}, line 2: a label that is not in the set · got ugly · expected good,",
        ("eval", classifier, empty, *fields): f"{empty}: ",
        ("eval", classifier, long, *fields): f"{long}, line 2: an example is longer than the model · got 70 tokens",
        ("eval", classifier, reviews, "--field", "text=1"): f"{reviews}, line 1: no field 'label'",
        ("eval", classifier, tmp_path / "no.tsv"): f"{tmp_path / 'no.tsv'}: no such file",
        (
            "eval",
            classifier,
            reviews,
            *fields,
            "--metric",
            "bleu",
        ): "bleu is for texts, this task has labels · expected",
        ("eval", classifier, reviews, *fields, "--metric", "acuracy"): "no metric 'acuracy' · expected one of accuracy",
        ("eval", classifier, reviews, *fields, "--draws", 0): "draws · got 0 · expected at least 1",
        ("eval", classifier, reviews, *fields, "--beams", 2): "--beams says nothing to a model that can classify",
    }
    for arguments, line in cases.items():
        code, out, err = said(capsys, *arguments)
        assert (code, out) == (2, []), arguments
        assert err.startswith(f"glassformer: {line}"), err
    assert measured(capsys, classifier, long, *fields, "--truncate")["examples"] == 2


def test_the_help_names_every_metric(capsys):
    main(["eval", "--help"])
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in known():
        assert name in out
    for task in tasks():
        assert {*task.METRICS} <= {*known()}
        assert all(known()[name].of == task.KIND for name in task.METRICS)
