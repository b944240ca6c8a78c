"""Runs over examples: heads for published bodies, labels in the folder, resumed to the bit, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import peft
import pytest
import torch
import transformers

from glassformer.__main__ import main
from glassformer.checkpoints.folder import load
from glassformer.core.errors import DataError
from glassformer.data.buckets import Buckets
from glassformer.train.log import TIMED, read_metrics
from glassformer.train.loop import resume
from tests.families.forms import BY_NAME
from tests.families.helpers import make

LINES = [
    f"{'good' if number % 3 else 'bad'} film number {number}\t{'pos' if number % 3 else 'neg'}" for number in range(60)
]
CLASSIFY = ["--objective", "classify", "--field", "text=1", "--field", "label=2"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "train.tsv"
    file.write_text("\n".join(LINES) + "\n")
    return file


def train(table: Path, out: Path, *more: str) -> int:
    said = [
        "train",
        str(table),
        *CLASSIFY,
        "--model",
        "bert-tiny",
        "--tokenizer",
        "wordpiece:200",
        "--optimizer",
        "adamw",
    ]
    return main([*said, "--out", str(out), "--batch-rows", "8", "--learning-rate", "0.003", *more])


def test_a_classifier_is_trained_and_transformers_opens_it(table, tmp_path, capsys):
    assert train(table, tmp_path / "run", "--epochs", "8", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["validation"]["accuracy"] == 1.0 and found["steps"] == pytest.approx(8 * 54 / 8, abs=8)
    assert found["tokens"] > 8 * 50 * 5
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    assert type(theirs).__name__ == "BertForSequenceClassification" and theirs.config.id2label == {0: "neg", 1: "pos"}
    ours = load(tmp_path / "run")
    assert ours.labels == ("neg", "pos")
    tokens = torch.randint(5, 60, (3, 9))
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, rtol=1e-4, atol=1e-5)


def test_a_stopped_run_goes_on_bit_for_bit(table, tmp_path, monkeypatch, capsys):
    more = ["--steps", "20", "--dropout", "0.1", "--save-every", "5"]
    assert train(table, tmp_path / "whole", *more) == 0
    plain = Buckets.draw

    def stopping(self, cursor, rows, length, progress=0.0):
        if cursor[0] == 8 * 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, cursor, rows, length, progress)

    monkeypatch.setattr(Buckets, "draw", stopping)
    assert train(table, tmp_path / "cut", *more) == 143
    monkeypatch.setattr(Buckets, "draw", plain)
    assert resume(tmp_path / "cut").is_finished
    whole, cut = (
        [{key: value for key, value in entry.items() if key not in TIMED} for entry in read_metrics(tmp_path / name)]
        for name in ("whole", "cut")
    )
    assert whole == cut and len(whole) == 20
    names = ("whole/step-00000020", "cut/step-00000020")
    one, two = (dict(load(tmp_path / name).named_parameters()) for name in names)
    assert all(torch.equal(one[name], two[name]) for name in one)
    table.write_text("\n".join(LINES[1:]) + "\n")
    with pytest.raises(DataError, match="the data changed since the run began"):
        resume(tmp_path / "cut")


@pytest.mark.parametrize(
    ("form", "architecture"),
    [
        ("roberta", "RobertaForSequenceClassification"), ("distilbert", "DistilBertForSequenceClassification"),
        ("llama", "LlamaForSequenceClassification"), ("modernbert", "ModernBertForSequenceClassification"),
    ],
)  # fmt: skip
def test_a_published_body_gets_the_head_of_its_family(form, architecture, table, tmp_path, capsys):
    name = next(name for name in BY_NAME if BY_NAME[name].family == form)
    pair = make(BY_NAME[name], tmp_path / "body")
    from glassformer.tokenizers.kinds import train_wordpiece

    train_wordpiece(LINES, 61).save(tmp_path / "body")
    out = tmp_path / "run"
    said = ["train", str(table), *CLASSIFY, "--model", str(tmp_path / "body"), "--truncate", "--steps", "2"]
    assert main([*said, "--batch-rows", "8", "--learning-rate", "1e-9", "--out", str(out)]) == 0
    assert "begin anew: " in capsys.readouterr().err
    theirs = getattr(transformers, architecture).from_pretrained(out)
    ours = load(out)
    assert json.loads((out / "config.json").read_text())["architectures"] == [architecture]
    tokens = torch.randint(5, 60, (3, 9))
    torch.testing.assert_close(ours(tokens), theirs.eval()(tokens).logits, rtol=1e-4, atol=1e-5)
    trained = dict(pair.ours.named_parameters())
    body = next(name for name, weight in ours.named_parameters() if name.endswith("q_proj.weight"))
    torch.testing.assert_close(dict(ours.named_parameters())[body], trained[body], rtol=1e-5, atol=1e-6)


def test_parts_are_frozen_and_layers_decay(table, tmp_path):
    assert train(table, tmp_path / "first", "--steps", "2") == 0
    further = ["--model", str(tmp_path / "first"), "--freeze", "embedding.*", "--freeze", "encoder.blocks.0.*"]
    said = [
        "train",
        str(table),
        *CLASSIFY,
        *further,
        "--layer-decay",
        "0.5",
        "--learning-rate",
        "0.01",
        "--batch-rows",
        "8",
    ]
    assert main([*said, "--steps", "4", "--out", str(tmp_path / "second")]) == 0
    before, after = (dict(load(tmp_path / name).named_parameters()) for name in ("first", "second/step-00000004"))
    for name in before:
        is_frozen = name.startswith(("embedding.", "encoder.blocks.0."))
        assert torch.equal(before[name], after[name]) == is_frozen, name


def test_a_low_rank_change_is_trained_and_peft_opens_it(table, tmp_path):
    assert train(table, tmp_path / "first", "--steps", "2") == 0
    said = [
        "train",
        str(table),
        *CLASSIFY,
        "--model",
        str(tmp_path / "first"),
        "--lora",
        "4",
        "--learning-rate",
        "0.01",
    ]
    assert main([*said, "--batch-rows", "8", "--steps", "4", "--out", str(tmp_path / "second")]) == 0
    body = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "first")
    theirs = peft.PeftModel.from_pretrained(body, tmp_path / "second/step-00000004/adapter").eval()
    tokens = torch.randint(5, 60, (3, 9))
    ours = load(tmp_path / "second/step-00000004")
    torch.testing.assert_close(ours(tokens), theirs(input_ids=tokens).logits, rtol=1e-4, atol=1e-5)


REFUSED = {
    "an optimizer": (["--optimizer", "adma"], "no such optimizer"),
    "no rank": (["--lora-targets", "*.q_proj"], "--lora-targets without a rank"),
    "nothing to freeze": (["--freeze", "nothing.*"], "nothing.*"),
    "two lengths": (["--epochs", "2", "--steps", "3"], "two lengths of one run"),
    "a setting": (["--set", "smoothness=1"], "no field 'smoothness'"),
    "no setting": (["--set", "smoothing"], "not NAME=VALUE"),
    "an objective": ([], "classify"),
    "a column": (["--field", "label=3"], "no field 'label'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_is_one_line(case, table, tmp_path, capsys):
    more, what = REFUSED[case]
    word = "clasify" if case == "an objective" else "classify"
    said = ["train", str(table), "--objective", word, "--model", "bert-tiny", "--out", str(tmp_path / "run")]
    fields = ["--field", "text=1", "--field", "label=2"] if case != "a column" else ["--field", "text=1"]
    assert main([*said, *fields, *more]) == 2
    err = capsys.readouterr().err
    assert what in err.splitlines()[-1] and not (tmp_path / "run").exists()


def test_running_text_has_no_epochs(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("some text\n" * 200)
    assert main(["train", str(tmp_path / "a.txt"), "--epochs", "2", "--out", str(tmp_path / "run")]) == 2
    assert "--epochs is for examples" in capsys.readouterr().err
