from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from glassformer.__main__ import main
from glassformer.checkpoints.folder import load
from glassformer.tokenizers.kinds import byte_tokenizer
from glassformer.tokenizers.tokenizer import Tokenizer
from glassformer.train.folder import newest
from glassformer.train.log import TIMED, read_metrics
from tests.train import tiny


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(tiny.TEXT)
    return str(tmp_path / "text.txt")


@pytest.fixture
def description(tmp_path):
    tiny.config().save(tmp_path / "tiny.json")
    return str(tmp_path / "tiny.json")


@pytest.fixture
def command(tmp_path, text, description):
    """The arguments of a small training, as strings."""

    def build(*more, out="run", steps=6, model=description):
        fixed = ["train", text, "--out", tmp_path / out, "--model", model, "--tokenizer", "bytes"]
        fixed += ["--steps", steps, "--batch-tokens", 64, "--context", 16]
        return [str(word) for word in (*fixed, *more)]

    return build


def test_a_run_is_reported_and_can_be_opened(command, tmp_path, capsys):
    assert main(command()) == 0
    shown = capsys.readouterr()
    assert "6 steps" in shown.out
    assert "bits/byte on held-out data" in shown.out
    assert "step 6/6 · loss" in shown.err
    assert "tokens to learn from" in shown.err
    assert load(tmp_path / "run").config.d_model == 16


