"""Wrong input: each is refused with one line that says where, what was found and what was expected; nothing is run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.checkpoints.folder import describe, load
from glassformer.core.errors import CheckpointError
from glassformer.families import families
from tests.builders import gpt_like, llama_like
from tests.checkpoints.tiny import (
    CONFIG,
    SAID,
    WEIGHTS,
    as_bert,
    as_t5,
    refusal,
    with_keys,
    written,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return written(tmp_path / "sharded", max_shard_bytes=40_000)


# No model


def test_no_such_folder(tmp_path: Path):
    refusal(tmp_path / "nothing", "no such folder", tmp_path / "nothing", "expected a model folder with config.json")


def test_a_file_instead_of_a_folder(folder: Path):
    refusal(folder / CONFIG, "not a folder", folder / CONFIG)


def test_a_name_that_no_system_takes(tmp_path: Path):
    refusal(tmp_path / ("x" * 5000), "no such folder", "got File name too long")


def test_an_empty_folder(tmp_path: Path):
    refusal(tmp_path, "no weights", tmp_path, "expected model.safetensors or model.safetensors.index.json")


def test_a_folder_without_a_config(folder: Path):
    (folder / CONFIG).unlink()
    refusal(folder, "no such file", folder / CONFIG)


def test_a_folder_with_gguf_alone(tmp_path: Path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    refusal(tmp_path, "GGUF weights are not read", tmp_path / "model.gguf", "use the safetensors folder")


def test_a_file_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, *arguments: Any, **keywords: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    refusal(folder, "cannot be read", folder / WEIGHTS, "got Permission denied")


# Code


class Canary:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "pytorch_model.bin.index.json"])
def test_a_pickle_is_never_read(tmp_path: Path, name: str):
    folder, fired = written(tmp_path / "model"), tmp_path / "fired"
    (folder / WEIGHTS).unlink()
    torch.save({"wte.weight": Canary(fired)}, folder / name)
    refusal(folder, "pickled weights can run code and are never read", folder / name, "save it as safetensors")
    assert describe(folder) and not fired.exists()
    torch.load(folder / name, weights_only=False)
    assert fired.exists(), "the canary is dead"


def test_a_pickle_beside_good_weights_is_passed_over(tmp_path: Path):
    folder = written(tmp_path / "model")
    torch.save(Canary(tmp_path / "fired"), folder / "pytorch_model.bin")
    assert load(folder) and not (tmp_path / "fired").exists()


def test_a_pickle_under_the_name_of_safetensors(folder: Path, tmp_path: Path):
    torch.save(Canary(tmp_path / "fired"), folder / WEIGHTS)
    refusal(folder, folder / WEIGHTS, "not a safetensors file")
    assert not (tmp_path / "fired").exists()


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_quantised_weights(folder: Path, method: str):
    refusal(
        with_keys(folder, quantization_config={"quant_method": method}),
        "config.json: quantization_config",
        "quantised weights are not read",
    )


# config.json: the text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (b"", ["config.json, line 1", "not JSON"]),
        (b"{", ["config.json, line 1", "not JSON"]),
        (b'{"n_embd":\n 32,,}', ["config.json, line 2", "not JSON"]),
        (b"\xff\xfe{}", ["config.json", "not UTF-8"]),
        (b"[1, 2]", ["config.json", "got list", "expected an object"]),
        (b"null", ["got NoneType", "expected an object"]),
        (b'"gpt2"', ["got str", "expected an object"]),
        (b'{"n_embd": 32, "n_embd": 64}', ["config.json", "a key stands twice: n_embd"]),
        (b'{"layer_norm_epsilon": NaN}', ["config.json", "not a number in JSON: NaN"]),
        (b'{"layer_norm_epsilon": -Infinity}', ["config.json", "not a number in JSON: -Infinity"]),
        (b'{"n_embd": ' + b"9" * 5000 + b"}", ["config.json", "a number of too many digits"]),
        (b"[" * 100_000, ["config.json", "nested too deeply"]),
        (b'{"a":' * 100_000, ["config.json", "nested too deeply"]),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, bytes) else "",
)
def test_a_config_that_is_not_an_object_of_json(folder: Path, text: bytes, parts: list[str]):
    (folder / CONFIG).write_bytes(text)
    refusal(folder, folder / CONFIG, *parts)


def test_a_config_of_100_megabytes(folder: Path):
    with (folder / CONFIG).open("wb") as file:
        file.truncate(100 << 20)
    refusal(folder, folder / CONFIG, "too large", "got 104857600 bytes", "at most 67108864")


def test_a_config_that_is_a_pipe_or_a_folder(folder: Path):
    (folder / CONFIG).unlink()
    os.mkfifo(folder / CONFIG)
    refusal(folder, folder / CONFIG, "not a plain file")
    (folder / CONFIG).unlink()
    (folder / CONFIG).mkdir()
    refusal(folder, folder / CONFIG, "not a plain file")


# config.json: the words


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"model_type": "gtp2"}, ["unknown model_type", "got 'gtp2'", "expected one of gpt2"]),
        ({"model_type": "qwen9"}, ["unknown model_type", "got 'qwen9'", "expected one of qwen"]),
        ({"model_type": "quantum"}, ["unknown model_type", "got 'quantum'", "expected one of albert, ", " more"]),
        ({"model_type": ...}, ["unknown model_type", "got None"]),
        ({"model_type": ["gpt2"]}, ["unknown model_type", "got ['gpt2']"]),
        ({"model_type": "x" * 5_000_000}, ["unknown model_type"]),
        (
            {"architectures": ["GPT2DoubleHeadsModel"]},
            ["architectures: not supported", "got ['GPT2DoubleHeadsModel']", "GPT2LMHeadModel"],
        ),
        ({"architectures": ["LlamaForCausalLM"]}, ["architectures: not supported", "got ['LlamaForCausalLM']"]),
        ({"architectures": ["GPT2Model", "GPT2LMHeadModel"]}, ["architectures: not supported"]),
        ({"architectures": "GPT2Model"}, ["architectures: not supported", "got GPT2Model"]),
        ({"architectures": [["GPT2Model"]]}, ["architectures: not supported"]),
        ({"n_emdb": 64}, ["keys that this family does not know", "got n_emdb=64", "known are n_embd"]),
        ({"a1": 1, "b2": 2, "c3": 3, "d4": 4}, ["got a1=1, b2=2, c3=3 and 1 more"]),
        ({"sparse": "x" * 5_000_000}, ["got sparse='xxx"]),
        ({"add_cross_attention": True}, ["add_cross_attention: not supported", "got True", "expected False"]),
        ({"is_decoder": True}, ["keys that this family does not know", "got is_decoder=True"]),
        ({"activation_function": "swiglu"}, ["activation_function: not supported", "got 'swiglu'", "expected one of"]),
        ({"n_embd": 10**12}, ["n_embd: a size out of range", "got 1000000000000", "expected 1 …"]),
        ({"n_embd": 1 << 23}, ["TransformerConfig.d_model", "got 8388608", "expected 1 … 2^20"]),
        ({"n_embd": 0}, ["n_embd: a size out of range", "got 0"]),
        ({"n_embd": 32.0}, ["n_embd: a key of the wrong type", "got 32.0", "expected int"]),
        ({"n_embd": True}, ["n_embd: a key of the wrong type", "got True", "expected int"]),
        ({"n_embd": "32"}, ["n_embd: a key of the wrong type", "got '32'", "expected int"]),
        ({"n_embd": 30}, ["n_heads", "a divisor of d_model = 30"]),
        ({"n_head": -4}, ["n_head: a size out of range", "got -4"]),
        ({"n_head": 5}, ["n_heads", "got 5", "a divisor of d_model = 32"]),
        ({"n_layer": 10**7}, ["n_layer: a size out of range", "got 10000000", "expected 1 … 10000"]),
        ({"n_layer": 10_000}, ["tensors are missing", "got 28 tensors", "expected 10000 layers of them"]),
        ({"n_layer": 3}, ["tensors are missing", "got transformer.h.2.attn.c_attn.bias, ", " and 9 more"]),
        (
            {"n_layer": 1},
            ["tensors that this family does not know", "got transformer.h.1.attn.c_attn.bias, ", " and 9 more"],
        ),
        ({"layer_norm_epsilon": 0}, ["LayerNormConfig.eps", "got 0.0", "expected 0 < eps < 1"]),
        ({"layer_norm_epsilon": -1e-5}, ["LayerNormConfig.eps", "got -1e-05"]),
        ({"vocab_size": 10**9}, ["vocab_size: a size out of range"]),
        ({"vocab_size": 62}, ["wrong shape", "transformer.wte.weight", "got (61, 32)", "expected (62, 32)"]),
        ({"n_inner": 40}, ["wrong shape", "h.0.mlp.c_fc.weight", "got (32, 48)", "expected (32, 40)"]),
        ({"bos_token_id": 61}, ["bos_token_id: a special token outside of the vocabulary", "got 61", "an id below 61"]),
        ({"eos_token_id": [1, 99]}, ["eos_token_id: a special token outside of the vocabulary", "got 99"]),
        ({"eos_token_id": [[1]]}, ["eos_token_id: a special token", "got [1]"]),
        ({"pad_token_id": -2}, ["pad_token_id: a special token", "got -2"]),
        ({"pad_token_id": "0"}, ["pad_token_id: a special token", "got 0"]),
        ({"bos_token_id": [1]}, ["bos_token_id: a special token", "got [1]"]),
        ({"bos_token_id": True}, ["bos_token_id: a special token", "got True"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_word_of_the_config(folder: Path, keys: dict[str, Any], parts: list[str]):
    refusal(with_keys(folder, **keys), folder, *parts)


def test_a_number_that_json_makes_infinite(folder: Path):
    text = (folder / CONFIG).read_text("utf-8").replace('"layer_norm_epsilon": 1e-05', '"layer_norm_epsilon": 1e999')
    (folder / CONFIG).write_text(text, "utf-8")
    refusal(folder, folder / CONFIG, "LayerNormConfig.eps", "got inf")


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"rope_parameters": []}, []),  # an empty one says nothing
        ({"rope_parameters": 7}, ["rope_parameters: not a table of rotary settings", "got 7"]),
        ({"rope_parameters": {"rope_type": "spiral"}}, ["rope_type: not supported", "got 'spiral'", "longrope"]),
        ({"rope_parameters": {"rope_type": "linear"}}, ["rope_parameters: factor: a missing key", "expected float"]),
        ({"rope_parameters": {"rope_type": "linear", "factor": -1}}, ["LinearScalingConfig.factor", "got -1.0"]),
        ({"rope_parameters": {"rope_theta": 0}}, ["RotaryConfig.theta", "got 0.0"]),
        (
            {"rope_parameters": {"rope_teta": 9.0}},
            ["rope_parameters: keys", "got rope_teta=9.0", "known are rope_theta"],
        ),
        (
            {"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0] * 4}},
            ["short_factor", "got [1.0]", "expected 4 numbers"],
        ),
        (
            {"rope_parameters": {"rope_type": "longrope", "short_factor": ["1"] * 4, "long_factor": [1.0] * 4}},
            ["short_factor", "expected 4 numbers"],
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 2.0, "attention_factor": "x"}},
            ["attention_factor: a key of the wrong"],
        ),
        ({"num_key_value_heads": 3}, ["n_kv_heads", "got 3", "a divisor of n_heads = 4"]),
        ({"head_dim": 7}, ["partial_rotary_factor", "expected an even share of 7 dimensions"]),
        ({"head_dim": 0}, ["head_dim: a size out of range"]),
        ({"sliding_window": 4096}, ["sliding_window: not supported", "got 4096", "expected nothing"]),
        ({"rope_interleaved": True}, ["rope_interleaved: not supported"]),
        ({"hidden_size": -1}, ["hidden_size: a size out of range"]),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_a_word_of_a_llama(tmp_path: Path, keys: dict[str, Any], parts: list[str]):
    folder = with_keys(written(tmp_path / "llama", llama_like()), **{"rope_parameters": ..., **keys})
    if parts:
        refusal(folder, folder, *parts)
    else:
        assert load(folder)


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"feed_forward_proj": "gated-swish-glu"}, ["feed_forward_proj: not supported", "got 'gated-swish-glu'"]),
        ({"is_decoder": True}, ["is_decoder: not supported"]),
        (
            {"relative_attention_num_buckets": 2},
            ["RelativeBucketsConfig.max_distance", "more than the 0 exact buckets"],
        ),
    ],
)
def test_a_word_of_a_t5(tmp_path: Path, keys: dict[str, Any], parts: list[str]):
    folder = with_keys(written(tmp_path / "t5", as_t5()), **keys)
    refusal(folder, folder, *parts)


def test_a_word_of_a_bert(tmp_path: Path):
    folder = with_keys(written(tmp_path / "bert", as_bert()), position_embedding_type="relative_key")
    refusal(folder, folder, "position_embedding_type: not supported", "got 'relative_key'", "expected 'absolute'")


def test_a_word_of_our_own_form(tmp_path: Path):
    folder = written(tmp_path / "own", gpt_like(), family="glassformer")
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    config["description"]["decoder"]["blocks"][0]["of"][0]["norm"]["kind"] = "LayerNormConfg"
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")
    refusal(folder, "description.decoder.blocks[0][0].norm.kind", "unknown kind", "LayerNormConfig")


@pytest.mark.parametrize("text", ["[]", "{", '{"eos_token_id": 61}', '{"eos_token_id": {}}'])
def test_a_broken_generation_config(folder: Path, text: str):
    (folder / "generation_config.json").write_text(text, "utf-8")
    refusal(folder, folder)


NASTY = [
    None,
    True,
    -1,
    0,
    1,
    7,
    10**12,
    10**400,
    0.5,
    -0.0,
    1e308,
    "",
    "relu",
    "x" * 1000,
    [],
    [1],
    {},
    {"a": 1},
    [[[]]],
]


@pytest.mark.parametrize("make", SAID.values(), ids=SAID)
def test_any_value_of_any_key_loads_or_is_refused_in_one_line(tmp_path: Path, make: Callable[[], Any]):
    folder = written(tmp_path / "model", make())
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    rope = dict.fromkeys(("rope_theta", "factor", "low_freq_factor", "beta_fast", "attention_factor", "mscale"), 2.0)
    refused = 0
    for name in [
        *config,
        "rope_parameters",
        "rope_scaling",
        "quantization_config",
        "head_dim",
        "id2label",
        "num_labels",
    ]:
        for value in [*NASTY, rope]:
            (folder / CONFIG).write_text(json.dumps({**config, name: value}), "utf-8")
            try:
                describe(folder)
            except CheckpointError as error:
                assert "\n" not in str(error) and str(folder) in str(error)
                refused += 1
    assert refused > 100


# Families


def test_every_family_refuses_the_tensors_of_the_others(tmp_path: Path):
    assert {*SAID} < {family.MODEL_TYPES[0] for family in families()}
    folders = {name: written(tmp_path / name, make()) for name, make in SAID.items()}
    for name, folder in folders.items():
        for other, weights in folders.items():
            if other != name:
                mixed = tmp_path / f"{name}-{other}"
                mixed.mkdir()
                shutil.copy(folder / CONFIG, mixed), shutil.copy(weights / WEIGHTS, mixed)
                refusal(mixed, mixed, "tensors are missing")
