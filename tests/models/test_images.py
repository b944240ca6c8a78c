"""A Transformer that begins with images: heads, values, sizes, folders; and one that says what it sees."""

from __future__ import annotations

import pytest
import torch

from glassformer.checkpoints.folder import load
from glassformer.core.errors import ConfigError, DataError, UnsupportedError
from glassformer.models.transformer import TransformerConfig
from glassformer.parts.attention import AttentionConfig
from glassformer.parts.block import BlockConfig
from glassformer.parts.embedding import EmbeddingConfig
from glassformer.parts.feed_forward import FeedForwardConfig
from glassformer.parts.grid import GridRotaryConfig, LearnedGridConfig
from glassformer.parts.head import ClassifyHeadConfig, PoolerConfig, PretrainHeadConfig, TokenHeadConfig
from glassformer.parts.layer_scale import LayerScaleConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.patches import ConvStemConfig, PatchEmbeddingConfig
from glassformer.parts.stack import StackConfig
from glassformer.tokenizers.kinds import byte_tokenizer
from tests.builders import bert_like, counted_flops

PATCHES = PatchEmbeddingConfig(image_size=(16, 8), patch_size=(4, 4), channels=2, positions=LearnedGridConfig())


def stack(crosses=False, scale=None, **attention):
    own = AttentionConfig(n_heads=4, **attention)
    block = BlockConfig(
        attention=own,
        feed_forward=FeedForwardConfig(d_ff=48),
        norm=LayerNormConfig(),
        layer_scale=scale,
        cross_attention=AttentionConfig(n_heads=4) if crosses else None,
    )
    return StackConfig(blocks=(block,) * 2, norm=LayerNormConfig())


def vit_like(pooler=None, patches=PATCHES, **attention):
    return TransformerConfig(
        d_model=32,
        embedding=patches,
        encoder=stack(scale=LayerScaleConfig(start=0.5), **attention),
        pooler=pooler or PoolerConfig(),
        head=ClassifyHeadConfig(n_labels=5),
    )


def captioner():
    return TransformerConfig(
        d_model=32, vocab_size=61, embedding=PATCHES, encoder=stack(), decoder=stack(crosses=True), max_positions=12,
        decoder_embedding=EmbeddingConfig(), head=TokenHeadConfig(),
    )  # fmt: skip


def images(batch=3, size=(16, 8)):
    return torch.randn(batch, 2, *size, generator=torch.Generator().manual_seed(0))


POOLERS = {
    "class": (PoolerConfig(), lambda x: x[:, 0]),
    "mean": (PoolerConfig(take="mean", front=1), lambda x: x[:, 1:].mean(1)),
    "max": (PoolerConfig(take="max", front=1), lambda x: x[:, 1:].amax(1)),
    "both": (PoolerConfig(take="first_mean", front=1), lambda x: torch.cat((x[:, 0], x[:, 1:].mean(1)), -1)),
}


@pytest.mark.parametrize("name", POOLERS)
def test_classes_come_from_the_class_token_or_the_mean_of_the_patches(name):
    pooler, pooled = POOLERS[name]
    model, some = vit_like(pooler).build(), images()
    torch.testing.assert_close(model(some), model.head.proj(pooled(model.hidden(some))))
    assert model.hidden(some).shape == (3, 9, 32) and model(some).shape == (3, 5)


def test_values_have_their_names_and_can_be_read_and_changed():
    model, some = vit_like(PoolerConfig(take="first_mean", front=1)).build(), images()
    names = model.value_names()
    assert names["embedding.patches"] == "batch patch model" and names["encoder.embedding"] == "batch position model"
    assert names["pooler.output"] == "batch state" and "encoder.blocks.1.attention.pattern" in names
    cut = model.embedding.projection(some).flatten(2).mT
    torch.testing.assert_close(model.named_value("embedding.patches", some), cut)
    with model.trace() as trace:
        trace.read("encoder.blocks.0.attention.pattern", query=0)
        trace.scale("encoder.embedding", 0.0, position=slice(1, None))
        changed = model(some)
    assert trace["encoder.blocks.0.attention.pattern"].shape == (3, 4, 1, 9)
    assert not torch.allclose(changed, model(some))
    torch.testing.assert_close(changed[0], changed[1])  # nothing of the images is left


def test_every_value_has_the_shape_that_its_axes_say():
    from glassformer.inside.names import shapes

    for patches in (PATCHES, PATCHES.replace(registers=2, stem=ConvStemConfig(widths=(4,)), norm=LayerNormConfig())):
        model = vit_like(patches=patches).build()
        assert set(shapes(model, images())) == set(model.value_names())


