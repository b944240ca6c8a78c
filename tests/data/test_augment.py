"""Changes of pictures: what each does to known pixels, that they repeat, and how pictures are mixed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from glassformer.core.errors import ConfigError
from glassformer.data.augment import (
    CutmixConfig,
    ErasingConfig,
    FlipConfig,
    MixupConfig,
    PaddedCropConfig,
    ResizedCropConfig,
    augmented,
    mixed,
)
from glassformer.data.rand_augment import CHANGES, RandAugmentConfig

PIXELS = np.random.default_rng(0).integers(1, 256, (6, 8, 3)).astype(np.uint8)
LARGE = np.random.default_rng(1).integers(0, 256, (40, 50, 3)).astype(np.uint8)


def draws(*numbers):
    return np.array(numbers, dtype=np.float64)


def test_flip():
    assert np.array_equal(FlipConfig().apply(PIXELS, draws(0.49)), PIXELS[:, ::-1])
    assert np.array_equal(FlipConfig().apply(PIXELS, draws(0.5)), PIXELS)


def test_padded_crop_moves_by_each_number_of_pixels():
    crop = PaddedCropConfig(padding=1)
    assert np.array_equal(crop.apply(PIXELS, draws(0.5, 0.5)), PIXELS)
    moved = crop.apply(PIXELS, draws(0.0, 0.99))
    assert np.array_equal(moved[1:, :-1], PIXELS[:-1, 1:]) and not moved[0].any() and not moved[:, -1].any()
    mirrored = PaddedCropConfig(padding=1, fill="mirror").apply(PIXELS, draws(0.0, 0.5))
    assert np.array_equal(mirrored[0], PIXELS[0]) and np.array_equal(mirrored[1:], PIXELS[:-1])
    places = {crop.apply(PIXELS, draws(0.5, at))[2, 3, 0] for at in np.linspace(0, 0.999, 50)}
    assert places == set(PIXELS[2, 2:5, 0].tolist())


def test_resized_crop_is_a_part_in_the_size_of_the_whole():
    whole = ResizedCropConfig(area=(1.0, 1.0), ratio=(8 / 6, 8 / 6))
    assert np.array_equal(whole.apply(PIXELS, draws(0.3, 0.3, 0.3, 0.3)), PIXELS)
    part = ResizedCropConfig(area=(0.25, 0.25), ratio=(8 / 6, 8 / 6), resample="nearest")
    found = part.apply(PIXELS, draws(0.3, 0.3, 0.99, 0.0))
    assert np.array_equal(found, PIXELS[3:6, 0:4].repeat(2, 0).repeat(2, 1))
    for seed in range(200):  # whatever is drawn, a part is inside
        numbers = np.random.default_rng(seed).random(4)
        assert ResizedCropConfig(area=(0.01, 1.0), ratio=(0.01, 100.0)).apply(PIXELS, numbers).shape == PIXELS.shape


def test_erasing_covers_the_share_that_it_says():
    grey = ErasingConfig(share=1, area=(0.25, 0.25), ratio=(1.0, 1.0), fill="grey")
    found = grey.apply(LARGE, draws(0.5, 0.5, 0.5, 0.0, 0.0, 0.5))
    assert (found[:23, :22] == 128).all() and np.array_equal(found[23:], LARGE[23:])
    noisy = ErasingConfig(share=1, area=(0.5, 0.5), ratio=(1.0, 1.0)).apply(LARGE, draws(0.5, 0.5, 0.5, 0.5, 0.5, 0.5))
    changed = (noisy != LARGE).any(-1)
    assert 0.45 < changed.mean() < 0.55 and noisy[changed].std() > 60
    assert ErasingConfig(share=0.3).apply(LARGE, draws(0.3, *[0.5] * 5)) is LARGE


def test_the_same_sample_is_shown_the_same_and_the_next_one_is_not():
    changes = (ResizedCropConfig(), FlipConfig(), RandAugmentConfig(), ErasingConfig(share=1), PaddedCropConfig())
    first, again, next_one, other = (augmented(LARGE, changes, *key) for key in ((1, 7), (1, 7), (1, 8), (2, 7)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, next_one) and not np.array_equal(first, other)
    flips = [augmented(PIXELS, (FlipConfig(),), 3, sample)[0, 0, 0] == PIXELS[0, -1, 0] for sample in range(2000)]
    assert 0.46 < np.mean(flips) < 0.54


def test_rand_augment_without_strength_leaves_what_has_none():
    dim = LARGE // 2
    for name, change in CHANGES.items():
        found = np.asarray(change(Image.fromarray(dim), 0.0, 1))
        assert np.array_equal(found, dim) == (name not in ("autocontrast", "equalize")), name


def test_rand_augment_does_what_pillow_does():
    image, half = Image.fromarray(LARGE), 0.5
    expected = {
        "brightness": ImageEnhance.Brightness(image).enhance(1.45),
        "color": ImageEnhance.Color(image).enhance(1.45),
        "posterize": ImageOps.posterize(image, 6),
        "solarize": ImageOps.solarize(image, 128),
        "equalize": ImageOps.equalize(image),
        "rotate": image.rotate(15),
    }
    for name, wanted in expected.items():
        assert np.array_equal(np.asarray(CHANGES[name](image, half, 1)), np.asarray(wanted)), name
    moved = np.asarray(CHANGES["translate_x"](image, half, -1))
    assert np.array_equal(moved[:, 11:], LARGE[:, :-11]) and not moved[:, :11].any()
    sheared = np.asarray(CHANGES["shear_y"](image, 1.0, 1))
    assert np.array_equal(sheared[:20, 10], LARGE[3:23, 10])


def test_rand_augment_draws_every_change():
    marks = np.arange(14) / 14 + 0.01
    for mark, change in zip(marks, CHANGES.values(), strict=True):
        found = RandAugmentConfig(count=1, magnitude=30).apply(LARGE, draws(mark, 0.6))
        assert np.array_equal(found, np.asarray(change(Image.fromarray(LARGE), 1.0, -1)))
    grey = RandAugmentConfig(count=14, magnitude=20).apply(LARGE[..., :1], np.linspace(0, 0.999, 28))
    assert grey.shape == (40, 50, 1) and grey.dtype == np.uint8


IMAGES, LABELS = torch.randn(4, 2, 6, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 2])


def test_mixup_mixes_pictures_and_targets_alike():
    images, targets = mixed(IMAGES, LABELS, 3, (MixupConfig(alpha=0.8),), 1, 5)
    assert targets.shape == (4, 3) and torch.allclose(targets.sum(-1), torch.ones(4))
    share = targets[0, 0]
    assert 0 < share < 1
    torch.testing.assert_close(targets[0, 2], 1 - share)
    torch.testing.assert_close(images[0], share * IMAGES[0] + (1 - share) * IMAGES[3])
    torch.testing.assert_close(images[2], share * IMAGES[2] + (1 - share) * IMAGES[1])


def test_cutmix_covers_the_share_that_it_says():
    seen = set()
    for sample in range(30):
        images, targets = mixed(IMAGES, LABELS, 3, (CutmixConfig(),), 1, sample)
        covered = (images[0] != IMAGES[0]).all(0)
        assert torch.equal(images[0][:, covered], IMAGES[3][:, covered])
        torch.testing.assert_close(targets[0], torch.tensor([1 - covered.float().mean(), 0, covered.float().mean()]))
        seen.add(int(covered.sum()))
    assert len(seen) > 8


def test_one_of_several_ways_and_always_the_same():
    ways = (MixupConfig(), CutmixConfig())
    runs = [[mixed(IMAGES, LABELS, 3, ways, 1, sample)[0] for sample in range(20)] for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
    cut = [bool((images[0] == IMAGES[0]).any()) for images in runs[0]]
    assert 3 < sum(cut) < 17


@pytest.mark.parametrize(
    "make",
    [
        lambda: FlipConfig(share=1.5),
        lambda: PaddedCropConfig(padding=0),
        lambda: ResizedCropConfig(area=(0.5, 0.4)),
        lambda: ErasingConfig(ratio=(0.0, 1.0)),
        lambda: RandAugmentConfig(magnitude=31),
        lambda: RandAugmentConfig(count=0),
        lambda: MixupConfig(alpha=0.0),
    ],
)
def test_what_cannot_be_drawn(make):
    with pytest.raises(ConfigError):
        make()