def test_json_is_one_object_and_the_rest_is_elsewhere(command, tmp_path, capsys):
    assert main(command("--json", "--dropout", 0.1, "--matrix-rate", 0.01)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == str(tmp_path / "run")
    assert (found["steps"], found["is_finished"], found["stopped_by"], found["skipped"]) == (6, True, None, 0)
    assert found["validation"]["bits_per_byte"] > 0
    assert 0 < found["tokens"] <= 6 * 64
    said = json.loads((tmp_path / "run/run.json").read_text())["train"]
    assert said["optimizer"] == {"kind": "MuonConfig", "learning_rate": 0.01}
    assert said["dropout"] == 0.1


@pytest.mark.parametrize("preset", ["gpt-tiny", "llama-tiny"])
def test_a_preset_takes_its_size_from_tokenizer_and_context(text, tmp_path, preset, capsys):
    out = tmp_path / "run"
    options = ["--tokenizer", "bpe:300", "--steps", "1", "--batch-tokens", "64", "--context", "16", "--context", "24"]
    assert main(["train", text, "--out", str(out), "--model", preset, *options, "--sample-every", "0"]) == 0
    config = load(out).config
    assert config.max_positions == 24
    assert config.vocab_size == Tokenizer.load(out).vocab_size <= 300


def test_a_model_folder_is_trained_further_with_its_own_tokenizer(text, tmp_path, capsys):
    tiny.model().save(tmp_path / "first", tokenizer=byte_tokenizer())
    arguments = ["train", text, "--out", str(tmp_path / "run"), "--model", str(tmp_path / "first")]
    assert main([*arguments, "--steps", "3", "--batch-tokens", "64"]) == 0
    said = json.loads((tmp_path / "run/run.json").read_text())["train"]
    assert said["context"] == 32  # as far as the model reaches
    assert said["learning_rate"] == 1e-4
    assert said.get("optimizer") is None  # AdamW, which is the default
    assert Tokenizer.load(tmp_path / "run") == byte_tokenizer()
    before, after = load(tmp_path / "first"), load(tmp_path / "run")
    moved = [(after.get_parameter(name) - weight).abs().max().item() for name, weight in before.named_parameters()]
    assert 0 < max(moved) < 0.1


def test_json_lines_with_a_field_and_one_document_a_row(description, tmp_path, capsys):
    rows = [json.dumps({"body": f"document number {number}"}) for number in range(120)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    options = ["--field", "body", "--samples", "documents", "--tokenizer", "bytes", "--minutes", "0.002"]
    arguments = ["train", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "run"), "--model", description]
    assert main([*arguments, *options, "--context", "32", "--schedule", "wsd", "--warmup", "2", "--threads", "1"]) == 0
    said = json.loads((tmp_path / "run/run.json").read_text())
    assert said["data"]["samples"] == "documents"
    assert said["train"]["schedule"] == {"kind": "WSDConfig"}
    assert said["train"]["minutes"] == 0.002
    assert "steps" not in said["train"]


def compared(run):
    return [{name: value for name, value in entry.items() if name not in TIMED} for entry in read_metrics(run)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_says_how_to_go_on_and_the_rest_is_the_same(command, tmp_path, capsys, number, code):
    words = command("--dropout", 0.1, "--sample-every", 0, out="stopped", steps=200)
    with subprocess.Popen([sys.executable, "-m", "glassformer", *words], stderr=subprocess.PIPE, text=True) as run:
        log = tmp_path / "stopped/metrics.jsonl"
        while not log.exists() or log.stat().st_size < 1000:
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.005)
        run.send_signal(number)
        assert run.wait(120) == code
        shown = run.stderr.read()
    assert f"by {number.name}; everything is saved · go on with: glassformer train --resume {tmp_path}/stopped" in shown
    assert "Traceback" not in shown
    stopped = newest(tmp_path / "stopped", print).step
    assert 0 < stopped < 200
    torch.manual_seed(99)
    assert main(["train", "--resume", str(tmp_path / "stopped"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 200
    assert main(command("--dropout", 0.1, "--sample-every", 0, out="unbroken", steps=200)) == 0
    assert compared(tmp_path / "stopped") == compared(tmp_path / "unbroken")


def test_in_a_pipe_there_are_plain_lines_only(command):
    environment = {**os.environ, "COLUMNS": "80"}
    words = [sys.executable, "-m", "glassformer", *command()]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "train needs DATA and --out RUN"),
        (["{text}"], "train needs DATA and --out RUN"),
        (["{tmp}/none.txt", "--out", "{tmp}/r"], "none.txt: no such file or folder"),
        (["{text}", "--out", "{tmp}/r", "--model", "gpt-huge"], "no such preset · got gpt-huge · expected one of gpt-"),
        (["{text}", "--out", "{tmp}/r", "--model", "{text}"], "text.txt, line 1: not JSON"),
        (["{text}", "--out", "{tmp}/r", "--model", "{tmp}"], "no weights|no such file|config.json"),
        (["{text}", "--out", "{tmp}/r", "--model", "{tmp}/none"], "none: no such folder"),
        (["{text}", "--out", "{tmp}/r", "--model", "none.json"], "none.json: no such file"),
        (["{text}", "--out", "{tmp}/r", "--tokenizer", "words"], "no such tokenizer · got words"),
        (["{text}", "--out", "{tmp}/r", "--steps", "0"], "steps.*above 0"),
        (["{text}", "--out", "{tmp}/r", "--learning-rate", "0"], "learning_rate.*above 0"),
        (["{text}", "--out", "{tmp}/r", "--steps", "5", "--minutes", "1"], "exactly one of steps, tokens and minutes"),
        (["{text}", "--out", "{tmp}/r", "--optimizer", "adamw", "--matrix-rate", "0.1"],
         "--matrix-rate is the rate of Muon"),
        (["{text}", "--out", "{tmp}/r", "--model", "{tmp}/tiny.json", "--tokenizer", "bpe:300"], "does not know"),
        (["{text}", "--out", "{tmp}/r", "--model", "{tmp}/tiny.json", "--context", "64", "--tokenizer", "bytes"],
         "the context is longer than the model · got 64 · expected at most 32"),
        (["{text}", "--out", "{tmp}"], "the output folder exists"),
        (["--resume", "{tmp}"], "not the folder of a run"),
        (["{text}", "--resume", "{tmp}", "--steps", "5"], "a resumed run keeps its settings · got DATA, --steps"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_leaves_nothing(words, message, text, description, tmp_path, capsys):
    import re

    before = sorted(tmp_path.rglob("*"))
    arguments = [word.format(text=text, tmp=tmp_path) for word in words]
    assert main(["train", *arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("glassformer: ")]
    assert re.search(message, line), line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"a\0b", b"\xff\xfe", b"a"])
def test_text_that_cannot_be_trained_on(content, description, tmp_path, capsys):
    (tmp_path / "bad.txt").write_bytes(content)
    words = ["train", str(tmp_path / "bad.txt"), "--out", str(tmp_path / "run"), "--model", description]
    assert main([*words, "--tokenizer", "bytes", "--context", "16"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("glassformer: ")]
    assert "bad.txt" in line
    assert not (tmp_path / "run").exists()
