"""Each objective from the command line, into a folder that transformers opens with the head that was trained."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from glassformer.__main__ import main
from glassformer.checkpoints.folder import load
from glassformer.tokenizers.kinds import train_bpe, train_sequences, train_wordpiece
from glassformer.train.loop import resume
from tests.train.test_objectives import EXTRA, PAIRED, TALK, TEXTS, with_tokens

RUNS = {
    "multi_label": ("bert-tiny", (), "BertForSequenceClassification"),
    "span": ("bert-tiny", ("stride=32",), "BertForQuestionAnswering"),
    "contrastive": ("bert-tiny", ("temperature=0.1",), "BertModel"),
    "span_corruption": ("t5-tiny", ("density=0.3",), "T5ForConditionalGeneration"),
    "denoising": ("t5-tiny", ("permute=false",), "T5ForConditionalGeneration"),
    "prefix": ("gpt-tiny", (), "GPT2LMHeadModel"),
    "fill_in_the_middle": ("gpt-tiny", ("rate=0.9",), "GPT2LMHeadModel"),
    "chat": ("gpt-tiny", ("turns=last",), "GPT2LMHeadModel"),
}
MAKERS = {"bert": train_wordpiece, "t5": train_sequences, "gpt": train_bpe}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_from_the_command_line(name, tmp_path, capsys):
    model, settings, architecture = RUNS[name]
    tokens, facts = EXTRA.get(name, ([], {}))
    with_tokens(MAKERS[model.partition("-")[0]](TEXTS, 300), tokens, facts).save(tmp_path / "tokenizer")
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in PAIRED * 6))
    said = ["train", str(file), "--objective", name, "--model", model, "--tokenizer", str(tmp_path / "tokenizer")]
    chosen = [word for setting in settings for word in ("--set", setting)]
    assert main([*said, *chosen, "--steps", "3", "--batch-rows", "8", "--json", "--out", str(tmp_path / "run")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 3 and found["skipped"] == 0 and found["validation"]["loss"] > 0
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert all(setting.partition("=")[0] in run["train"]["objective"] for setting in settings)
    assert resume(tmp_path / "run").is_finished  # the same settings, and the same samples
    theirs = getattr(transformers, architecture).from_pretrained(tmp_path / "run").eval()
    assert json.loads((tmp_path / "run/config.json").read_text())["architectures"] == [architecture]
    ours, row = load(tmp_path / "run"), torch.randint(5, 60, (2, 9))
    if model == "t5-tiny":
        torch.testing.assert_close(ours(row, row), theirs(row, decoder_input_ids=row).logits, rtol=1e-4, atol=1e-4)
    else:
        torch.testing.assert_close(ours(row), _first(theirs(row)), rtol=1e-4, atol=1e-4)


def _first(said):
    """What their model computes, without its name; two scores of a token are side by side in ours."""
    if "start_logits" in said:
        return torch.stack([said.start_logits, said.end_logits], -1)
    return said.logits if "logits" in said else said.last_hidden_state


def test_a_preference_is_learned_from_the_command_line(tmp_path, capsys):
    with_tokens(train_bpe(TEXTS, 300), EXTRA["chat"][0], {"chat_template": TALK}).save(tmp_path / "tokenizer")
    file = tmp_path / "text.txt"
    file.write_text("\n".join(TEXTS * 40))
    first = ["train", str(file), "--tokenizer", str(tmp_path / "tokenizer"), "--steps", "2", "--context", "16"]
    assert main([*first, "--out", str(tmp_path / "base")]) == 0
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "why", "chosen": " not", "rejected": " the mat"}] * 30
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = ["train", str(pairs), "--objective", "preference", "--model", str(tmp_path / "base"), "--json"]
    more = ["--set", f"reference={tmp_path / 'base'}", "--steps", "20", "--batch-rows", "4", "--learning-rate", "0.003"]
    capsys.readouterr()
    assert main([*said, *more, "--out", str(tmp_path / "run")]) == 0
    found = json.loads(capsys.readouterr().out)["validation"]
    assert found["accuracy"] == 1.0 and found["margin"] > 0.1 and found["loss"] < 0.69
    assert main([*said, "--out", str(tmp_path / "none")]) == 2
    assert "no model to ask · say its folder: --set reference=FOLDER" in capsys.readouterr().err
