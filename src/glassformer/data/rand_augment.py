"""RandAugment: some of fourteen changes, all of one strength  (Cubuk et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from glassformer.data.augment import AugmentConfig, Draws
from glassformer.data.images import Pixels, pillow

_LEVELS = 30
#: image, strength 0 … 1, sign → image; all are Pillow's.
Change = Callable[[Any, float, int], Any]


class RandAugmentConfig(AugmentConfig):
    """``count`` changes, each drawn from all; ``magnitude``: their strength, 0 … 30."""

    count: int = 2
    magnitude: int = 9

    def check(self) -> None:
        self.require(0 < self.count <= 14, "count", "1 … 14")
        self.require(0 <= self.magnitude <= _LEVELS, "magnitude", f"0 … {_LEVELS}")

    @property
    def n_draws(self) -> int:
        return 2 * self.count

    def apply(self, pixels: Pixels, draws: Draws) -> Pixels:
        flat = np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        image, changes = pillow().fromarray(flat), list(CHANGES.values())
        for which, side in draws.reshape(-1, 2):
            change = changes[min(int(which * len(changes)), len(changes) - 1)]
            image = change(image, self.magnitude / _LEVELS, 1 if side < 0.5 else -1)
        return np.array(image).reshape(pixels.shape)


def _moved(image: Any, *coefficients: float) -> Any:
    """Each new pixel (x, y) is the old one at (a x + b y + c, d x + e y + f); black where there is none."""
    return image.transform(image.size, pillow().Transform.AFFINE, coefficients, pillow().Resampling.NEAREST)


def _enhanced(kind: str) -> Change:
    def change(image: Any, strength: float, sign: int) -> Any:
        from PIL import ImageEnhance

        return getattr(ImageEnhance, kind)(image).enhance(1 + sign * 0.9 * strength)

    return change


def _rotated(image: Any, strength: float, sign: int) -> Any:
    return image.rotate(sign * 30 * strength, pillow().Resampling.NEAREST)


def _operation(name: str, *arguments: Any) -> Any:
    from PIL import ImageOps

    return getattr(ImageOps, name)(*arguments)


#: How far a picture is moved at most, as a share of its size.
_FAR = 150 / 331

CHANGES: dict[str, Change] = {
    "identity": lambda image, strength, sign: image,
    "shear_x": lambda image, strength, sign: _moved(image, 1, sign * 0.3 * strength, 0, 0, 1, 0),
    "shear_y": lambda image, strength, sign: _moved(image, 1, 0, 0, sign * 0.3 * strength, 1, 0),
    "translate_x": lambda image, strength, sign: _moved(
        image, 1, 0, int(sign * _FAR * strength * image.width), 0, 1, 0
    ),
    "translate_y": lambda image, strength, sign: _moved(
        image, 1, 0, 0, 0, 1, int(sign * _FAR * strength * image.height)
    ),
    "rotate": _rotated,
    "brightness": _enhanced("Brightness"),
    "color": _enhanced("Color"),
    "contrast": _enhanced("Contrast"),
    "sharpness": _enhanced("Sharpness"),
    "posterize": lambda image, strength, sign: _operation("posterize", image, 8 - round(4 * strength)),
    "solarize": lambda image, strength, sign: _operation("solarize", image, 256 - round(256 * strength)),
    "autocontrast": lambda image, strength, sign: _operation("autocontrast", image),
    "equalize": lambda image, strength, sign: _operation("equalize", image),
}
