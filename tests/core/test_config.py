"""Descriptions: frozen values that go to JSON and back, and say exactly what is wrong with a file from outside."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
from hypothesis import given, strategies as st

from glassformer.core.config import Config, read_json
from glassformer.core.errors import ConfigError
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig, GatedConfig
from glassformer.parts.head import ClassifyHeadConfig, PoolerConfig, TagHeadConfig, TokenHeadConfig, TransformConfig
from glassformer.parts.norm import LayerNormConfig, NormConfig, RMSNormConfig
from glassformer.parts.positions import LearnedPositionsConfig, RelativeBucketsConfig, SinusoidalConfig
from glassformer.parts.rotary import (
    DynamicScalingConfig,
    LinearScalingConfig,
    Llama3ScalingConfig,
    LongRoPEScalingConfig,
    RotaryConfig,
    YarnScalingConfig,
)
from glassformer.parts.stack import StackConfig
from tests.builders import ALL, bert_like, gpt_like, llama_like, parallel_like, t5_like

BLOCK = gpt_like().decoder.blocks[0]
LOCAL = BLOCK.replace(attention=BLOCK.attention.replace(window=4))


@pytest.mark.parametrize("name", ALL)
def test_json_round_trip(name, tmp_path):
    config = ALL[name]()
    text = json.dumps(config.to_json())
    assert Config.from_json(json.loads(text)) == config
    config.save(tmp_path / "model.json")
    assert TransformerConfig.load(tmp_path / "model.json") == config
    assert hash(TransformerConfig.from_json(json.loads(text))) == hash(config)


def test_defaults_are_left_out_and_runs_are_written_once():
    data = gpt_like().replace(decoder=StackConfig(blocks=((LOCAL,) * 5 + (BLOCK,)) * 4)).to_json()
    assert "encoder" not in data and "n_kv_heads" not in json.dumps(data)
    (run,) = data["decoder"]["blocks"]
    assert run["repeat"] == 4
    assert [block["attention"].get("window") for block in run["of"]] == [4] * 5 + [None]


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_any_order_of_layers_survives(order):
    stack = StackConfig(blocks=tuple(LOCAL if local else BLOCK for local in order))
    assert StackConfig.from_json(stack.to_json()) == stack


def test_a_description_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        gpt_like().d_model = 8


def test_lists_and_whole_numbers_are_taken_where_tuples_and_floats_are_meant():
    attention = AttentionConfig(n_heads=2, soft_cap=30, biases=["query", "key"])
    assert type(attention.soft_cap) is float and attention.biases == ("query", "key")
    assert type(RotaryConfig(theta=10_000).theta) is float
    scaling = LongRoPEScalingConfig(short=[1, 1], long=[2, 3.5], original=8, factor=4)
    assert scaling.long == (2.0, 3.5) and {type(one) for one in scaling.short} == {float}


def changed(path, value, config=gpt_like):
    """The JSON of a description with one value changed."""
    data = json.loads(json.dumps(config(1).to_json() if config is gpt_like else config().to_json()))
    *steps, last = path
    inner = data
    for step in steps:
        inner = inner[step]
    inner[last] = value
    return data


BLOCK_PATH = ("decoder", "blocks", 0)
WRONG_FILES = {
    "unknown field": (
        changed((*BLOCK_PATH, "attention", "n_head"), 4),
        r"config\.decoder\.blocks\[0\]\.attention\.n_head: no field 'n_head' .* expected one of n_heads, n_kv_heads",
    ),
    "unknown kind": (
        changed(("head", "kind"), "TokenHed"),
        r"config\.head\.kind: unknown kind .*'TokenHed'.*TokenHead",
    ),
    "group": (
        changed((*BLOCK_PATH, "norm", "kind"), "NormConfig"),
        r"norm\.kind: unknown kind .*NormConfig' .*RMSNormConfig",
    ),
    "kind that is no word": (changed(("head", "kind"), ["os"]), r"config\.head\.kind: unknown kind · got \['os'\]"),
    "no kind": (changed(("head",), {"tied": True}), r'config\.head: no kind · expected an object with "kind"'),
    "lacking": (
        changed((*BLOCK_PATH, "attention"), {"kind": "AttentionConfig"}),
        "attention: AttentionConfig lacks n_heads",
    ),
    "other kind": (
        changed(("head",), {"kind": "StackConfig", "blocks": [BLOCK.to_json()]}),
        r"config\.head: wrong type",
    ),
    "text for a number": (changed(("d_model",), "32"), r"config\.d_model: wrong type · got '32' · expected int"),
    "truth for a number": (changed(("d_model",), True), r"config\.d_model: wrong type · got True · expected int"),
    "fraction": (changed(("vocab_size",), 1.5), r"config\.vocab_size: wrong type · got 1\.5 · expected int"),
    "null": (changed(("d_model",), None), r"config\.d_model: wrong type · got None · expected int"),
    "negative": (changed(("d_model",), -4), r"config\.d_model: cannot be built · got -4 · expected 1 … 2\^20"),
    "huge": (
        changed(("d_model",), 10**12),
        r"config\.d_model: cannot be built · got 1000000000000 · expected 1 … 2\^20",
    ),
    "deep field": (
        changed((*BLOCK_PATH, "attention", "n_heads"), -3),
        r"config\.decoder\.blocks\[0\]\.attention\.n_heads: cannot be built · got -3 · expected 1 … 65536",
    ),
    "not a number": (changed((*BLOCK_PATH, "norm", "eps"), float("nan")), r"norm\.eps: .* got nan · expected a finite"),
    "no layers": (
        changed(("decoder", "blocks"), []),
        r"config\.decoder\.blocks: cannot be built · got \(\) · expected 1",
    ),
    "endless run": (
        changed(("decoder", "blocks"), [{"repeat": 10**9, "of": [BLOCK.to_json()]}]),
        r"config\.decoder\.blocks\[0\]: repeat · got 1 x 1000000000 items · expected at most 10000",
    ),
    "run of runs": (
        changed(("decoder", "blocks"), [{"repeat": 9999, "of": [{"repeat": 9999, "of": [BLOCK.to_json()]}]}]),
        r"repeat · got 9999 x 9999 items · expected at most 10000",
    ),
    "run of nothing": (
        changed(("decoder", "blocks"), [{"repeat": 0, "of": []}]),
        r"blocks\[0\]: repeat · got 0 · expected",
    ),
    "list": ([1, 2], "config: wrong kind · got tuple · expected TransformerConfig"),
    "stack": (gpt_like().decoder.to_json(), "config: wrong kind · got StackConfig · expected TransformerConfig"),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_one_line_with_the_path(name):
    data, message = WRONG_FILES[name]
    with pytest.raises(ConfigError, match=message) as caught:
        TransformerConfig.from_json(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", ["list", "repeat", "object"])
def test_nesting_is_bounded(kind):
    data = 1
    for _ in range(5_000):
        wrapped = {"kind": "EmbeddingConfig", "norm": data}
        data = {"list": [data], "repeat": [{"repeat": 1, "of": data if isinstance(data, list) else [data]}]}.get(
            kind, wrapped
        )
    with pytest.raises(ConfigError, match="nested too deeply · expected at most 32 levels"):
        Config.from_json({"kind": "TransformerConfig", "d_model": data})


@pytest.mark.parametrize(
    "kind", ["os.system", "glassformer.models.transformer.Transformer", "antigravity", "__class__", ""]
)
def test_a_file_names_no_class_outside_the_table(kind):
    with pytest.raises(ConfigError, match="unknown kind"):
        Config.from_json({"kind": kind})
    assert "antigravity" not in sys.modules


FILES = {
    "twice": (b'{"kind": "RMSNormConfig", "eps": 0.1, "eps": 0.2}', "file.json: a key stands twice: eps"),
    "constant": (b'{"kind": "RMSNormConfig", "eps": NaN}', "file.json: not a number in JSON: NaN"),
    "torn": (b'{"kind":\n "RMSNormConfig",\n', r"file\.json, line 3: not JSON"),
    "empty": (b"", r"file\.json, line 1: not JSON"),
    "binary": (b"\x80\x02\xff\x00", r"file\.json: not JSON: not UTF-8 text"),
    "digits": (b"9" * 5_000, r"file\.json: not JSON: a number of too many digits"),
    "deep": (b"[" * 200_000, r"file\.json: JSON nested too deeply"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_json(name, tmp_path):
    content, message = FILES[name]
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        RMSNormConfig.load(tmp_path / "file.json")


def test_a_file_that_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        RMSNormConfig.load(tmp_path / "file.json")
    with pytest.raises(ConfigError, match="not a plain file"):
        RMSNormConfig.load(tmp_path)
    (tmp_path / "large.json").write_text("[" + "1," * 50 + "1]")
    with pytest.raises(ConfigError, match=r"too large .* got 103 bytes · expected at most 100"):
        read_json(tmp_path / "large.json", max_bytes=100)


def test_replace_refuses_what_is_no_field():
    assert gpt_like().replace(d_model=64).d_model == 64
    with pytest.raises(
        ConfigError, match=r"TransformerConfig\.width: no field 'width' .* expected one of d_model, vocab_size"
    ):
        gpt_like().replace(width=3)


#: What cannot be built, and the two things that its message must say.
CANNOT = {
    "heads that do not divide": (lambda: AttentionConfig(n_heads=5).build(32), "got 5", "d_model = 32"),
    "shared heads": (lambda: AttentionConfig(n_heads=4, n_kv_heads=3), "got 3", "n_heads = 4"),
    "no kv heads": (lambda: AttentionConfig(n_heads=4, n_kv_heads=0), "got 0", "n_heads = 4"),
    "head_dim": (lambda: AttentionConfig(n_heads=4, head_dim=0), "got 0", "1 … 65536"),
    "window": (lambda: AttentionConfig(n_heads=4, window=0), "got 0", "at least 1"),
    "soft cap": (lambda: AttentionConfig(n_heads=4, soft_cap=-1.0), "got -1.0", "more than 0"),
    "bias of what": (
        lambda: AttentionConfig(n_heads=4, biases=("quary",)),
        "quary",
        "'query', 'key', 'value', 'output'",
    ),
    "eps": (lambda: LayerNormConfig(eps=0.0), "got 0.0", "0 < eps < 1"),
    "eps of RMSNorm": (lambda: RMSNormConfig(eps=2.0), "got 2.0", "0 < eps < 1"),
    "infinite eps": (lambda: RMSNormConfig(eps=float("inf")), "got inf", "finite"),
    "d_ff": (lambda: FeedForwardConfig(d_ff=0), "got 0", "1 … 2^22"),
    "gated d_ff": (lambda: GatedConfig(d_ff=-1), "got -1", "1 … 2^22"),
    "activation": (lambda: GatedConfig(d_ff=8, activation="swish"), "swish", "'silu'"),
    "positions": (lambda: LearnedPositionsConfig(max_positions=0), "got 0", "1 … 2^24"),
    "offset": (lambda: LearnedPositionsConfig(max_positions=8, offset=16), "got 16", "0 … 15"),
    "odd sinusoids": (lambda: SinusoidalConfig().build(7), "width 7", "even"),
    "short sinusoids": (lambda: SinusoidalConfig(inclusive=True).build(2), "width 2", "4 or more"),
    "wavelength": (lambda: SinusoidalConfig(theta=0.0), "got 0.0", "more than 1"),
    "buckets": (lambda: RelativeBucketsConfig(n_buckets=1), "got 1", "2 … 65536"),
    "distance": (lambda: RelativeBucketsConfig(n_buckets=32, max_distance=8), "got 8", "the 8 exact buckets"),
    "theta": (lambda: RotaryConfig(theta=1.0), "got 1.0", "more than 1"),
    "odd rotation": (lambda: RotaryConfig(dim=3), "got 3", "an even number"),
    "wide rotation": (lambda: RotaryConfig(dim=16).build(8), "got 16", "head_dim = 8"),
    "odd heads turn": (lambda: RotaryConfig().build(7), "got None", "head_dim = 7"),
    "factor": (lambda: LinearScalingConfig(factor=0), "got 0.0", "more than 0"),
    "dynamic factor": (lambda: DynamicScalingConfig(factor=0.5, original=8), "got 0.5", "at least 1"),
    "dynamic length": (lambda: DynamicScalingConfig(factor=2, original=0), "got 0", "more than 0"),
    "yarn factor": (lambda: YarnScalingConfig(factor=-1, original=8), "got -1.0", "more than 0"),
    "yarn length": (lambda: YarnScalingConfig(factor=2, original=-8), "got -8", "more than 0"),
    "fast": (lambda: YarnScalingConfig(factor=2, original=8, beta_fast=0), "got 0.0", "more than 0"),
    "slow": (lambda: YarnScalingConfig(factor=2, original=8, beta_slow=0), "got 0.0", "more than 0"),
    "llama factor": (lambda: Llama3ScalingConfig(factor=0, original=8), "got 0.0", "more than 0"),
    "llama length": (lambda: Llama3ScalingConfig(factor=2, original=0), "got 0", "more than 0"),
    "factors": (lambda: LongRoPEScalingConfig(short=(0,), long=(1,), original=8, factor=2), "(0.0,)", "above 0"),
    "long length": (lambda: LongRoPEScalingConfig(short=(1,), long=(1,), original=1, factor=2), "got 1", "more than 1"),
    "classes": (lambda: ClassifyHeadConfig(n_labels=1 << 25), "got 33554432", "1 … 2^24"),
    "vocabulary": (lambda: gpt_like().replace(vocab_size=0), "got 0", "1 … 2^24"),
    "reach": (lambda: llama_like().replace(max_positions=-1), "got -1", "1 … 2^30"),
    "bands": (lambda: Llama3ScalingConfig(factor=8, original=8, low=4, high=4), "got 4.0", "high = 4.0"),
    "lists": (lambda: LongRoPEScalingConfig(short=(1,), long=(1, 2), original=8, factor=2), "(1.0, 2.0)", "1 factors"),
    "nan in a list": (
        lambda: LongRoPEScalingConfig(short=(1, float("nan")), long=(1, 2), original=8, factor=2),
        "got nan",
        "finite",
    ),
    "segments": (lambda: EmbeddingConfig(n_segments=-1), "got -1", "0 … 65536"),
    "width": (lambda: EmbeddingConfig(width=0), "got 0", "1 … 2^20"),
    "labels": (lambda: TagHeadConfig(n_labels=0), "got 0", "1 … 2^24"),
    "pooled": (lambda: PoolerConfig(take="middle"), "middle", "'first', 'last', 'mean', 'max'"),
    "transform": (lambda: TransformConfig(activation="gelu", norm=RMSNormConfig(), width=0), "got 0", "1 … 2^20"),
    "head cap": (lambda: TokenHeadConfig(soft_cap=0.0), "got 0.0", "more than 0"),
    "factorised and tied": (
        lambda: gpt_like().replace(embedding=EmbeddingConfig(width=8)).build(),
        "got True",
        "a transform of width 8, not 32",
    ),
    "positions of the model": (lambda: gpt_like().replace(max_positions=65), "got 65", "the 64 learned positions"),
    "nothing inside": (lambda: gpt_like().replace(decoder=None), "got None", "an encoder, a decoder or both"),
    "no memory": (lambda: t5_like().replace(encoder=None), "StackConfig", "cross_attention"),
    "unused memory": (lambda: t5_like().replace(decoder=gpt_like().decoder), "StackConfig", "cross_attention"),
    "encoder that crosses": (
        lambda: t5_like().replace(encoder=t5_like().decoder),
        "StackConfig",
        "blocks without cross_attention",
    ),
    "half crossed": (
        lambda: StackConfig(blocks=(*t5_like().decoder.blocks[:1], *t5_like().encoder.blocks[:1])),
        "1 of 2 blocks",
        "all of them or none",
    ),
    "turned memory": (
        lambda: BLOCK.replace(cross_attention=AttentionConfig(n_heads=4, positions=RotaryConfig())),
        "AttentionConfig",
        "a memory has positions of its own",
    ),
    "window on a memory": (
        lambda: BLOCK.replace(cross_attention=AttentionConfig(n_heads=4, window=4)),
        "AttentionConfig",
        "a memory has positions of its own",
    ),
    "shared bias of unequal heads": (
        lambda: t5_like().encoder.replace(blocks=(llama_like().decoder.blocks[0], parallel_like().decoder.blocks[0])),
        "Relative",
        "{2, 4}",
    ),
    "no pooler": (
        lambda: bert_like().replace(pooler=None, head=ClassifyHeadConfig(n_labels=2)),
        "got None",
        "one, for ClassifyHeadConfig",
    ),
}


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_built_says_what_it_is_and_what_it_should_be(name):
    build, got, expected = CANNOT[name]
    with pytest.raises(ConfigError) as caught:
        build()
    what, _, wanted = str(caught.value).partition(" · expected ")
    assert got in what and expected in wanted
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_kind_of_a_new_file_is_found(drop_in):
    drop_in(
        "parts",
        "zebra",
        "from torch import nn\nfrom glassformer.parts.norm import NormConfig\n"
        "class ZebraNormConfig(NormConfig):\n    stripes: int = 2\n"
        "    def build(self, width):\n        return nn.Identity()\n",
    )
    config = NormConfig.from_json({"kind": "ZebraNormConfig", "stripes": 7})
    assert config.stripes == 7 and config.to_json() == {"kind": "ZebraNormConfig", "stripes": 7}
    assert gpt_like().decoder.replace(norm=config).build(32).norm is not None
