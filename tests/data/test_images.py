"""Pictures become the numbers that published processors make of them; what is no picture is refused."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from glassformer.core.errors import ConfigError, DataError
from glassformer.data import images as images_module
from glassformer.data.image_files import FILE, read_processing, write_processing
from glassformer.data.images import Encoded, ImageProcessingConfig, ResizeConfig, as_pixels, center_crop, stacked

transformers.logging.set_verbosity_error()

THEIRS = {
    "ViT": transformers.ViTImageProcessorPil,
    "DeiT": transformers.DeiTImageProcessorPil,
    "CLIP": transformers.CLIPImageProcessorPil,
    "Bit": transformers.BitImageProcessorPil,
    "Siglip": transformers.SiglipImageProcessorPil,
}
SIZES = [(300, 400), (401, 299), (64, 64), (20, 33), (224, 224)]


def picture(height, width, mode="RGB", seed=0):
    """Smooth areas, edges and noise."""
    draw = np.random.default_rng(seed)
    channels = {"RGB": 3, "RGBA": 4, "L": 1, "LA": 2}[mode]
    base = draw.integers(0, 256, (6, 6, channels)).repeat(-(-height // 6), 0).repeat(-(-width // 6), 1)
    found = np.clip(base[:height, :width] + draw.normal(0, 20, (height, width, channels)), 0, 255).astype(np.uint8)
    return Image.fromarray(found[..., 0] if channels == 1 else found)


def theirs_of(name, folder, **settings):
    processor = THEIRS[name](**settings)
    processor.save_pretrained(folder)
    return processor


def same(ours, processor, some):
    theirs = processor(some, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours(some), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", THEIRS)
def test_the_numbers_are_those_of_published_processors(name, size, tmp_path):
    processor = theirs_of(name, tmp_path)
    same(read_processing(tmp_path), processor, [picture(*size), picture(*size, seed=1)])


@pytest.mark.parametrize("code", range(6))
@pytest.mark.parametrize("name", ["ViT", "CLIP"])
def test_pixels_are_resized_to_the_bit(name, code, tmp_path):
    settings = {"resample": code, "do_rescale": False, "do_normalize": False}
    processor = theirs_of(name, tmp_path, **settings)
    some = picture(123, 77)
    theirs = processor([some], return_tensors="np")["pixel_values"][0]
    assert theirs.dtype == np.uint8
    assert np.array_equal(np.moveaxis(read_processing(tmp_path).pixels(some), -1, 0), theirs)


SETTINGS = {
    "size": {"size": {"height": 30, "width": 50}},
    "shortest": {"size": {"shortest_edge": 40}, "do_center_crop": False},
    "crop": {"do_resize": False, "do_center_crop": True, "crop_size": {"height": 64, "width": 51}},
    "larger crop": {"do_resize": False, "do_center_crop": True, "crop_size": {"height": 333, "width": 100}},
    "no norm": {"do_normalize": False, "size": {"height": 8, "width": 8}},
    "no scale": {"do_rescale": False},
    "scale": {"rescale_factor": 0.5, "image_mean": [0.1, 0.2, 0.3], "image_std": [1.0, 2.0, 3.0]},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_followed(name, tmp_path):
    processor = theirs_of("CLIP", tmp_path, **SETTINGS[name])
    same(read_processing(tmp_path), processor, [picture(200, 150)])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_every_picture_becomes_red_green_and_blue(mode, tmp_path):
    processor = theirs_of("CLIP", tmp_path)
    same(read_processing(tmp_path), processor, [picture(90, 70, mode)])


def test_grey_pictures_stay_grey(tmp_path):
    settings = {"image_mean": [0.5], "image_std": [0.25], "size": {"height": 28, "width": 28}}
    processor = theirs_of("ViT", tmp_path, **settings)
    same(read_processing(tmp_path), processor, [picture(60, 60, "L")])
    assert read_processing(tmp_path)([picture(60, 60)]).shape == (1, 1, 28, 28)


@pytest.mark.parametrize("name", [*THEIRS, *SETTINGS])
def test_what_is_written_says_the_same_there_and_here(name, tmp_path):
    (tmp_path / "theirs").mkdir(), (tmp_path / "ours").mkdir()
    theirs_of(name if name in THEIRS else "CLIP", tmp_path / "theirs", **SETTINGS.get(name, {}))
    ours = read_processing(tmp_path / "theirs")
    write_processing(ours, tmp_path / "ours")
    assert read_processing(tmp_path / "ours").config == ours.config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(ours, transformers.ViTImageProcessorPil.from_pretrained(tmp_path / "ours"), [picture(140, 90)])


def test_files_of_older_versions_say_less(tmp_path):
    said = {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "do_resize": True, "do_normalize": True}
    (tmp_path / FILE).write_text(json.dumps(said | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}))
    same(read_processing(tmp_path), transformers.ViTImageProcessorPil(), [picture(100, 80)])
    clip = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "do_center_crop": True}
    (tmp_path / FILE).write_text(json.dumps(clip))
    same(read_processing(tmp_path), transformers.CLIPImageProcessorPil(), [picture(100, 80)])


WRONG = {
    "type": ({"image_processor_type": "DetrImageProcessor"}, "a processor that is not known · got DetrImageProcessor"),
    "key": ({"crop_pct": 0.9}, r"a key that is not known · got crop_pct=0\.9"),
    "pad": ({"do_pad": True}, "a key that is not known · got do_pad=True"),
    "size": ({"size": {"longest_edge": 3}}, "size: not supported"),
    "edges": ({"size": {"shortest_edge": 3, "longest_edge": 30}}, "size: not supported"),
    "zero": ({"size": {"height": 0, "width": 3}}, "ResizeConfig.size"),
    "resample": ({"resample": 9}, "resample: not supported"),
    "flag": ({"do_resize": 1}, "do_resize: not supported"),
    "mean": ({"image_mean": "grey"}, "image_mean: not supported"),
    "two": ({"image_mean": [0.5, 0.5], "image_std": [1, 1]}, "channels"),
    "std": ({"image_std": [0, 1, 1]}, "std"),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_say_something_else(name, tmp_path):
    keys, message = WRONG[name]
    (tmp_path / FILE).write_text(json.dumps({"image_processor_type": "ViTImageProcessor"} | keys))
    with pytest.raises(DataError, match=message):
        read_processing(tmp_path)


def test_no_file_and_no_object(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_processing(tmp_path)
    (tmp_path / FILE).write_text("[1]")
    with pytest.raises(DataError, match="expected an object"):
        read_processing(tmp_path)


def test_a_picture_may_be_a_file_bytes_an_array_or_pillows(tmp_path):
    some = picture(20, 30)
    some.save(tmp_path / "one.png")
    raw = (tmp_path / "one.png").read_bytes()
    (tmp_path / "two.bin").write_bytes(b"before" + raw + b"behind")
    piece = Encoded(tmp_path / "two.bin", start=6, size=len(raw))
    for form in (some, np.array(some), tmp_path / "one.png", str(tmp_path / "one.png"), raw, piece):
        assert np.array_equal(as_pixels(form), np.array(some))
    assert np.array_equal(as_pixels(np.array(some)[..., 0]), np.array(some)[..., :1].repeat(3, 2))


def test_a_picture_is_turned_upright(tmp_path):
    some, exif = picture(20, 30), Image.Exif()
    exif[274] = 6
    some.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(as_pixels(tmp_path / "turned.png"), np.rot90(np.array(some), -1))


def test_what_is_no_picture_is_named(tmp_path, monkeypatch):
    picture(20, 30).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-200])
    with pytest.raises(DataError, match=r"cut\.jpg: a picture that cannot be decoded"):
        as_pixels(tmp_path / "cut.jpg")
    with pytest.raises(DataError, match="picture 1: a picture that cannot be decoded"):
        ImageProcessingConfig().build()([picture(5, 5), b"nothing"])
    with pytest.raises(DataError, match=r"no\.png: a picture that cannot be read · got No such file"):
        as_pixels(tmp_path / "no.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        as_pixels(Image.fromarray(np.zeros((4, 4), np.uint16)))
    with pytest.raises(DataError, match=r"no picture · got float64 \(4, 4\)"):
        as_pixels(np.zeros((4, 4)))
    with pytest.raises(DataError, match="no picture · got int"):
        as_pixels(3)
    monkeypatch.setattr(images_module, "MOST_PIXELS", 599)
    picture(20, 30).save(tmp_path / "large.png")
    with pytest.raises(DataError, match="too many pixels · got 30 x 20"):
        as_pixels(tmp_path / "large.png")


def test_pictures_of_several_sizes_are_no_batch():
    with pytest.raises(DataError, match="got 5 x 5 and 5 x 6"):
        ImageProcessingConfig().build()([picture(5, 5), picture(5, 6)])
    with pytest.raises(DataError, match="got none"):
        stacked([])


def test_a_crop_of_what_is_smaller_is_black_around():
    found = center_crop(np.full((2, 3, 1), 9, np.uint8), (5, 2))
    assert found[:, :, 0].tolist() == [[0, 0], [0, 0], [9, 9], [9, 9], [0, 0]]


@pytest.mark.parametrize(
    "fields", [{"size": (3, 3), "shortest": 3}, {}, {"size": (0, 3)}, {"shortest": 0}, {"shortest": 1 << 20}]
)
def test_sizes_that_cannot_be(fields):
    with pytest.raises(ConfigError, match="ResizeConfig"):
        ResizeConfig(**fields)
