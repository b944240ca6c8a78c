"""Decoders after Llama: windows, kinds of layers and rotary tables where transformers is in doubt, or has no say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from glassformer.checkpoints.folder import describe, load
from glassformer.core.errors import CheckpointError
from tests.families.forms import BY_NAME, Form
from tests.families.forms.llama import LONG
from tests.families.helpers import close, main_output, make, run_theirs, tokens_like

#: A form of each family with windows, in which some layer has one.
WINDOWED = (
    "mistral", "qwen2-windows", "qwen3-windows", "gemma2", "gemma3", "phi3-window", "smollm3-window", "olmo3",
    "cohere2", "exaone4",
)  # fmt: skip


@pytest.fixture
def changed(pair_of, tmp_path: Path) -> Callable[..., Path]:
    """A form's folder whose config.json says something else; ``...`` takes a key away."""

    def change(name: str, **keys: Any) -> Path:
        folder = shutil.copytree(pair_of(name).folder, tmp_path / name)
        config = {**json.loads((folder / "config.json").read_text("utf-8")), **keys}
        config = {key: value for key, value in config.items() if value is not ...}
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        return folder

    return change


@pytest.mark.parametrize("name", WINDOWED)
def test_a_window_counts_the_token_itself(pair_of, name: str):
    """A token sees the keys with key > query - window: at distance window - 1 the last."""
    model, tokens = pair_of(name).ours, tokens_like(1, 20)
    layer, window = next((i, block.attention.window) for i, block in enumerate(model.config.decoder.blocks)
                         if block.attention.window is not None)  # fmt: skip
    with torch.no_grad(), model.trace() as trace:
        trace.read(f"decoder.blocks.{layer}.attention.pattern")
        model(tokens)
    seen = trace[f"decoder.blocks.{layer}.attention.pattern"][0, 0] > 0
    distance = torch.arange(20)[:, None] - torch.arange(20)
    assert torch.equal(seen, (distance >= 0) & (distance < window))


@pytest.mark.parametrize("window", [1, 2, 5, 19, 20, 21])
def test_windows_of_every_length_are_those_of_transformers(window: int, tmp_path: Path):
    form = BY_NAME["mistral"]
    pair = make(Form("window", form.architecture, {"sliding_window": window}), tmp_path / "w")
    tokens = tokens_like(2, 20)
    with torch.no_grad():
        close(pair.ours(tokens), main_output(run_theirs(pair, tokens, use_cache=False)))


#: Families whose layers differ where config.json does not say how: a key and what it is instead of its default.
PATTERNS: list[tuple[str, dict[str, Any]]] = [
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 3}),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 40}),
    ("qwen2", {"use_sliding_window": False, "max_window_layers": 0}),
    ("qwen3", {"use_sliding_window": True, "max_window_layers": 0}),
    ("gemma2", {}),
    ("gemma3_text", {}),
    ("gemma3_text", {"sliding_window_pattern": 4}),
    ("olmo3", {}),
    ("cohere2", {}),
    ("cohere2", {"sliding_window_pattern": 3}),
    ("exaone4", {}),
    ("exaone4", {"sliding_window_pattern": 5}),
]


@pytest.mark.parametrize(("family", "keys"), PATTERNS)
def test_layers_that_config_json_does_not_name(family: str, keys: dict[str, Any], tmp_path: Path):
    said = {"num_hidden_layers": 13, **keys}
    kinds = transformers.AutoConfig.for_model(family, **said).layer_types
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, **said}), "utf-8")
    windows = [block.attention.window for block in describe(tmp_path).config.decoder.blocks]
    assert windows == [4096 if kind == "sliding_attention" else None for kind in kinds]


@pytest.mark.parametrize("interval", [2, 4])
def test_layers_without_positions_that_config_json_does_not_name(interval: int, tmp_path: Path):
    said = {"num_hidden_layers": 13, "no_rope_layer_interval": interval}
    turned = transformers.AutoConfig.for_model("smollm3", **said).no_rope_layers
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "smollm3", **said}), "utf-8")
    blocks = describe(tmp_path).config.decoder.blocks
    assert [int(block.attention.positions is not None) for block in blocks] == turned


def test_gemma_3_in_the_words_before_tables_by_kind(changed, pair_of):
    scaling = {"rope_type": "linear", "factor": 3.0}
    folder = changed("gemma3", rope_parameters=..., rope_scaling=scaling, rope_theta=500.0, rope_local_base_freq=50.0)
    assert load(folder).config == pair_of("gemma3").ours.config


