"""Pictures that are a little different each time: flipped, cut out, turned, faded, covered; and pictures mixed.

Each change is a pure function of the pixels and of some random numbers in [0, 1), which hang on nothing but the seed
and the number of the sample; so a run that is resumed sees what it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassformer.core.config import Config
from glassformer.data.images import Pixels, Resample, resized
from glassformer.data.order import mix, noise

Draws = NDArray[np.float64]


class AugmentConfig(Config, base=True):
    """Base of what is done to one picture, whose size stays."""

    @property
    def n_draws(self) -> int:
        """How many random numbers a picture takes."""
        raise AssertionError(f"{type(self).__name__} lacks n_draws")

    def apply(self, pixels: Pixels, draws: Draws) -> Pixels:
        """The changed picture: uint8, height width channel."""
        raise AssertionError(f"{type(self).__name__} lacks apply")


def augmented(pixels: Pixels, changes: Sequence[AugmentConfig], seed: int, sample: int) -> Pixels:
    """A picture after all changes, as the sample of that number is shown."""
    for turn, change in enumerate(changes):
        draws = noise(mix(seed, turn), np.array([sample]), change.n_draws)[0]
        pixels = change.apply(pixels, draws)
    return pixels


class FlipConfig(AugmentConfig):
    """Left and right are exchanged, in a share of the pictures."""

    share: float = 0.5

    def check(self) -> None:
        self.require(0 <= self.share <= 1, "share", "0 … 1")

    @property
    def n_draws(self) -> int:
        return 1

    def apply(self, pixels: Pixels, draws: Draws) -> Pixels:
        return pixels[:, ::-1] if draws[0] < self.share else pixels


class PaddedCropConfig(AugmentConfig):
    """Moved by up to ``padding`` pixels; what comes in is black, or the picture's own mirror image."""

    padding: int = 4
    fill: Literal["black", "mirror"] = "black"

    def check(self) -> None:
        self.require(0 < self.padding <= 1 << 12, "padding", "1 … 4096")

    @property
    def n_draws(self) -> int:
        return 2

    def apply(self, pixels: Pixels, draws: Draws) -> Pixels:
        height, width = pixels.shape[:2]
        around = ((self.padding, self.padding), (self.padding, self.padding), (0, 0))
        grown = np.pad(pixels, around, mode="constant" if self.fill == "black" else "symmetric")
        top, left = (_whole(draw, 2 * self.padding + 1) for draw in draws)
        return grown[top : top + height, left : left + width]


class ResizedCropConfig(AugmentConfig):
    """A part of the picture, as large as the whole was  (Szegedy et al. 2015).

    area: least and largest share of the picture · ratio: least and largest of width by height.
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    resample: Resample = "bilinear"

    def check(self) -> None:
        _check_box(self, self.area, self.ratio)

    @property
    def n_draws(self) -> int:
        return 4

    def apply(self, pixels: Pixels, draws: Draws) -> Pixels:
        size = pixels.shape[0], pixels.shape[1]
        top, left, height, width = _box(size, self.area, self.ratio, draws)
        return resized(pixels[top : top + height, left : left + width], size, self.resample)


class ErasingConfig(AugmentConfig):
    """A part of the picture is covered, with noise or with grey, in a share of the pictures  (Zhong et al. 2020)."""

    share: float = 0.25
    area: tuple[float, float] = (0.02, 1 / 3)
    ratio: tuple[float, float] = (0.3, 3.3)
    fill: Literal["noise", "grey"] = "noise"

    def check(self) -> None:
        self.require(0 <= self.share <= 1, "share", "0 … 1")
        _check_box(self, self.area, self.ratio)

    @property
    def n_draws(self) -> int:
        return 6

    def apply(self, pixels: Pixels, draws: Draws) -> Pixels:
        if draws[0] >= self.share:
            return pixels
        top, left, height, width = _box((pixels.shape[0], pixels.shape[1]), self.area, self.ratio, draws[1:5])
        found = pixels.copy()
        part = found[top : top + height, left : left + width]
        part[:] = 128 if self.fill == "grey" else _grains(part.shape, draws[5])
        return found


def _grains(shape: tuple[int, ...], draw: float) -> Pixels:
    """Noise of all values."""
    key = int(draw * 2**53)
    grains = noise(key, np.arange(shape[0]), math.prod(shape[1:])).reshape(shape)
    return (grains * 256).astype(np.uint8)


def _whole(draw: float, count: int) -> int:
    """0 … count - 1, each as often."""
    return min(int(draw * count), count - 1)


def _between(draw: float, low: float, high: float) -> float:
    return low + draw * (high - low)


def _box(
    size: tuple[int, int], area: tuple[float, float], ratio: tuple[float, float], draws: Draws
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a part of a picture; its ratio gives way where it would not fit."""
    whole = size[0] * size[1] * _between(draws[0], *area)
    shape = math.exp(_between(draws[1], math.log(ratio[0]), math.log(ratio[1])))
    width = min(max(1, round(math.sqrt(whole * shape))), size[1])
    height = min(max(1, round(whole / width)), size[0])
    return _whole(draws[2], size[0] - height + 1), _whole(draws[3], size[1] - width + 1), height, width


