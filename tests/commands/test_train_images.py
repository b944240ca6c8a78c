"""``glassformer train --objective classify_images``: pictures in folders, one a class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from glassformer.__main__ import main
from glassformer.checkpoints.folder import load
from glassformer.train.loop import resume


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Forty pictures of 14 x 10: the upper or the lower half is bright."""
    draws = np.random.default_rng(0)
    for number in range(40):
        kind = ("up", "down")[number % 2]
        pixels = draws.integers(0, 90, (14, 10), dtype=np.uint8)
        pixels[slice(0, 7) if kind == "up" else slice(7, 14)] += 150
        folder = tmp_path / "pictures" / kind
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def train(pictures: Path, out: Path, *more: str) -> int:
    said = ["train", str(pictures), "--objective", "classify_images", "--batch-rows", "8", "--out", str(out)]
    return main([*said, *more])


def test_a_classifier_of_pictures_is_trained_and_transformers_opens_it(pictures, tmp_path, capsys):
    assert (
        train(pictures, tmp_path / "run", "--model", "vit-tiny", "--epochs", "12", "--augment", "flip", "--json") == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["validation"]["accuracy"] == 1.0
    theirs = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "run").eval()
    assert type(theirs).__name__ == "ViTForImageClassification" and theirs.config.id2label == {0: "down", 1: "up"}
    images = torch.randn(2, 1, 12, 8)  # whole patches of 4
    torch.testing.assert_close(load(tmp_path / "run")(images), theirs(images).logits, rtol=1e-4, atol=1e-5)
    assert resume(tmp_path / "run").is_finished
    assert (
        train(pictures, tmp_path / "more", "--model", str(tmp_path / "run"), "--steps", "2", "--augment", "mixup") == 0
    )


def test_what_cannot_be_trained_is_one_line(pictures, tmp_path, capsys):
    assert train(pictures, tmp_path / "run", "--model", "vit-tiny", "--augment", "twist") == 2
    assert "no such augmentation · got twist" in capsys.readouterr().err
    assert train(pictures, tmp_path / "run", "--model", "bert-tiny") == 2
    assert "no such preset for pictures · got bert-tiny · expected one of vit-" in capsys.readouterr().err
    (pictures / "up" / "broken.png").write_bytes(b"no picture")
    assert train(pictures, tmp_path / "run", "--model", "vit-tiny", "--steps", "30") == 2
    assert "broken.png" in capsys.readouterr().err.splitlines()[-1]
    text = ["train", "embedded:stdlib", "--augment", "flip", "--out", str(tmp_path / "text")]
    assert main(text) == 2
    assert "--augment is for pictures" in capsys.readouterr().err