def test_olmo_3_with_one_base_for_all_layers_is_refused(changed):
    """transformers gives it to the layers without a window and 500,000 to the others; OLMo's own code to all."""
    with pytest.raises(CheckpointError, match=r"rope_theta: not supported · got 10000.0 · expected 500000.0"):
        load(changed("olmo3", rope_parameters=..., rope_theta=10000.0))
    assert load(changed("olmo3-hidden", rope_parameters=..., rope_theta=500000.0))


def test_a_table_by_kind_obeys_truncate(changed, pair_of):
    """transformers looks for it beside the tables of the kinds and never finds it."""
    table = {"rope_type": "yarn", "factor": 8.0, "rope_theta": 500.0, "original_max_position_embeddings": 8}
    tables = {"full_attention": {**table, "truncate": False}, "sliding_attention": {"rope_theta": 50.0}}
    model = load(changed("gemma3-yarn", rope_parameters=tables))
    assert model.config.decoder.blocks[0].attention.positions.scaling.truncate is False


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("gemma3", {"attn_logit_softcapping": 30.0}, "attn_logit_softcapping: not supported · got 30.0"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention: not supported · got True"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention: not supported · got True"),
        ("gemma", {"hidden_activation": "relu"}, "hidden_activation: not supported · got 'relu'"),
        ("mistral", {"attention_bias": True}, "attention_bias: not supported · got True"),
        ("mistral", {"layer_types": ["full_attention"] * 2}, "keys that this family does not know · got layer_types"),
        ("qwen2-kinds", {"layer_types": ["full_attention"]}, "layer_types: kinds of layers"),
        ("qwen2-kinds", {"layer_types": ["chunked_attention"] * 3}, "layer_types: kinds of layers"),
        ("qwen2-kinds", {"use_sliding_window": False}, "layer_types: layers with a window"),
        ("qwen2", {"rope_parameters": {"full_attention": {"rope_theta": 9.0}}}, "keys that this family does not know"),
        ("gemma3", {"rope_parameters": {"rope_theta": 9.0}}, "keys that this family does not know · got rope_theta"),
        ("gemma3", {"rope_parameters": 7}, "rope_parameters: not a table for each kind of layer · got 7"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "no_rope_layers: layers with positions"),
        ("smollm3", {"no_rope_layers": [1, 0, 2]}, "no_rope_layers: layers with positions"),
        ("granite", {"logits_scaling": 0}, "logits_scaling: cannot be divided by · got 0.0"),
        ("gemma2", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar: a size out of range · got 0"),
        ("phi3", {"lm_head_bias": True}, "lm_head_bias: not supported · got True"),
        ("cohere2", {"use_parallel_block": False}, "use_parallel_block: not supported · got False"),
        ("cohere2", {"rotary_pct": 0.5}, "rotary_pct: not supported · got 0.5"),
        ("stablelm", {"head_dim": 4}, "head_dim: not supported · got 4 · expected 8"),
        ("exaone4", {"layer_types": None, "sliding_window_pattern": "LLLG"}, "sliding_window_pattern: a key of the"),
    ],
)
def test_what_is_not_computed_is_refused(changed, name: str, keys: dict[str, Any], message: str):
    with pytest.raises(CheckpointError) as caught:
        load(changed(name, **keys))
    assert message in str(caught.value)


def test_what_early_releases_said_beside_it_is_understood(changed, pair_of):
    folder = changed(
        "cohere2", cache_implementation="hybrid", layer_switch=4, rotary_pct=1.0, use_gated_activation=True,
        use_parallel_block=True, position_embedding_type="rope_gptj", order_of_interleaved_layers="local_attn_first",
    )  # fmt: skip
    assert load(folder).config == pair_of("cohere2").ours.config
    assert load(changed("gemma", hidden_act="gelu", hidden_activation=None)).config == pair_of("gemma").ours.config
    su = changed("phi3-long", rope_parameters=..., original_max_position_embeddings=8, rope_theta=10000.0,
                 rope_scaling={"type": "su", **LONG})  # fmt: skip
    assert load(su).config == pair_of("phi3-long").ours.config


@pytest.mark.parametrize("name", ["qwen2", "smollm3", "granite", "olmo3"])
def test_no_number_of_key_heads_means_as_many_as_heads(pair_of, name: str, tmp_path: Path):
    """Absence may mean another number."""
    family = BY_NAME[name].family
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, "num_key_value_heads": None}), "utf-8")
    theirs = transformers.AutoConfig.for_model(family, num_key_value_heads=None)
    attention = describe(tmp_path).config.decoder.blocks[0].attention
    assert attention.n_kv_heads == attention.n_heads == theirs.num_key_value_heads
