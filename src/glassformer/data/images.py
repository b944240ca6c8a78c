"""Pictures as what a model of images reads: decoded, resized in 8 bit as Pillow does it, cropped, scaled, normalised.

pictures → pixels (uint8, height width channel) → numbers (float32, channel height width)
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassformer.core.config import Config
from glassformer.core.errors import DataError, UnsupportedError

Pixels = NDArray[np.uint8]
Resample = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]

#: In the order of the numbers that Pillow and published files have for them.
RESAMPLES: tuple[Resample, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
#: A picture of more pixels is refused before it is decoded: it may be made to fill the memory.
MOST_PIXELS = 1 << 26
_SIXTEEN_BITS = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Encoded:
    """The bytes of a picture: in memory, a file, or a piece of one.

    Args:
        file: Where they stand.
        start: Of the piece.
        size: Of the piece; None is the rest of the file.
        raw: The bytes, where they are in memory.
    """

    file: Path
    start: int = 0
    size: int | None = None
    raw: bytes | None = None

    def read(self) -> bytes:
        """All of them."""
        if self.raw is not None:
            return self.raw
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(-1 if self.size is None else self.size)


class ResizeConfig(Config):
    """To a height and width, or until the shortest edge has its length."""

    size: tuple[int, int] | None = None
    shortest: int | None = None
    resample: Resample = "bilinear"

    def check(self) -> None:
        self.require((self.size is None) != (self.shortest is None), "size", "this or shortest")
        for name, sizes in (("size", self.size or ()), ("shortest", (self.shortest,))):
            self.require(all(one is None or 0 < one <= 1 << 14 for one in sizes), name, "1 … 16384")

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a picture afterwards."""
        if self.shortest is None:
            assert self.size is not None
            return self.size
        short, long = min(height, width), max(height, width)
        new = int(self.shortest * long / short)
        return (new, self.shortest) if width <= height else (self.shortest, new)


class ImageProcessingConfig(Config):
    """resize, crop of the middle (with black around what is smaller), · scale, - mean, / std.

    channels: 3 are red, green and blue, on white where a picture is transparent; 1 is grey · mean, std: of each
    channel, None: no normalising.
    """

    resize: ResizeConfig | None = None
    crop: tuple[int, int] | None = None
    channels: int = 3
    scale: float = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def check(self) -> None:
        self.require(self.channels in (1, 3), "channels", "1 or 3")
        self.require(self.crop is None or all(0 < one <= 1 << 14 for one in self.crop), "crop", "1 … 16384")
        for name, value in (("mean", self.mean), ("std", self.std)):
            self.require(value is None or len(value) == self.channels, name, f"{self.channels} numbers")
        self.require((self.mean is None) == (self.std is None), "std", "together with mean")
        self.require(self.std is None or all(one > 0 for one in self.std), "std", "above 0")
        self.require(self.scale > 0, "scale", "above 0")

    def build(self) -> ImageProcessing:
        return ImageProcessing(self)


class ImageProcessing:
    """pictures → float32, batch channel height width.

    A picture is a file, encoded bytes, uint8 (height width, with a channel axis of 1, 3 or 4 behind), or Pillow's own.
    """

    def __init__(self, config: ImageProcessingConfig) -> None:
        self.config = config

    def __call__(self, pictures: Sequence[Any]) -> Tensor:
        """All of them, which must come out in one size.

        Raises:
            DataError: One cannot be decoded, or has another size; with its number or file.
        """
        found = [self.numbers(self.pixels(picture, f"picture {place}")) for place, picture in enumerate(pictures)]
        return stacked(found)

    def save(self, folder: str | Path) -> None:
        """Write it beside a model: see ``data.image_files``."""
        from glassformer.data.image_files import write_processing

        write_processing(self, folder)

    def pixels(self, picture: Any, at: str = "picture") -> Pixels:
        """A picture resized and cropped: uint8, height width channel."""
        config = self.config
        pixels = as_pixels(picture, config.channels, at)
        if config.resize is not None:
            size = config.resize.target(*pixels.shape[:2])
            pixels = resized(pixels, size, config.resize.resample)
        return pixels if config.crop is None else center_crop(pixels, config.crop)

    def numbers(self, pixels: Pixels) -> NDArray[np.float32]:
        """Pixels scaled and normalised: float32, channel height width."""
        config = self.config
        found: NDArray[np.float32] = (pixels.astype(np.float64) * config.scale).astype(np.float32)
        if config.mean is not None and config.std is not None:
            mean, std = (np.array(one, dtype=np.float32) for one in (config.mean, config.std))
            found = np.divide(found - mean, std, dtype=np.float32)
        return np.ascontiguousarray(np.moveaxis(found, -1, 0))


def stacked(images: Sequence[NDArray[np.float32]]) -> Tensor:
    """Images of one size as a batch: float32, batch channel height width.

    Raises:
        DataError: There is none, or one has another size.
    """
    sizes = {image.shape[1:] for image in images}
    if len(sizes) != 1:
        got = " and ".join(f"{height} x {width}" for height, width in sorted(sizes)[:2]) or "none"
        raise DataError("pictures of one size make a batch", got=got, do="let the image processing resize or crop them")
    return torch.from_numpy(np.stack(images))