def _check_box(config: AugmentConfig, area: tuple[float, float], ratio: tuple[float, float]) -> None:
    config.require(0 < area[0] <= area[1] <= 1, "area", "two shares, the first not above the second")
    config.require(0 < ratio[0] <= ratio[1], "ratio", "two above 0, the first not above the second")


# Pictures that are mixed


class MixConfig(Config, base=True):
    """Base of what is done to a batch: each picture with the one before it, ``alpha``: of the Beta distribution of the
    share that it keeps."""

    alpha: float = 1.0

    def check(self) -> None:
        self.require(0 < self.alpha <= 100, "alpha", "above 0, at most 100")

    def apply(self, images: Tensor, targets: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """images: batch channel height width · targets: batch label, which sum to 1."""
        raise AssertionError(f"{type(self).__name__} lacks apply")


class MixupConfig(MixConfig):
    """Both pictures shine through  (Zhang et al. 2018)."""

    def apply(self, images: Tensor, targets: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        share = float(draw.beta(self.alpha, self.alpha))
        return _blend(images, share), _blend(targets, share)


class CutmixConfig(MixConfig):
    """A rectangle of the other picture covers this one  (Yun et al. 2019)."""

    def apply(self, images: Tensor, targets: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        edge = math.sqrt(1 - float(draw.beta(self.alpha, self.alpha)))
        rows, columns = (_span(size, edge, draw.random()) for size in images.shape[2:])
        mixed = images.clone()
        mixed[:, :, rows, columns] = images.roll(1, 0)[:, :, rows, columns]
        covered = (rows.stop - rows.start) * (columns.stop - columns.start)
        return mixed, _blend(targets, 1 - covered / images[0, 0].numel())


def mixed(
    images: Tensor, labels: Tensor, n_labels: int, ways: Sequence[MixConfig], seed: int, sample: int
) -> tuple[Tensor, Tensor]:
    """A batch mixed in one of several ways, which the number of its first sample decides: images, batch label."""
    targets = torch.nn.functional.one_hot(labels, n_labels).float()
    draw = np.random.Generator(np.random.PCG64(mix(seed, sample)))
    way = ways[int(draw.integers(len(ways)))]
    return way.apply(images, targets, draw)


def _blend(values: Tensor, share: float) -> Tensor:
    return values * share + values.roll(1, 0) * (1 - share)


def _span(size: int, share: float, middle: float) -> slice:
    """So large a part of an axis around a place, as far as it is inside."""
    at, half = middle * size, size * share / 2
    return slice(max(0, round(at - half)), min(size, round(at + half)))
