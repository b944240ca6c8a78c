from __future__ import annotations

import json

import pytest

from glassformer.commands import show
from glassformer.core.errors import CheckpointError, ConfigError
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.norm import LayerNormConfig
from tests.inside import tiny

GPT2 = {
    "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "n_positions": 1024,
    "n_embd": 768, "n_layer": 12, "n_head": 12,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """GPT-2's config.json, and nothing else."""
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps(GPT2))
    return str(tmp_path / "gpt2")


def test_a_folder_without_weights_is_shown(folder, capsys):
    show.main(folder)
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "TransformerConfig: d_model 768, vocab_size 50257, max_positions 1024"
    assert "│  ├─ blocks  12 × BlockConfig" in out
    assert "├─ attention  AttentionConfig: n_heads 12, biases query+key+value+output" in out
    assert "parameters          124,439,808 (39,383,808 of them in embeddings)" in out
    assert "KV bytes per token  73,728 in float32, 36,864 in 16 bit" in out
    assert "blocks.0-11" not in out


def test_names_are_listed_with_their_axes_once_for_all_layers(folder, capsys):
    show.main(folder, names=True)
    lines = capsys.readouterr().out.splitlines()
    found = dict(line.split(maxsplit=1) for line in lines if line.startswith(("decoder.", "logits")))
    assert found["decoder.blocks.0-11.attention.pattern"] == "batch head query key"
    assert found["decoder.embedding"] == "batch position model"
    assert found["logits"] == "batch position vocab"


def test_json_has_the_description_the_sizes_and_every_name(folder, capsys):
    show.main(folder, names=True, json=True)
    report = json.loads(capsys.readouterr().out)
    config = TransformerConfig.from_json(report["config"])
    assert (config.d_model, len(config.decoder.blocks)) == (768, 12)
    assert report["summary"]["parameters"] == 124_439_808
    assert report["names"]["decoder.blocks.11.attention.pattern"] == "batch head query key"
    show.main(folder, json=True)
    assert set(json.loads(capsys.readouterr().out)) == {"model", "config", "summary"}


def test_no_memory_is_taken_for_weights(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({**GPT2, "n_embd": 1 << 14, "n_head": 128, "n_layer": 96}))
    show.main(str(tmp_path))
    assert "parameters          310,098,313,216 " in capsys.readouterr().out


def test_a_description_in_a_file_is_shown(tmp_path, capsys):
    file = tmp_path / "pair.json"
    tiny.pair().config.save(file)
    show.main(str(file))
    out = capsys.readouterr().out
    assert "├─ encoder  StackConfig" in out
    assert "│  ├─ blocks  2 × BlockConfig" in out
    assert "cross_attention  AttentionConfig: n_heads 4" in out


def test_a_preset_is_shown_with_what_is_assumed(capsys):
    show.main("gpt-tiny")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "TransformerConfig: d_model 128, vocab_size 4096, max_positions 512"
    assert lines[-1].endswith("here vocab_size 4,096 and max_positions 512")
    show.main("llama-tiny", json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["assumed"] == {"vocab_size": 4096, "max_positions": 512}


def test_a_folder_wins_over_a_preset_of_its_name(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "gpt2").rename(tmp_path / "gpt-tiny")
    monkeypatch.chdir(tmp_path)
    show.main("gpt-tiny")
    assert "d_model 768" in capsys.readouterr().out


def test_alternating_layers_are_shown_in_turn():
    block = tiny.stack(1, LayerNormConfig()).blocks[0]
    local = block.replace(attention=block.attention.replace(window=8))
    lines = show.tree(tiny.stack(1, LayerNormConfig()).replace(blocks=(local, block) * 3).to_json())
    assert "├─ blocks, 1 of 2 in turn  3 × BlockConfig" in lines
    assert "├─ blocks, 2 of 2 in turn  3 × BlockConfig" in lines
    assert sum("window 8" in line for line in lines) == 1


def test_names_of_uneven_layers_keep_their_numbers():
    names = {
        "blocks.0.a": "batch",
        "blocks.1.a": "batch",
        "blocks.2.a": "batch",
        "blocks.0.b": "head",
        "blocks.2.b": "head",
        "c": "key",
    }
    assert show.listing(names) == ["blocks.0-2.a  batch", "blocks.0,2.b  head", "c             key"]
    assert show.listing({}) == []


def test_wrong_input_is_one_line(tmp_path, glassformer):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "empty").mkdir()
    for model, error in (("broken.json", ConfigError), ("empty", CheckpointError)):
        with pytest.raises(error):
            show.main(str(tmp_path / model))
    with pytest.raises(CheckpointError, match=r"gpt-tinny: no such model · .* · presets are gpt-tiny, gpt-small, "):
        show.main("gpt-tinny")
    with pytest.raises(CheckpointError, match="no such folder"):
        show.main(str(tmp_path / "absent"))
    done = glassformer("show", tmp_path / "broken.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "broken.json, line 1: not JSON" in done.stderr