def as_pixels(picture: Any, channels: int = 3, at: str = "picture") -> Pixels:
    """uint8, height width channel, of whatever a picture is.

    Raises:
        DataError: It cannot be decoded, is too large, or has more than 8 bits a channel.
    """
    if isinstance(picture, np.ndarray):
        return _of_array(picture, channels, at)
    if isinstance(picture, str | Path):
        picture, at = Encoded(Path(picture)), str(picture)
    if isinstance(picture, bytes):
        picture = Encoded(Path(at), raw=picture)
    if isinstance(picture, Encoded):
        picture = _decoded(_bytes_of(picture), at)
    if not isinstance(picture, pillow().Image):
        raise DataError("no picture", at=at, got=type(picture).__name__, expected="a file, bytes or uint8")
    return _of_pillow(picture, channels, at)


def channels_of(picture: Any, at: str = "picture") -> int:
    """1 where a picture is grey, else 3."""
    colours = as_pixels(picture, 3, at)
    return 1 if bool((colours == colours[..., :1]).all()) else 3


def resized(pixels: Pixels, size: tuple[int, int], resample: Resample) -> Pixels:
    """Pixels in another height and width, by Pillow, which weighs all pixels that fall into a smaller one."""
    height, width = size
    if not (height and width):
        raise DataError("a picture too narrow to be resized", got=f"{pixels.shape[0]} x {pixels.shape[1]}")
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    code = pillow().Resampling(RESAMPLES.index(resample))
    found = np.asarray(pillow().fromarray(np.ascontiguousarray(flat)).resize((width, height), code))
    return found[..., None] if found.ndim == 2 else found


def center_crop(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The middle of a picture; what is smaller gets black around."""
    height, width = pixels.shape[:2]
    more = [max(new - old, 0) for new, old in zip(size, (height, width), strict=True)]
    # rounded as published processors do it, which keeps one pixel more of black at the top and the left
    around = [((extra + 1) // 2, extra // 2) for extra in more]
    grown = np.pad(pixels, (*around, (0, 0))) if any(more) else pixels
    top, left = ((old - new) // 2 + before for new, old, (before, _) in zip(size, (height, width), around, strict=True))
    return grown[top : top + size[0], left : left + size[1]]


def pillow() -> ModuleType:
    """Pillow's module of images.

    Raises:
        UnsupportedError: It is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        do = "pip install 'glassformer[vision]'"
        raise UnsupportedError("reading pictures", got="a Python without Pillow", do=do) from None
    return Image


def _bytes_of(picture: Encoded) -> bytes:
    try:
        return picture.read()
    except OSError as error:
        raise DataError("a picture that cannot be read", at=picture.file, got=error.strerror or error) from None


def _decoded(raw: bytes, at: str) -> Any:
    """Pillow's image of encoded bytes, upright.

    Raises:
        DataError: They are no picture, damaged, or too many pixels.
    """
    image = pillow()
    from PIL import ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of what is odd in a file and can be read; too many pixels are refused here
            found = image.open(io.BytesIO(raw))
            if found.width * found.height > MOST_PIXELS:
                got = f"{found.width} x {found.height}"
                raise DataError("a picture of too many pixels", at=at, got=got, expected=f"at most {MOST_PIXELS:,}")
            found.load()
            return ImageOps.exif_transpose(found)
    except DataError:
        raise
    except Exception as error:  # a decoder raises whatever the bytes lead it to
        raise DataError(
            "a picture that cannot be decoded", at=at, got=str(error)[:200] or type(error).__name__
        ) from None


def _of_pillow(picture: Any, channels: int, at: str) -> Pixels:
    image = pillow()
    if picture.mode in _SIXTEEN_BITS:
        do = "convert it, which decides what white is"
        raise DataError("a picture of more than 8 bits a channel", at=at, got=f"mode {picture.mode}", do=do)
    if "A" in picture.getbands() or picture.info.get("transparency") is not None:
        picture = picture.convert("RGBA")
        white = image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = image.alpha_composite(white, picture)
    found = np.array(picture.convert("RGB" if channels == 3 else "L"))
    return found[..., None] if found.ndim == 2 else found


def _of_array(picture: NDArray[Any], channels: int, at: str) -> Pixels:
    flat = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    fits = flat.dtype == np.uint8 and (flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] in (3, 4))) and flat.size
    if not fits:
        got, expected = f"{picture.dtype} {picture.shape}", "uint8, height width, with 1, 3 or 4 channels behind"
        raise DataError("no picture", at=at, got=got, expected=expected)
    if flat.ndim == 2:
        return np.repeat(flat[..., None], channels, axis=2) if channels == 3 else flat[..., None]
    if channels == flat.shape[2]:
        return flat
    return _of_pillow(pillow().fromarray(np.ascontiguousarray(flat)), channels, at)
