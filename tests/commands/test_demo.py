"""The demo: every link of its chain on real text, only less of it."""

from __future__ import annotations

import json
import signal

import pytest
import torch
import transformers

from glassformer.commands import demo as command
from glassformer.lab import demo


@pytest.fixture
def short(monkeypatch, tmp_path):
    """Less text and the folder of the test."""
    shares = (demo.Share(demo.TOPICS, first=4.0, last=2.0), demo.Share(demo.DOCS, first=4.0, last=2.0, portion=0.02))
    monkeypatch.setattr(demo, "SHARES", shares)
    monkeypatch.setattr(demo, "VOCAB_SIZE", 300)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_demo_trains_measures_writes_and_shows(short, capsys):
    command.main(minutes=0.02, json=True)
    said = json.loads(capsys.readouterr().out)
    for figure in ("bits_per_byte", "xz_bits_per_byte", "ngram_bits_per_byte", "train_seconds", "tokens_per_second"):
        assert said[figure] > 0, figure
    assert 1 < said["ngram_bits_per_byte"] < 4 and 1 < said["xz_bits_per_byte"] < 4
    assert said["model"] == "runs/demo" and "<html" in (short / said["view"]).read_text(encoding="utf-8")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(short / said["model"])
    assert sum(weight.numel() for weight in theirs.parameters()) == said["parameters"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(short / said["model"])
    text = "The for statement"
    ours = demo.Run(short / said["model"], [], True).last()
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-4, atol=1e-5)


def test_a_second_demo_takes_another_folder_and_reports_in_words(short, capsys):
    (short / "runs" / "demo").mkdir(parents=True)
    command.main(minutes=0.01)
    out = capsys.readouterr().out
    assert "runs/demo-2" in out and "Kneser-Ney" in out and "PPMd" in out and "glassformer generate runs/demo-2" in out


def test_a_stopped_demo_is_saved_and_says_how_to_go_on(short, monkeypatch, capsys):
    learn = demo.loop._Trainer.learn

    def stop_after_two(self, *arguments):
        if self.state.step == 1:
            signal.raise_signal(signal.SIGINT)
        return learn(self, *arguments)

    monkeypatch.setattr(demo.loop._Trainer, "learn", stop_after_two)
    assert command.main(minutes=5.0) == 130
    said = capsys.readouterr()
    assert "glassformer train --resume runs/demo" in said.err and not said.out
    assert (short / "runs" / "demo" / "model.safetensors").is_file()


def test_the_curve_falls_from_left_to_right():
    assert command.curve([4.0, 3.0, 2.0, 1.0]) == "█▆▃▁"
    assert command.curve([2.0]) == "▁"
    assert len(command.curve([1.0] * 1000)) <= 44
