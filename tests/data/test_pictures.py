"""Where pictures come from: folders, archives, IDX; what is damaged is named."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glassformer.core.errors import DataError
from glassformer.data.examples import read_examples
from glassformer.data.formats import pictures
from glassformer.data.images import as_pixels

NAMES = ["set/cats/a.png", "set/cats/deep/b.JPG", "set/dogs/c.png"]
LABELS = ["cats", "cats/deep", "dogs"]
REAL = Path(__file__).parents[3] / "shared/data"


def encoded(number: int, kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), 40 * number, np.uint8)).save(stream, kind)
    return stream.getvalue()


RAW = {name: encoded(number, "png" if name.endswith("png") else "jpeg") for number, name in enumerate(NAMES)}
OTHERS = {"set/notes.txt": b"nothing", "__MACOSX/set/cats/a.png": b"", "set/.hidden/x.png": b""}


def as_folder(place: Path) -> Path:
    for name, raw in (RAW | OTHERS).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(raw)
    return place / "set"


def as_tar(place: Path, end: str) -> Path:
    with tarfile.open(place / f"some.tar{end}", f"w:{end[1:]}") as archive:
        for name, raw in reversed((RAW | OTHERS).items()):
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return place / f"some.tar{end}"


def as_zip(place: Path) -> Path:
    with zipfile.ZipFile(place / "some.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in (RAW | OTHERS).items():
            archive.writestr(name, raw)
    return place / "some.zip"


FORMS = {
    "folder": as_folder,
    "tar": lambda place: as_tar(place, ""),
    "tar.gz": lambda place: as_tar(place, ".gz"),
    "tar.xz": lambda place: as_tar(place, ".xz"),
    "zip": as_zip,
}


@pytest.mark.parametrize("form", FORMS)
def test_pictures_and_their_labels(form, tmp_path):
    found = list(read_examples(FORMS[form](tmp_path)))
    assert [example["label"] for example in found] == LABELS
    assert [example["image"].read() for example in found] == list(RAW.values())
    for example, name in zip(found, NAMES, strict=True):
        assert example.place.endswith(name) and str(tmp_path) in example.place
        assert as_pixels(example["image"], 3, example.place).shape == (4, 5, 3)


def test_pictures_without_folders_have_no_label(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(1))
    (example,) = read_examples(tmp_path)
    assert set(example.fields) == {"image"}
    (single,) = read_examples(tmp_path / "a.png")
    assert single.place == str(tmp_path / "a.png")


def test_a_folder_of_text_with_a_picture_stays_text(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("some words\n")
    (tmp_path / "a.png").write_bytes(encoded(1))
    assert not pictures.covers(tmp_path, {}) and not pictures.covers(tmp_path / "nothing", {})


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_a_damaged_archive_is_named(form, tmp_path):
    place = FORMS[form](tmp_path)
    place.write_bytes(place.read_bytes()[: len(place.read_bytes()) // 2])
    with pytest.raises(DataError, match=rf"some\.{form}.*(damaged|locked)"):
        list(read_examples(place))


def test_one_damaged_picture_among_many_is_named_when_it_is_used(tmp_path):
    for number in range(300):
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / "x" / f"{number:03}.png").write_bytes(encoded(number % 5)[: 40 if number == 250 else None])
    found, errors = list(read_examples(tmp_path)), []
    for example in found:
        try:
            as_pixels(example["image"], 3, example.place)
        except DataError as error:
            errors.append(str(error))
    assert len(found) == 300 and len(errors) == 1 and "250.png: a picture that cannot be decoded" in errors[0]


def test_archives_without_pictures_and_with_too_large_ones(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("a.txt", "words")
    with pytest.raises(DataError, match="no pictures"):
        list(read_examples(tmp_path / "none.zip"))
    monkeypatch.setattr(pictures, "MOST_BYTES", 10)
    for form in ("tar", "zip"):
        with pytest.raises(DataError, match=r"a\.png|c\.png.*too many bytes"):
            list(read_examples(FORMS[form](tmp_path)))


def test_language_modelling_refuses_pictures(tmp_path):
    from glassformer.data.sources import open_source

    (tmp_path / "a.png").write_bytes(encoded(1))
    with pytest.raises(DataError, match="pictures hold no text"):
        list(open_source(tmp_path / "a.png").documents())


# IDX

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def write_idx(folder: Path, name: str = "train", images: bytes | None = None, labels: bytes | None = None) -> None:
    raw = idx(IMAGES) if images is None else images
    (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(raw))
    (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.array([7, 1], np.uint8)) if labels is None else labels)


@pytest.mark.parametrize("place", ["", "train", "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"])
def test_idx_by_folder_beginning_or_file(place, tmp_path):
    write_idx(tmp_path)
    found = list(read_examples(tmp_path / place))
    assert [example["label"] for example in found] == ["7", "1"] and found[1].place == f"{tmp_path}/train, picture 1"
    assert all(np.array_equal(example["image"], image) for example, image in zip(found, IMAGES, strict=True))


def test_two_pairs_in_a_folder_want_a_word(tmp_path):
    write_idx(tmp_path), write_idx(tmp_path, "t10k")
    with pytest.raises(DataError, match="one pair of files · got t10k, train · say which"):
        list(read_examples(tmp_path))
    assert len(list(read_examples(tmp_path / "t10k"))) == 2


DAMAGED = {
    "cut": ({"images": idx(IMAGES)[:-1]}, "damaged file of pictures · got 23 numbers · expected 2 x 3 x 4"),
    "type": ({"images": b"\0\0\x0d\3" + idx(IMAGES)[4:]}, "not IDX · got 00 00 0d 03"),
    "short": ({"images": b"\0\0"}, "not IDX"),
    "count": ({"labels": idx(np.array([1], np.uint8))}, "one label a picture · got 2 pictures and 1 labels"),
    "none": ({"images": idx(IMAGES[:0])}, "damaged file"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_idx(name, tmp_path):
    fields, message = DAMAGED[name]
    write_idx(tmp_path, **fields)
    with pytest.raises(DataError, match=message):
        list(read_examples(tmp_path))


def test_a_missing_half(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: no such file"):
        list(read_examples(tmp_path / "train"))


REALS = {
    "mnist": ("mnist/t10k", 10_000, 10, (28, 28, 1)),
    "cifar": ("cifar10/cifar10_train_jpg.tar.xz", 50_000, 10, (32, 32, 3)),
    "omniglot": ("omniglot/images_background_small1.zip", 2720, 136, (105, 105, 1)),
}


@pytest.mark.parametrize("name", REALS)
def test_real_sets(name):
    place, count, classes, shape = REALS[name]
    if not REAL.is_dir():
        pytest.skip("../shared/data is not here")
    found = list(read_examples(REAL / place))
    assert len(found) == count and len({example["label"] for example in found}) == classes
    assert as_pixels(found[count // 2]["image"], shape[2], found[count // 2].place).shape == shape
