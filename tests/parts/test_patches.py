"""Images as rows of patches: what is projected, what stands in front, where patches stand, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.dinov3_vit.modeling_dinov3_vit import (
    DINOv3ViTConfig,
    DINOv3ViTRopePositionEmbedding,
    apply_rotary_pos_emb,
)
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

from glassformer.core.errors import ConfigError, DataError, UnsupportedError
from glassformer.parts.grid import GridRotaryConfig, LearnedGridConfig, SinusoidalGridConfig
from glassformer.parts.norm import LayerNormConfig
from glassformer.parts.patches import ConvStemConfig, PatchEmbeddingConfig
from glassformer.parts.rows import Grid, plain_rows

WIDTH = 8


def patches(**fields):
    said = {"image_size": (8, 12), "patch_size": (4, 2), "positions": LearnedGridConfig(), **fields}
    return PatchEmbeddingConfig(**said)


def filled(config):
    part = config.build(0, WIDTH)
    for weight in part.parameters():
        nn.init.normal_(weight)
    return part


def images(*size, channels=3, batch=2):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(0))


def run(part, some):
    return part(some, part.rows(some))


def test_a_patch_is_a_matrix_product_of_its_numbers():
    part, some = filled(patches(front=(), positions=None)), images(8, 12)
    rows = F.unfold(some, kernel_size=(4, 2), stride=(4, 2)).mT @ part.projection.weight.flatten(1).T
    torch.testing.assert_close(run(part, some), rows + part.projection.bias)
    assert filled(patches(bias=False)).projection.bias is None


def test_tokens_in_front_have_positions_and_registers_have_none():
    part, some = filled(patches(front=("class", "distillation"), registers=3, norm=LayerNormConfig())), images(8, 12)
    out, table = run(part, some), part.positions.weight
    assert out.shape == (2, 2 + 3 + 12, WIDTH) and part.config.n_positions == 17 and table.shape == (14, WIDTH)
    first, second = part.front["class"] + table[0], part.front["distillation"] + table[1]
    torch.testing.assert_close(out[0, :5], part.norm(torch.stack([first, *part.registers, second])))
    rows = F.unfold(some, kernel_size=(4, 2), stride=(4, 2)).mT @ part.projection.weight.flatten(1).T
    torch.testing.assert_close(out[:, 5:], part.norm(rows + part.projection.bias + table[2:]))


def test_a_stem_halves_the_image_before_it_is_cut():
    stem = ConvStemConfig(widths=(5, 6), activation="relu", norm=LayerNormConfig())
    part, some = (
        filled(patches(image_size=(8, 16), patch_size=(4, 8), stem=stem, front=(), positions=None)),
        images(8, 16),
    )
    x = some
    for convolution, norm in zip(part.stem.convolutions, part.stem.norms, strict=True):
        x = F.conv2d(x, convolution.weight, convolution.bias, stride=2, padding=1)
        x = F.relu(F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], norm.weight, norm.bias).permute(0, 3, 1, 2))
    assert x.shape == (2, 6, 2, 4)
    torch.testing.assert_close(run(part, some), part.projection(x).flatten(2).mT)
    assert part.projection.weight.shape == (WIDTH, 6, 1, 2)


def test_sines_and_cosines_are_those_of_masked_autoencoders():
    part = SinusoidalGridConfig().build(16, Grid(1, 4, 4))
    theirs = build_2d_sinusoidal_position_embedding(height=3, width=5, embed_dim=16, cls_token=True)
    theirs = torch.cat([theirs[..., 8:], theirs[..., :8]], -1)  # as their model turns it
    torch.testing.assert_close(part(Grid(1, 3, 5), torch.empty(0)), theirs)
    with pytest.raises(ConfigError, match="a multiple of 4"):
        SinusoidalGridConfig().build(6, Grid(1, 4, 4))


@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_the_rotation_is_that_of_dinov3(size):
    config = DINOv3ViTConfig(hidden_size=32, num_attention_heads=2, patch_size=4, rope_theta=100.0)
    rope = DINOv3ViTRopePositionEmbedding(config).eval()
    cosine, sine = rope(torch.empty(1, 3, 4 * size[0], 4 * size[1]))
    query = torch.randn(1, 2, 3 + size[0] * size[1], 16)
    theirs, _ = apply_rotary_pos_emb(query, query, cosine, sine)
    rows = (
        patches(image_size=(16, 16), patch_size=(4, 4), registers=2).build(0, 32).rows(images(*(4 * s for s in size)))
    )
    ours = GridRotaryConfig(theta=100.0).build(16).of(rows).turn(query)
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(ours[:, :, :3], query[:, :, :3])


def test_a_rotation_by_index_turns_rows_and_columns_by_themselves():
    part = GridRotaryConfig(theta=50.0, coordinates="index").build(8)
    rows = patches(image_size=(8, 8), patch_size=(4, 4), front=()).build(0, WIDTH).rows(images(8, 12 + 4))
    query = torch.randn(1, 1, 8, 8)
    turned = part.of(rows).turn(query)
    for place in range(8):
        row, column = divmod(place, 4)
        for pair in range(4):
            angle = torch.tensor((row, column)[pair // 2] * 50.0 ** (-(pair % 2) * 4 / 8))
            u, v = query[0, 0, place, pair], query[0, 0, place, pair + 4]
            torch.testing.assert_close(turned[0, 0, place, pair], u * angle.cos() - v * angle.sin())
            torch.testing.assert_close(turned[0, 0, place, pair + 4], v * angle.cos() + u * angle.sin())


def test_tokens_have_no_rows_and_columns():
    with pytest.raises(UnsupportedError, match="images"):
        GridRotaryConfig().build(8).of(plain_rows(0, 4, torch.device("cpu")))
    with pytest.raises(ConfigError, match="head_dim 6"):
        GridRotaryConfig().build(6)


WRONG = {
    "numbers": (images(8, 12).long(), r"images · got torch.int64 \(2, 3, 8, 12\) · expected float, batch channel"),
    "axes": (images(8, 12)[0], r"images · got torch.float32 \(3, 8, 12\)"),
    "none": (images(8, 12)[:0], "images · got"),
    "channels": (images(8, 12, channels=1), "channels of images · got 1 · expected 3"),
    "size": (images(8, 13), r"no whole number of patches · got \(8, 13\) · expected multiples of \(4, 2\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_image_of_the_model_is_refused(name):
    some, message = WRONG[name]
    with pytest.raises(DataError, match=message):
        filled(patches()).rows(some)


def test_images_have_no_padding_and_no_segments():
    part, some = filled(patches()), images(8, 12)
    with pytest.raises(DataError, match="valid is for tokens"):
        part.rows(some, valid=torch.ones(2, 13, dtype=torch.bool))
    with pytest.raises(DataError, match="no segments"):
        part(some, part.rows(some), torch.zeros(2, 13, dtype=torch.int64))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"image_size": (8, 13)}, "image_size"),
        ({"patch_size": (0, 2)}, "patch_size"),
        ({"patch_size": (16, 2)}, "patch_size"),
        ({"channels": 0}, "channels"),
        ({"front": ("class", "class")}, "front"),
        ({"registers": -1}, "registers"),
        ({"stem": ConvStemConfig(widths=(4, 4))}, "patch_size"),
    ],
)
def test_descriptions_that_cannot_be_built(fields, field):
    with pytest.raises(ConfigError, match=rf"PatchEmbeddingConfig\.{field}"):
        patches(**fields)
