"""The names of all values: listed without weights, equal to what fires, and true about their axes."""

from __future__ import annotations

import pytest
import torch

from glassformer.core.axes import WORDS
from glassformer.core.errors import UnknownNameError
from glassformer.inside import names
from glassformer.inside.names import probing, resolve, shapes, value_names
from glassformer.inside.trace import addresses
from glassformer.models import transformer
from glassformer.parts.feed_forward import GatedConfig
from tests.builders import ALL, bert_like, gpt_like, lively, llama_like, mixed_like, random_tokens, run, t5_like

#: The contract: the same addresses in every family.
BLOCK = {
    "input": "batch position model",
    "middle": "batch position model",
    "output": "batch position model",
    "attention.query": "batch head query head_dim",
    "attention.key": "batch kv_head key head_dim",
    "attention.value": "batch kv_head key head_dim",
    "attention.scores": "batch head query key",
    "attention.pattern": "batch head query key",
    "attention.heads": "batch head query head_dim",
    "attention.head_outputs": "batch head query model",
    "attention.output": "batch position model",
    "feed_forward.hidden": "batch position hidden",
    "feed_forward.output": "batch position model",
}


@pytest.mark.parametrize("name", ALL)
def test_every_family_has_the_names_of_the_contract(name):
    config = ALL[name]()
    listed = value_names(config)
    for stack in ("encoder", "decoder"):
        if getattr(config, stack) is None:
            assert not any(address.startswith(f"{stack}.") for address in listed)
            continue
        expected = {"embedding": "batch position model"}
        expected |= {f"blocks.{layer}.{value}": axes for layer in (0, 1) for value, axes in BLOCK.items()}
        if stack == "decoder" and config.encoder is not None:
            expected |= {
                f"blocks.0.cross_{value}": axes for value, axes in BLOCK.items() if value.startswith("attention")
            }
        if name == "experts":  # each expert has hidden values of its own
            assert expected.pop("blocks.0.feed_forward.hidden") and len(expected) > 10
        for address, axes in expected.items():
            assert listed[f"{stack}.{address}"] == axes
    assert listed["logits"] == "batch position vocab"
    assert {word for axes in listed.values() for word in axes.split()} <= WORDS


@pytest.mark.parametrize("name", ALL)
def test_listed_names_are_those_that_fire_in_the_same_order(name):
    model = lively(ALL[name]())
    with probing(model) as found:
        run(model, random_tokens(3, 8))
    assert [(address, axes) for address, (axes, _) in found.items()] == list(model.value_names().items())
    assert not any("taps" in part.__dict__ for part in model.modules())


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_each_word_has_one_size(name, padded):
    model, valid = lively(ALL[name]()), torch.arange(8) < torch.tensor([[8], [3], [5]])
    with probing(model) as found:
        run(model, random_tokens(3, 8), valid=valid if padded else None)
    sizes = dict(zip(found["logits"][0].split(), found["logits"][1], strict=True))
    assert sizes == {"batch": 3, "position": 8, "vocab": 61}


def test_names_need_no_weights_and_two_tokens(monkeypatch):
    seen = []
    forward = transformer.Transformer.forward
    monkeypatch.setattr(
        transformer.Transformer,
        "forward",
        lambda self, tokens, *rest: seen.append((tokens.device.type, tokens.numel())) or forward(self, tokens, *rest),
    )
    config = llama_like(32).replace(d_model=4096)
    assert len(value_names(config)) == 32 * 18 + 4 and seen == [("meta", 2)]
    value_names(config)
    assert len(seen) == 1, "listed once"


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ("batch position model", r"blocks\.0\.feed_forward\.hidden: axis model is 48, elsewhere 32"),
        ("position batch hidden", r"hidden: axis position is 3, elsewhere 8"),
        ("batch position", r"hidden: 'batch position' names 2 axes of \(3, 8, 48\)"),
        ("batch time hidden", "unknown axis word in 'batch time hidden'"),
    ],
)
def test_a_clash_of_axes_is_found(axes, message, monkeypatch):
    model = lively(gpt_like())
    part = model.decoder.blocks[0].feed_forward
    part.forward = lambda x: part.down_proj(part.tap("hidden", part.activation(part.up_proj(x)), axes))
    with pytest.raises(AssertionError, match=message), probing(model):
        model(random_tokens(3, 8))
    assert not any("taps" in part.__dict__ for part in model.modules())