@pytest.mark.parametrize("stem", [None, ConvStemConfig(widths=(4, 6))])
def test_the_summary_counts_an_image(stem):
    model = vit_like(patches=PATCHES.replace(front=(), stem=stem)).build()
    summary = model.summary()
    assert summary.context == 8 and summary.kv_bytes_per_token == 0
    assert summary.embedding_parameters == 8 * 32
    assert summary.flops_per_token == counted_flops(lambda: model(images(1))) // 8


def test_a_rotation_by_rows_and_columns_takes_images_of_any_size():
    config = vit_like(patches=PATCHES.replace(positions=None), positions=GridRotaryConfig())
    model, some = config.build(), images()
    torch.nn.init.normal_(model.encoder.blocks[0].attention.q_proj.weight)
    turned = model(some.flip(3))  # without positions the order of patches would not matter
    swapped = torch.cat((some[..., 4:], some[..., :4]), -1)
    assert not torch.allclose(model(some), model(swapped), atol=1e-7) and turned.shape == (3, 5)
    assert model(images(2, (8, 20))).shape == (2, 5)


def test_our_own_form_keeps_everything(tmp_path):
    config = vit_like(patches=PATCHES.replace(stem=ConvStemConfig(widths=(4,)), registers=2))
    model = config.build(seed=1)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.config == config == TransformerConfig.from_json(config.to_json())
    assert torch.equal(again(images()), model(images()))


def test_a_new_model_begins_lively():
    model = vit_like().build(seed=1)
    assert (model.encoder.blocks[0].attention_norm.factor.weight == 0.5).all()
    spread = model.embedding.projection.weight.std() * 32**0.5  # 2 channels of 4 x 4
    assert 0.9 < spread < 1.1 and model.embedding.front["class"].std() > 0.01


def test_a_model_that_says_what_it_sees():
    model, target = captioner().build(), torch.tensor([[3, 1, 4], [1, 5, 9]])
    whole = model(images(2), target)
    cache = model.cache(2)
    steps = [model(images(2), token[:, None], cache=cache) for token in target.T]
    torch.testing.assert_close(torch.cat(steps, 1), whole)
    assert whole.shape == (2, 3, 61) and not torch.allclose(model(images(4)[2:], target), whole)


def test_a_compiled_block_computes_the_same():
    model = vit_like().build()
    with torch.no_grad():
        plain = model(images())
        model.compile(backend="eager")
        torch.testing.assert_close(model(images()), plain)


REFUSED = {
    "vocab_size": ({"vocab_size": 61}, r"vocab_size.* got 61 · expected 0"),
    "decoder alone": ({"encoder": None, "decoder": stack()}, "encoder.*one, for images"),
    "target": ({"decoder": stack(crosses=True)}, "decoder_embedding.*a table of its own"),
    "shared": (
        {"decoder": stack(crosses=True), "decoder_embedding": EmbeddingConfig(shared=True), "vocab_size": 9},
        "decoder_embedding",
    ),
}


def test_a_vector_twice_as_wide_is_for_heads_that_read_nothing_else():
    with pytest.raises(ConfigError, match=r"pooler.*the width of d_model"):
        bert_like().replace(head=PretrainHeadConfig(tokens=TokenHeadConfig()), pooler=PoolerConfig(take="first_mean"))


@pytest.mark.parametrize("name", REFUSED)
def test_descriptions_that_cannot_be(name):
    fields, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        vit_like().replace(**fields)


def test_what_needs_tokens_says_so():
    with pytest.raises(ConfigError, match="a model that reads tokens"):
        vit_like().replace(head=TokenHeadConfig()).build()
    with pytest.raises(ConfigError, match="vocab_size"):
        vit_like().replace(embedding=EmbeddingConfig())
    with pytest.raises(ConfigError, match="reads images, not tokens"):
        vit_like().build().embed(["words"], tokenizer=byte_tokenizer(), pool="mean")
    with pytest.raises(UnsupportedError, match="an encoder continues nothing"):
        vit_like().build().generate(torch.ones(1, 2, dtype=torch.int64))
    with pytest.raises(DataError, match=r"images · got torch\.int64"):
        vit_like().build()(torch.zeros(2, 9, dtype=torch.int64))
    with pytest.raises(DataError, match="lengths is for tokens"):
        vit_like().build()(images(), lengths=torch.tensor([9, 9, 9]))
