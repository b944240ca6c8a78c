"""In whose words a model is written: a family that can say all of it, or an error that names what it cannot say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from glassformer.checkpoints.folder import load, save
from glassformer.core.errors import CheckpointError
from glassformer.families import families
from glassformer.models.transformer import Transformer, TransformerConfig
from glassformer.parts.feed_forward import GatedConfig
from glassformer.parts.head import ClassifyHeadConfig, PoolerConfig, SpanHeadConfig, TagHeadConfig
from glassformer.parts.norm import LayerNormConfig, RMSNormConfig
from glassformer.parts.positions import ALiBiConfig, SinusoidalConfig
from glassformer.parts.rotary import DynamicScalingConfig, RotaryConfig, YarnScalingConfig
from tests.builders import ALL, gpt_like, lively, llama_like, random_tokens, run
from tests.checkpoints.tiny import SAID, cannot_save, with_keys, words, written

PUBLISHED = [family for family in families() if family.MODEL_TYPES[0] != "glassformer"]


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_description_finds_the_first_form_that_can_say_it(tmp_path: Path, name: str):
    """A family that takes a description gives it back; where none does, our own form is written."""
    model, tokens = lively(ALL[name]()), random_tokens(2, 9)
    can = []
    for family in sorted(PUBLISHED, key=lambda one: getattr(one, "RANK", 1)):
        word = family.MODEL_TYPES[0]
        try:
            save(model, tmp_path / word, family=word)
        except CheckpointError as error:
            assert f"the {word} format cannot say this model" in str(error) and not (tmp_path / word).exists()
        else:
            can.append(word)
            assert torch.equal(run(load(tmp_path / word), tokens), run(model, tokens)), word
    assert save(model, tmp_path / "m") == next(iter(can), "glassformer")
    loaded = load(tmp_path / "m")
    assert torch.equal(run(loaded, tokens), run(model, tokens))
    if not can:
        assert loaded.config == model.config
    save(loaded, tmp_path / "again")
    assert words(tmp_path / "again") == words(tmp_path / "m")


def test_the_forms_that_are_tried_first_are_those_of_which_a_description_is_here():
    assert {family.MODEL_TYPES[0] for family in PUBLISHED if getattr(family, "RANK", 1) == 0} == set(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_a_description_of_a_family_is_recognised(tmp_path: Path, name: str):
    model = lively(SAID[name]())
    assert save(model, tmp_path / "m") == name
    assert save(load(tmp_path / "m"), tmp_path / "again") == name
    assert save(model, tmp_path / "own", family="glassformer") == "glassformer"
    assert torch.equal(run(load(tmp_path / "own"), random_tokens(2, 9)), run(model, random_tokens(2, 9)))


def in_block(config: TransformerConfig, stack: str, **changes: Any) -> TransformerConfig:
    """Another form of every layer."""
    old = getattr(config, stack)
    return config.replace(**{stack: old.replace(blocks=tuple(block.replace(**changes) for block in old.blocks))})


def in_attention(config: TransformerConfig, stack: str, **changes: Any) -> TransformerConfig:
    attention = getattr(config, stack).blocks[0].attention
    return in_block(config, stack, attention=attention.replace(**changes))


def in_first(config: TransformerConfig, stack: str, **changes: Any) -> TransformerConfig:
    """Another form of the first layer alone."""
    old = getattr(config, stack)
    return config.replace(**{stack: old.replace(blocks=(old.blocks[0].replace(**changes), *old.blocks[1:]))})


def turned(config: TransformerConfig, **changes: Any) -> TransformerConfig:
    return in_attention(config, "decoder", positions=RotaryConfig(**changes))


BLOCK = "config.decoder.blocks[0]"
PLANTED: list[tuple[str, Callable[[TransformerConfig], TransformerConfig], list[str]]] = [
    (
        "gpt2",
        lambda c: in_block(c, "decoder", norm=RMSNormConfig()),
        [f"{BLOCK}.norm", "got RMSNormConfig", "expected LayerNormConfig"],
    ),
    (
        "gpt2",
        lambda c: in_block(c, "decoder", feed_forward=GatedConfig(d_ff=48)),
        [f"{BLOCK}.feed_forward", "got GatedConfig"],
    ),
    (
        "gpt2",
        lambda c: in_first(c, "decoder", norm=LayerNormConfig(eps=0.1)),
        ["config.decoder.blocks[1].norm.eps", "got 1e-05", "expected 0.1, as it would be read"],
    ),
    (
        "gpt2",
        lambda c: in_attention(c, "decoder", window=4),
        [f"{BLOCK}.attention.window", "got 4", "expected None, as it would be read"],
    ),
    ("gpt2", lambda c: in_attention(c, "decoder", scale=0.5), [f"{BLOCK}.attention.scale", "got 0.5", "expected 1.0"]),
    ("gpt2", lambda c: in_attention(c, "decoder", biases=("query",)), [f"{BLOCK}.attention.biases", "got ('query',)"]),
    (
        "gpt2",
        lambda c: in_attention(c, "decoder", n_kv_heads=2),
        [f"{BLOCK}.attention.n_kv_heads", "got 2", "expected 4"],
    ),
    (
        "gpt2",
        lambda c: c.replace(embedding=c.embedding.replace(positions=SinusoidalConfig())),
        ["config.embedding.positions"],
    ),
    ("gpt2", lambda c: c.replace(embedding=c.embedding.replace(scale=2.0)), ["config.embedding.scale", "got 2.0"]),
    ("gpt2", lambda c: c.replace(max_positions=None), ["config.max_positions", "got None"]),
    (
        "gpt2",
        lambda c: c.replace(max_positions=32),
        ["config.embedding.positions.max_positions", "got 64", "expected 32"],
    ),
    ("gpt2", lambda c: c.replace(head=c.head.replace(soft_cap=30.0)), ["config.head.soft_cap", "got 30.0"]),
    ("gpt2", lambda c: c.replace(pooler=PoolerConfig()), ["config.pooler", "got PoolerConfig"]),
    (
        "llama",
        lambda c: in_block(c, "decoder", order="sandwich"),
        [f"{BLOCK}.order", "got 'sandwich'", "expected 'pre'"],
    ),
    ("llama", lambda c: in_block(c, "decoder", norm=RMSNormConfig(offset=1.0)), [f"{BLOCK}.norm.offset", "got 1.0"]),
    ("llama", lambda c: in_attention(c, "decoder", qk_norm=RMSNormConfig()), [f"{BLOCK}.attention.qk_norm"]),
    (
        "llama",
        lambda c: in_attention(c, "decoder", positions=None),
        [f"{BLOCK}.attention.positions", "got NoneType", "RotaryConfig"],
    ),
    ("llama", lambda c: turned(c, dim=4), [f"{BLOCK}.attention.positions.dim", "got 4", "all dimensions"]),
    ("llama", lambda c: turned(c, interleaved=True), [f"{BLOCK}.attention.positions.interleaved", "got True"]),
    (
        "llama",
        lambda c: turned(c, scaling=DynamicScalingConfig(factor=2.0, original=7)),
        [f"{BLOCK}.attention.positions.scaling.original", "got 7", "expected 64"],
    ),
    ("llama", lambda c: c.replace(max_positions=None), ["config.max_positions", "got None"]),
    ("llama", lambda c: c.replace(head=SpanHeadConfig()), ["config.head", "got span", "LlamaForCausalLM"]),
    ("llama", lambda c: c.replace(decoder=c.decoder.replace(positions=ALiBiConfig())), ["config.decoder.positions"]),
    ("llama", lambda c: c.replace(decoder=c.decoder.replace(norm=None)), ["config.decoder.norm", "got None"]),
    ("bert", lambda c: in_block(c, "encoder", order="pre"), ["config.encoder.blocks[0].order", "got 'pre'"]),
    (
        "bert",
        lambda c: c.replace(embedding=c.embedding.replace(n_segments=0)),
        ["config.embedding.n_segments", "got 0"],
    ),
    ("bert", lambda c: c.replace(embedding=c.embedding.replace(scale=2.0)), ["config.embedding.scale", "got 2.0"]),
    ("bert", lambda c: c.replace(max_positions=None), ["config.max_positions"]),
    (
        "bert",
        lambda c: c.replace(pooler=PoolerConfig(take="mean", activation="tanh")),
        ["config.pooler.take", "got 'mean'"],
    ),
    ("bert", lambda c: c.replace(encoder=c.encoder.replace(norm=LayerNormConfig())), ["config.encoder.norm"]),
    ("t5", lambda c: c.replace(max_positions=64), ["config.max_positions", "got 64", "expected None"]),
    (
        "t5",
        lambda c: c.replace(encoder=c.encoder.replace(positions=None)),
        ["config.encoder.positions", "RelativeBucketsConfig"],
    ),
    ("t5", lambda c: c.replace(head=c.head.replace(scale=0.5)), ["config.head.scale", "got 0.5"]),
    ("t5", lambda c: in_attention(c, "encoder", scale=None), ["config.encoder.blocks[0].attention.scale"]),
    (
        "t5",
        lambda c: in_block(c, "encoder", norm=LayerNormConfig()),
        ["config.encoder.blocks[0].norm", "got LayerNormConfig"],
    ),
    (
        "t5",
        lambda c: in_block(c, "encoder", feed_forward=c.encoder.blocks[0].feed_forward.replace(activation="tanh")),
        ["config.encoder.blocks[0].feed_forward.activation", "got tanh", "expected relu, gelu"],
    ),
    (
        "t5",
        lambda c: in_block(c, "decoder", feed_forward=GatedConfig(d_ff=48)),
        ["config.decoder.blocks[0].feed_forward"],
    ),
]


@pytest.mark.parametrize(("family", "plant", "parts"), PLANTED)
def test_what_a_family_cannot_say_is_named(
    tmp_path: Path, family: str, plant: Callable[[TransformerConfig], TransformerConfig], parts: list[str]
):
    model, tokens = lively(plant(SAID[family]())), random_tokens(2, 9)
    line = cannot_save(
        lambda: save(model, tmp_path / "m", family=family), *parts, f"the {family} format cannot say this model"
    )
    assert line.endswith('save(..., family="glassformer") can') and list(tmp_path.iterdir()) == []
    assert save(model, tmp_path / "m") != family
    assert torch.equal(run(load(tmp_path / "m"), tokens), run(model, tokens))
    save(model, tmp_path / "own", family="glassformer")
    assert load(tmp_path / "own").config == model.config


def test_every_family_is_asked_for_something_it_cannot_say():
    assert {family for family, _, _ in PLANTED} == set(SAID)


def test_a_family_that_is_not_there(tmp_path: Path):
    cannot_save(
        lambda: save(lively(gpt_like()), tmp_path / "m", family="gtp2"), "unknown model_type", "expected one of gpt2"
    )


def test_a_loaded_model_that_was_changed_is_said_anew(tmp_path: Path):
    """What config.json said of what has changed must not stay."""
    model = load(
        with_keys(written(tmp_path / "m", llama_like()), initializer_range=0.5, rope_theta=..., rope_scaling=...)
    )
    cut = model.config.replace(decoder=model.config.decoder.replace(blocks=model.config.decoder.blocks[:1]))
    cut = turned(cut, theta=77.0)
    smaller = _with_config(model, cut)
    save(smaller, tmp_path / "cut")
    said = words(tmp_path / "cut")
    assert said["num_hidden_layers"] == 1 and said["initializer_range"] == 0.5
    assert said["rope_parameters"]["rope_theta"] == said["rope_theta"] == 77.0
    assert load(tmp_path / "cut").config.decoder.blocks[0].attention.positions.theta == 77.0


def test_an_older_word_that_would_win_over_a_new_one_goes(tmp_path: Path):
    """A length beside the table of rotary settings is read before the one in it."""
    scaled = turned(llama_like(), scaling=YarnScalingConfig(factor=4.0, original=16))
    model = load(with_keys(written(tmp_path / "m", scaled), original_max_position_embeddings=10))
    assert model.config.decoder.blocks[0].attention.positions.scaling.original == 10
    other = _with_config(model, turned(model.config, scaling=YarnScalingConfig(factor=4.0, original=9)))
    save(other, tmp_path / "o")
    assert load(tmp_path / "o").config == other.config and "original_max_position_embeddings" not in words(
        tmp_path / "o"
    )


def test_a_tensor_that_no_format_knows(tmp_path: Path):
    model = lively(gpt_like())
    model.decoder.blocks[0].attention.q_proj.extra = torch.nn.Parameter(torch.zeros(2))
    line = cannot_save(lambda: save(model, tmp_path / "m", family="gpt2"), "the gpt2 format cannot say this model")
    assert "got decoder.blocks.0.attention.q_proj.extra" in line
    cannot_save(
        lambda: save(model, tmp_path / "m"), "the glassformer format", "got decoder.blocks.0.attention.q_proj.extra"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_loaded_model_that_became_another_says_so(tmp_path: Path):
    model = load(written(tmp_path / "m", llama_like()))
    other = _with_config(model, in_block(model.config, "decoder", order="output"))
    cannot_save(lambda: save(other, tmp_path / "o"), f"{BLOCK}.order", "got 'output'", 'family="glassformer"')
    assert save(other, tmp_path / "o", family="glassformer") == "glassformer"


def _with_config(model: Transformer, config: TransformerConfig) -> Transformer:
    """Another model that remembers the folder of the first."""
    other = lively(config)
    other.origin = copy.copy(model.origin)
    other.special = model.special
    return other


def test_a_number_of_labels_gives_way_to_their_names(tmp_path: Path):
    config = llama_like().replace(head=TagHeadConfig(n_labels=3))
    model = load(with_keys(written(tmp_path / "m", config), num_labels=3, id2label=..., label2id=...))
    save(_with_config(model, config.replace(head=TagHeadConfig(n_labels=4))), tmp_path / "more")
    assert "num_labels" not in words(tmp_path / "more") and len(words(tmp_path / "more")["id2label"]) == 4


@pytest.mark.parametrize("labels", [1, 2, 5])
def test_labels_have_names(tmp_path: Path, labels: int):
    config = llama_like().replace(head=TagHeadConfig(n_labels=labels))
    assert save(lively(config), tmp_path / "m") == "llama"
    assert load(tmp_path / "m").config.head == TagHeadConfig(n_labels=labels)
    said = words(tmp_path / "m")
    assert len(said.get("id2label", "ab")) == labels


def test_names_of_labels_are_kept_while_they_fit(tmp_path: Path):
    config = gpt_like().replace(head=ClassifyHeadConfig(n_labels=3, bias=False), pooler=PoolerConfig(take="last"))
    names = {"id2label": {"0": "no", "1": "yes", "2": "who knows"}}
    model = load(with_keys(written(tmp_path / "m", config), **names))
    save(model, tmp_path / "same")
    assert words(tmp_path / "same")["id2label"] == names["id2label"]
    more = _with_config(model, model.config.replace(head=ClassifyHeadConfig(n_labels=4, bias=False)))
    save(more, tmp_path / "more")
    assert words(tmp_path / "more")["id2label"] == {str(i): f"LABEL_{i}" for i in range(4)}
    assert load(tmp_path / "more").config.head.n_labels == 4