def test_shapes_say_what_a_forward_makes():
    found = shapes(lively(mixed_like()), random_tokens(3, 8))
    assert found["decoder.blocks.1.attention.key"] == ("batch kv_head key head_dim", (3, 2, 8, 8))
    assert found["decoder.blocks.1.attention.k_norm.scale"] == ("batch kv_head key", (3, 2, 8))
    assert found["decoder.blocks.0.attention.pattern"] == ("batch head query key", (3, 4, 8, 8))


GLOBS = {
    "decoder.blocks.1.output": ["decoder.blocks.1.output"],
    "blocks.1.output": ["decoder.blocks.1.output"],
    "blocks.*.output": ["decoder.blocks.0.output", "decoder.blocks.1.output"],
    "blocks.?.attention.pattern": ["decoder.blocks.0.attention.pattern", "decoder.blocks.1.attention.pattern"],
    "**.pattern": ["decoder.blocks.0.attention.pattern", "decoder.blocks.1.attention.pattern"],
    "logits": ["logits"],
    "*": ["logits"],
    "norm.output": ["decoder.norm.output"],
    "embedding": ["decoder.embedding"],
}


@pytest.mark.parametrize("pattern", GLOBS)
def test_globs_and_short_names(pattern):
    assert resolve(pattern, gpt_like()) == GLOBS[pattern]


def test_with_two_stacks_the_name_says_which():
    assert resolve("*.blocks.0.middle", t5_like()) == ["encoder.blocks.0.middle", "decoder.blocks.0.middle"]
    with pytest.raises(
        UnknownNameError, match=r"no value named 'blocks\.0\.middle' · expected for instance .*coder\.blocks"
    ):
        resolve("blocks.0.middle", t5_like())


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("blocks.0.attention.patern", "decoder.blocks.0.attention.pattern"),
        ("blocks.9.output", "decoder.blocks.1.output"),
        ("decoder.blocks.*.attention.patterns", "decoder.blocks.0.attention.pattern"),
        ("blocks.0.cross_attention.pattern", "decoder.blocks.0.attention.pattern"),
        ("", "decoder"),
        ("blocks[0]", "decoder"),
    ],
)
def test_a_name_that_does_not_exist_lists_near_ones(pattern, near):
    with pytest.raises(UnknownNameError, match=r"list them with model\.value_names\(\)") as caught:
        resolve(pattern, gpt_like())
    assert near in str(caught.value)


def test_addresses_of_several_patterns_stand_in_the_order_of_computation():
    model = bert_like().build()
    found = addresses(model, ["blocks.*.output", "embedding.norm.output", "blocks.0.*"])
    assert found == [
        "embedding.norm.output",
        "encoder.blocks.0.input",
        "encoder.blocks.0.middle",
        "encoder.blocks.0.output",
        "encoder.blocks.1.output",
    ]


def test_the_list_is_a_copy():
    value_names(gpt_like()).clear()
    assert value_names(gpt_like()) and names.value_names(gpt_like())


def test_layers_may_have_other_head_counts_than_their_neighbours() -> None:
    config = llama_like()
    first = config.decoder.blocks[0]
    other = first.replace(attention=first.attention.replace(n_heads=2, n_kv_heads=1), feed_forward=GatedConfig(d_ff=24))
    uneven = config.replace(decoder=config.decoder.replace(blocks=(first, other)))
    assert value_names(uneven)["decoder.blocks.1.attention.pattern"] == "batch head query key"
