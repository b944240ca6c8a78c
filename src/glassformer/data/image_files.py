"""preprocessor_config.json: how published folders say what is done to pictures, read and written."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glassformer.core.config import read_json
from glassformer.core.errors import ConfigError, DataError, near
from glassformer.data.images import RESAMPLES, ImageProcessing, ImageProcessingConfig, ResizeConfig

FILE = "preprocessor_config.json"

_HALF, _CLIP = (
    (0.5, 0.5, 0.5),
    {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
)
_CROPPED = {"size": {"shortest_edge": 224}, "crop": True, "crop_size": 224, "resample": 3, "square": False}
_PLAIN = {"size": 224, "crop": False, "crop_size": 224, "resample": 2, "square": True, "mean": _HALF, "std": _HALF}
#: What absent keys mean, by the name of the processor.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "ViT": _PLAIN,
    "DeiT": {**_PLAIN, "size": 256, "crop": True, "resample": 3},
    "CLIP": {**_CROPPED, **_CLIP},
    "Bit": {**_CROPPED, **_CLIP},
    "Siglip": {**_PLAIN, "resample": 3},
}
_TYPE = re.compile(r"(\w+?)(ImageProcessor(Fast|Pil)?|FeatureExtractor)")
#: Keys that change no number here: a picture is always converted to the channels that are normalised.
_HARMLESS = frozenset(
    ("image_processor_type", "feature_extractor_type", "processor_class", "do_convert_rgb", "data_format", "device",
     "input_data_format", "return_tensors", "default_to_square", "disable_grouping", "use_fast", "_processor_class",
     "_valid_processor_keys", "image_seq_length", "auto_map")
)  # fmt: skip
_OFF = {"do_pad": False, "offset": False, "use_square_size": False}


def read_processing(folder: str | Path) -> ImageProcessing:
    """The processing that a folder says.

    Raises:
        DataError: There is no such file, a processor that is not known, or a key that is not understood.
    """
    path = Path(folder) / FILE
    try:
        said = read_json(path)
        if not isinstance(said, dict):
            raise DataError(f"not a {FILE}", at=path, got=type(said).__name__, expected="an object")
        return _Said(said, path).config().build()
    except ConfigError as error:
        raise DataError(error.what, at=error.at, got=error.got, expected=error.expected) from error


def write_processing(processing: ImageProcessing, folder: str | Path) -> None:
    """Write the file, in words that every reader of such folders knows."""
    text = json.dumps(said_of(processing.config), indent=2, sort_keys=True) + "\n"
    (Path(folder) / FILE).write_text(text, encoding="utf-8")


def said_of(config: ImageProcessingConfig) -> dict[str, Any]:
    """The keys of the file; each stands there, so that the name of the processor adds nothing."""
    resize = config.resize
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": resize is not None,
        "size": {"height": 224, "width": 224} if resize is None else _size_said(resize),
        "resample": RESAMPLES.index("bilinear" if resize is None else resize.resample),
        "do_center_crop": config.crop is not None,
        **({} if config.crop is None else {"crop_size": {"height": config.crop[0], "width": config.crop[1]}}),
        "do_rescale": config.scale != 1.0,
        "rescale_factor": config.scale,
        "do_normalize": config.mean is not None,
        "image_mean": list(config.mean or (0.0,) * config.channels),
        "image_std": list(config.std or (1.0,) * config.channels),
        "do_convert_rgb": True if config.channels == 3 else None,
    }


def _size_said(resize: ResizeConfig) -> dict[str, int]:
    if resize.size is not None:
        return {"height": resize.size[0], "width": resize.size[1]}
    return {"shortest_edge": resize.shortest or 0}


class _Said:
    """A file's keys, each of which must be read."""

    def __init__(self, keys: Mapping[str, Any], path: Path) -> None:
        self.keys, self.path, self.read = keys, path, set(_HARMLESS)
        named = str(keys.get("image_processor_type") or keys.get("feature_extractor_type"))
        match = _TYPE.fullmatch(named)
        if match is None or match[1] not in DEFAULTS:
            expected = f"one of {', '.join(f'{name}ImageProcessor' for name in DEFAULTS)}"
            raise DataError("a processor that is not known", at=path, got=named[:100], expected=expected)
        self.defaults = DEFAULTS[match[1]]

    def config(self) -> ImageProcessingConfig:
        """The description."""
        mean, std = self._numbers("image_mean", "mean"), self._numbers("image_std", "std")
        is_scaled, factor = self._flag("do_rescale", True), self._number("rescale_factor", 1 / 255)
        is_normed, channels = self._flag("do_normalize", True), len(mean)
        crop = self._pair("crop_size") if self._flag("do_center_crop", self.defaults["crop"]) else None
        resize = self._resize() if self._flag("do_resize", True) else None
        self.read |= {"size", "resample", "crop_size"}
        self._check_all_read()
        return ImageProcessingConfig(
            resize=resize,
            crop=crop,
            channels=channels,
            scale=factor if is_scaled else 1.0,
            mean=mean if is_normed else None,
            std=std if is_normed else None,
        )

    def _get(self, key: str, default: Any) -> Any:
        self.read.add(key)
        value = self.keys.get(key)
        return default if value is None else value

    def _refuse(self, key: str, got: object, expected: str) -> DataError:
        return DataError("not supported", at=f"{self.path}: {key}", got=reprlib.repr(got), expected=expected)

    def _flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if type(value) is not bool:
            raise self._refuse(key, value, "true or false")
        return value

    def _number(self, key: str, default: float) -> float:
        value = self._get(key, default)
        if type(value) not in (int, float) or not 0 < value < 1e6:
            raise self._refuse(key, value, "a number above 0")
        return float(value)

    def _numbers(self, key: str, default: str) -> tuple[float, ...]:
        value = self._get(key, self.defaults[default])
        if not isinstance(value, list | tuple) or any(type(one) not in (int, float) for one in value):
            raise self._refuse(key, value, "a number for each channel")
        return tuple(map(float, value))

    def _pair(self, key: str) -> tuple[int, int]:
        """Height and width, or one number for both."""
        value = self._get(key, self.defaults[key])
        height, width = (value.get("height"), value.get("width")) if isinstance(value, dict) else (value, value)
        if type(height) is not int or type(width) is not int:
            raise self._refuse(key, value, "a height and a width")
        return height, width

    def _resize(self) -> ResizeConfig:
        size, code = self._get("size", self.defaults["size"]), self._get("resample", self.defaults["resample"])
        if type(code) is not int or not 0 <= code < len(RESAMPLES):
            raise self._refuse("resample", code, f"0 … {len(RESAMPLES) - 1}")
        if type(size) is int:
            is_square = self.keys.get("default_to_square", self.defaults["square"])
            size = {"height": size, "width": size} if is_square else {"shortest_edge": size}
        fields = set(size) if isinstance(size, dict) else set()
        if fields == {"height", "width"}:
            return ResizeConfig(size=(size["height"], size["width"]), resample=RESAMPLES[code])
        if fields != {"shortest_edge"}:
            raise self._refuse("size", size, "height and width, or shortest_edge")
        return ResizeConfig(shortest=size["shortest_edge"], resample=RESAMPLES[code])

    def _check_all_read(self) -> None:
        unread = sorted(key for key in set(self.keys) - self.read if self.keys[key] not in (None, _OFF.get(key)))
        if unread:
            expected = f"known are {near(unread[0], self.read)}"
            got = f"{unread[0]}={reprlib.repr(self.keys[unread[0]])}"
            raise DataError("a key that is not known", at=self.path, got=got, expected=expected)
